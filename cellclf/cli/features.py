"""``cellclf features``: what a network sees in images, as a table of numbers."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import OutFile
from cellclf.cli.output import import_keras
from cellclf.cli.sources import Source, skipped_are_reported, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@skipped_are_reported
@source_options
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Layer to read; several may be given. Default: those that `adapt` reads.",
)
@click.option("--tta", type=int, default=1, show_default=True, help="8 averages over flips and turns, 4 over flips.")
@click.option(
    "--out",
    type=OutFile(".csv", ".npz", ".parquet"),
    required=True,
    help="The table: one row an image, the id first.",
)
def features(run_folder: str, src: str, source: Source, layers: tuple[str, ...], tta: int, out: Path) -> None:
    """Write pooled features of the images of SRC to a table.

    Each layer's feature map is averaged over its pixels. Without `--layer`, these are the last layers of the three
    coarsest resolutions. A folder is read at any depth, whatever its folders are called.

    \b
    cellclf features runs/a new_cells/ --out features.parquet
    cellclf features runs/a new_cells/ --out features.npz --tta 8
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    source.refuse_outputs(src, out=out)
    import_keras()
    from cellclf.runs.features.pooled import columns_of, reader_of, write_features

    run = cellclf.load_run(run_folder)
    cells = source.of_run(run).load(src, labels=False)
    columns = columns_of(reader_of(run.model, layers or None))
    found = run.features(cells, layers=layers or None, tta=tta)
    path = write_features(out, cells.ids, found, columns)
    click.echo(f"{len(found):,} images, {found.shape[1]:,} features each: {path}")
