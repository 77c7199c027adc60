"""``cellclf backbones``: the networks that can be used."""

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
