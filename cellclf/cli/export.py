"""``cellclf export``: a network for other programs."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.output import import_keras
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import check_writable


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="NAME.onnx, NAME.tflite, or a folder: SavedModel."
)
@click.option("--check", metavar="SRC", help="Cells to compare on; without it, 64 random images.")
@source_options
def export(run_folder: str, out: Path, check: str | None, source: Source) -> None:
    """Write the network of RUN for other programs, and check it.

    The written network must give the probabilities of the run, else nothing is kept.
    """
    check_writable(out)
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = None if check is None else source.of_run(found).load(check)
    click.echo(found.export(out, check=cells))
