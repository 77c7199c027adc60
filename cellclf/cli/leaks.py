"""``cellclf leaks``: images that two sets share."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import pair_options
from cellclf.cli.sources import Source, source_options
from cellclf.utils.csv_tables import check_table_path


@click.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("test_src", metavar="TEST")
@source_options
@pair_options
def leaks(train_src: str, test_src: str, source: Source, foreground: bool, offset: int, pairs: Path | None) -> None:
    """Find images of TRAIN that are in TEST too, even if altered.

    Found are identical, re-encoded, brightened, flipped and quarter-turned images, and images turned by up to 20
    degrees, shifted by 6 %, zoomed by .85 to 1.18, cropped to 80 % of the area, brightened by .7 to 1.4 or saved as
    JPEG 50, alone or all together. Images that were changed more, or stained or coloured in another way, are not found.
    """
    if pairs is not None:
        check_table_path(pairs, "pairs")
    source.refuse_outputs(train_src, test_src, pairs=pairs)
    train = source.load(train_src)
    test, _ = source.further(test_src, source.first(train_src), what="TRAIN and TEST, the two")
    found = cellclf.Dedup(foreground=foreground, offset=offset).find(train, against=test)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
