"""``cellclf labels``: doubtful labels."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.output import import_keras
from cellclf.cli.recipe_choice import RecipeChoice, recipe_options
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import check_writable


@click.command()
@click.argument("src")
@recipe_options
@source_options
@click.option("--folds", type=click.IntRange(2), default=3, show_default=True, help="Classifiers that are trained.")
@click.option("--n-jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds at a time, each a process.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for runs, table and gallery.")
def labels(src: str, recipe: RecipeChoice, source: Source, folds: int, n_jobs: int, out: Path) -> None:
    """Find labels of SRC that are probably wrong.

    Trains FOLDS classifiers and lists the labels that a classifier which has not seen the image confidently
    contradicts. It takes FOLDS times as long as one training; the same command continues after a stop. Nothing is
    changed: look at the gallery, then correct the labels or leave the images out.
    """
    check_writable(out / "labels.csv")
    table = recipe.read()
    cells = source.load(src)
    import_keras()
    found = cellclf.check_labels(
        cells, recipe=table, folds=folds, out=out, seed=recipe.seed or 0, n_jobs=None if n_jobs == 1 else n_jobs
    )
    click.echo(found.summary())
    for name in ("labels.csv", "labels.html"):
        click.echo(f"{name.partition('.')[2]}: {out / name}")
