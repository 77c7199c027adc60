"""``cellclf crossval``: the same training in folds."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import RecipeChoice, Source, recipe_options, source_options
from cellclf.cli.output import import_keras
from cellclf.utils.atomic import check_writable


@click.command()
@click.argument("src")
@recipe_options
@source_options
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--n-jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds at a time, each a process.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs; the same command continues them.")
def crossval(src: str, recipe: RecipeChoice, source: Source, folds: int, n_jobs: int, out: Path | None) -> None:
    """Cross-validate a recipe on SRC.

    Each fold is held out once: a classifier is trained on the rest and scored on what was held out.
    """
    if out is not None:
        check_writable(out / "folds.csv")
    pipe = cellclf.Pipeline.from_recipe(recipe.read())
    cells = source.load(src)
    import_keras()
    found = cellclf.cross_validate(
        pipe, cells, folds=folds, seed=recipe.seed or 0, out=out, n_jobs=None if n_jobs == 1 else n_jobs
    )
    click.echo(found)
    if out is not None:
        click.echo(f"tables: {out / 'folds.csv'}, {out / 'cross_validation.json'}")
