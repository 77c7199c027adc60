"""``cellclf plugins``: the plugins that are installed."""

from __future__ import annotations

import click

from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import import_keras


@click.command()
@click.option("--check", "name", metavar="NAME", help="Run the conformance kit on all backbones of this plugin.")
@click.pass_context
def plugins(ctx: click.Context, name: str | None) -> None:
    """List the plugins, what each adds, and what is wrong with it."""
    from cellclf.backbones.registry import list_plugins
    from cellclf.errors import unknown

    found = list_plugins()
    if name is not None:
        if name not in [plugin.name for plugin in found]:
            raise unknown("plugin", name, [plugin.name for plugin in found])
        _check(ctx, next(plugin for plugin in found if plugin.name == name).adds)
        return
    if not found:
        click.echo("no plugin is installed")
    for plugin in found:
        click.echo(f"{plugin.name}  ({plugin.package} {plugin.version})")
        for added in plugin.adds:
            click.echo(f"    adds {added}")
        if plugin.error:
            click.echo(f"    error: {plugin.error}")


def _check(ctx: click.Context, backbones: tuple[str, ...]) -> None:
    """Print the outcome of each check of each backbone; exit code 3 if one failed."""
    import_keras()
    from cellclf.testing import check_backbone

    failed = 0
    for backbone in backbones:
        click.echo(backbone)
        for outcome in check_backbone(backbone, on_fail="collect"):
            failed += outcome.status == "failed"
            click.echo(f"    {outcome.status:<8} {outcome.check}{f': {outcome.message}' if outcome.message else ''}")
    if not backbones:
        click.echo("it adds no backbone")
    if failed:
        ctx.exit(ExitCode.FINDING)
