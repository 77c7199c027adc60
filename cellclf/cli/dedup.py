"""``cellclf dedup``: duplicates and contamination of one set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cellclf
from cellclf.cli.options import Source, pair_options, selection_options, source_options
from cellclf.cli.output import write_selection
from cellclf.utils.csv_tables import check_table_path


@click.command()
@click.argument("src")
@source_options
@click.option(
    "--method",
    default="dct",
    show_default=True,
    help="content, dct (also re-encoded and turned), phash, dhash, ahash, whash.",
)
@click.option("--distance", type=int, help="Most bits in which the hashes of two copies differ.")
@click.option(
    "--max-copies", default=10, show_default=True, help="A larger group is contamination: all of it is removed."
)
@click.option(
    "--keep",
    default="first",
    show_default=True,
    type=click.Choice(("first", "sharpest", "largest")),
    help="Which copy is kept.",
)
@pair_options
@click.option("--background", is_flag=True, help="Find a foreign background that many cells share too.")
@selection_options
def dedup(
    src: str,
    source: Source,
    method: Any,
    distance: int | None,
    max_copies: int,
    keep: Any,
    foreground: bool,
    offset: int,
    background: bool,
    pairs: Path | None,
    **files: Path | None,
) -> None:
    """Find duplicates and contamination in SRC; changes nothing."""
    if pairs is not None:
        check_table_path(pairs, "pairs")
    source.refuse_outputs(src, pairs=pairs, **files)
    cells = source.load(src)
    if files["apply"] is not None:
        cells.check_save(files["apply"])
    found = cellclf.Dedup(
        method=method,
        distance=distance,
        max_copies=max_copies,
        keep=keep,
        foreground=foreground,
        offset=offset,
        background=background,
    ).find(cells)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
    write_selection(found, **files)
