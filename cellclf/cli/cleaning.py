"""Commands that look through a set before anything is trained."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.options import IMAGE, PAGE, TABLE, OutFile, Source, save_figure, source_options

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection


@click.command()
@click.argument("src")
@source_options
@click.option("--plot", type=IMAGE, help="Write a sheet of images of each class, PNG, SVG or PDF.")
def inspect(src: str, source: Source, plot: Path | None) -> None:
    """Tell what SRC holds: counts, sizes, class balance, skipped files."""
    cells = source.load(src)
    click.echo(cells.summary())
    if plot is not None:
        save_figure(cells.plot(), plot)


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make one decorator of several options, shown in the order in which they stand."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


_selection_options = _together(
    click.option("--plot", type=IMAGE, help="Write an image of what goes, PNG, SVG or PDF."),
    click.option("--gallery", type=PAGE, help="Write a page of everything that goes, to look through."),
    click.option("--apply", type=OutFile(".npz", ".csv"), help="Write the cleaned set, or a CSV of what stays."),
)
_pair_options = _together(
    click.option(
        "--foreground", is_flag=True, help="Find the same cell on another background, too; needs centred cells."
    ),
    click.option("--offset", default=0, show_default=True, help="Pixels off the centre that --foreground allows, 0-3."),
    click.option("--pairs", type=TABLE, help="Write a table of the pairs, CSV or Parquet."),
)


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
@click.option("--max-copies", default=10, show_default=True, help="A larger group is no cell and goes whole.")
@click.option(
    "--keep",
    default="first",
    show_default=True,
    type=click.Choice(("first", "sharpest", "largest")),
    help="Which copy stays.",
)
@_pair_options
@click.option("--background", is_flag=True, help="Find a foreign background that many cells share, too.")
@_selection_options
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
    **wanted: Path | None,
) -> None:
    """Find duplicates and contamination in SRC; nothing is changed or deleted."""
    _check_table(pairs)
    found = cellclf.Dedup(
        method=method,
        distance=distance,
        max_copies=max_copies,
        keep=keep,
        foreground=foreground,
        offset=offset,
        background=background,
    ).find(source.load_telling(src))
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
    _selected(found, **wanted)


@click.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("test_src", metavar="TEST")
@source_options
@_pair_options
def leaks(train_src: str, test_src: str, source: Source, foreground: bool, offset: int, pairs: Path | None) -> None:
    """Find images of TRAIN that are in TEST, too, however they were changed."""
    _check_table(pairs)
    train, test = (source.load_telling(src) for src in (train_src, test_src))
    found = cellclf.Dedup(foreground=foreground, offset=offset).find(train, against=test)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")


@click.command()
@click.argument("src")
@source_options
@click.option("--fit", "fit_src", metavar="SRC", help="Learn what is normal from this set instead of SRC itself.")
@click.option("--method", default="forest", show_default=True, help="forest, mahalanobis or neighbours.")
@click.option("--seed", default=0, show_default=True)
@_selection_options
def outliers(src: str, source: Source, fit_src: str | None, method: Any, seed: int, **wanted: Path | None) -> None:
    """Find images in SRC that are no cells; nothing is changed or deleted. Run `dedup` first."""
    cells = source.load_telling(src)
    normal = cells if fit_src is None else source.load_telling(fit_src, size=cells.image_shape[:2])
    found = cellclf.OutlierFilter(method=method, seed=seed).fit(normal).find(cells)
    click.echo(found.summary())
    _selected(found, **wanted)


def _check_table(path: Path | None) -> None:
    if path is not None:
        from cellclf.utils.csv_tables import check_table_path

        check_table_path(path, "pairs")


def _selected(found: Selection, plot: Path | None, gallery: Path | None, apply: Path | None) -> None:
    """Write what was asked for of a selection."""
    if plot is not None:
        save_figure(found.plot(), plot)
    if gallery is not None:
        from cellclf.reporting.gallery import write_gallery

        for page in write_gallery(found, gallery):
            click.echo(f"gallery: {page}")
    if apply is None:
        return
    if found.cells is not None and apply.suffix.lower() == ".npz":
        found.apply(found.cells).save(apply)
    else:
        from cellclf.utils.atomic import replacing

        rows = zip(found.ids.tolist(), found.keep.tolist(), found.reasons.tolist(), strict=True)
        with replacing(apply) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "keep", "reason"), *rows])
    click.echo(f"kept {len(found) - found.removed:,}: {apply}")
