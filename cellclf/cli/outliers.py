"""``cellclf outliers``: non-cell images of a set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import cellclf
from cellclf.cli.options import loss_options, selection_options
from cellclf.cli.output import write_selection
from cellclf.cli.sources import Source, source_options


@click.command()
@click.argument("src")
@source_options
@click.option("--fit-on", "fit_src", metavar="SRC", help="Learn what is normal from this set instead of SRC itself.")
@click.option("--method", default="forest", show_default=True, help="forest, mahalanobis or neighbours.")
@click.option("--seed", default=0, show_default=True)
@loss_options
@selection_options
def outliers(
    src: str,
    source: Source,
    fit_src: str | None,
    method: Any,
    seed: int,
    max_loss: float,
    on_loss: Any,
    **files: Path | None,
) -> None:
    """Find non-cell images in SRC; changes nothing. Run `dedup` first.

    Where SRC has labels, an image that is ordinary for its class is kept, however rare the class is.
    """
    source.refuse_outputs(src, fit_src, **files)
    cells = source.load(src)
    if files["apply"] is not None:
        cells.check_save(files["apply"])
    normal = cells
    if fit_src is not None:
        normal, _ = source.further(fit_src, size=cells.image_shape[:2], part="train")
    found = cellclf.OutlierFilter(method=method, seed=seed, max_loss=max_loss, on_loss=on_loss).fit(normal).find(cells)
    click.echo(found.summary())
    write_selection(found, **files)
