"""``cellclf plugins``: the plugins that are installed."""

from __future__ import annotations

import click


@click.command()
def plugins() -> None:
    """List the plugins, what each adds, and what is wrong with it."""
    from cellclf.backbones.registry import list_plugins

    found = list_plugins()
    if not found:
        click.echo("no plugin is installed")
    for plugin in found:
        click.echo(f"{plugin.name}  ({plugin.package} {plugin.version})")
        for name in plugin.adds:
            click.echo(f"    adds {name}")
        if plugin.error:
            click.echo(f"    error: {plugin.error}")
