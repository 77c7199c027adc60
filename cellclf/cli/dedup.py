"""``cellclf dedup``: duplicates and contamination of one set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cellclf
from cellclf.cli.options import loss_options, pair_options, selection_options
from cellclf.cli.output import write_selection
from cellclf.cli.sources import Source, source_options
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
    "--max-copies",
    default=10,
    show_default=True,
    help="A larger group is contamination, and removed, unless it is like the other images of its class.",
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
@click.option(
    "--augmented",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", "cluster", "remove", "off")),
    help="Find copies turned by some degrees, shifted, zoomed or cropped too: cluster ties them, remove removes them.",
)
@loss_options
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
    augmented: Any,
    max_loss: float,
    on_loss: Any,
    pairs: Path | None,
    **files: Path | None,
) -> None:
    """Find duplicates and contamination in SRC; changes nothing.

    Found are identical, re-encoded, brightened, flipped and quarter-turned images; with --augmented cluster or remove
    also images turned by up to 20 degrees, shifted by 6 %, zoomed by .85 to 1.18, cropped to 80 % of the area or
    brightened by .7 to 1.4. Images that were changed more, or stained or coloured in another way, are not found.
    """
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
        augmented=augmented,
        max_loss=max_loss,
        on_loss=on_loss,
    ).find(cells)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
    write_selection(found, **files)
