"""``cellclf inspect``: what a set holds."""

from __future__ import annotations

from pathlib import Path

import click

from cellclf.cli.options import IMAGE
from cellclf.cli.output import save_figure
from cellclf.cli.sources import Source, source_options
from cellclf.cli.spelling import as_options


@click.command()
@click.argument("src")
@source_options
@click.option("--plot", type=IMAGE, help="Write a sheet of images of each class, PNG, SVG or PDF.")
def inspect(src: str, source: Source, plot: Path | None) -> None:
    """Describe SRC: counts, sizes, class balance, skipped files."""
    cells = source.read(src)
    click.echo(as_options(cells.summary()))
    if plot is not None:
        save_figure(cells.plot(), plot)
