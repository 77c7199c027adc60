"""``cellclf inspect``: what a set holds."""

from __future__ import annotations

from pathlib import Path

import click

from cellclf.cli.options import IMAGE
from cellclf.cli.output import save_figure
from cellclf.cli.sources import Source, source_options
from cellclf.cli.spelling import as_options
from cellclf.errors import printable


@click.command()
@click.argument("src")
@source_options
@click.option("--plot", type=IMAGE, help="Write a sheet of images of each class, PNG, SVG or PDF.")
def inspect(src: str, source: Source, plot: Path | None) -> None:
    """Describe SRC: counts, sizes, class balance, skipped files.

    Of a SRC with parts (folders train, val and test, a column split, an npz with train_images) all are described;
    SRC:train names one.
    """
    from cellclf.data.cuts import given_names, load_parts, whole

    arguments = source.arguments()
    if given_names(src, arguments):
        parts = load_parts(src, **arguments)
        cells = whole(parts)
        click.echo(f"{printable(src)} gives a cut, which `cellclf run` takes as it is:\n{parts.summary()}\n")
    else:
        cells = source.read(src)
    click.echo(as_options(cells.summary()))
    if plot is not None:
        save_figure(cells.plot(), plot)
