"""Commands that list networks and the plugins that bring them."""

from __future__ import annotations

import json

import click


@click.command()
def backbones() -> None:
    """List the networks that can be used."""
    from cellclf.backbones.registry import list_backbones

    for entry in list_backbones():
        spec = entry.spec
        weights = ", ".join(spec.published) or "none published"
        click.echo(f"{entry.name}\n    {spec.summary}\n    smallest image {spec.min_size} px; weights: {weights}")
        click.echo(f"    blocks: {', '.join(spec.blocks)}")
        if spec.params:
            click.echo(f"    parameters: {json.dumps(dict(spec.params))}")


@click.command()
def plugins() -> None:
    """List the plugins that are installed, what each adds, and what is wrong with it."""
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
