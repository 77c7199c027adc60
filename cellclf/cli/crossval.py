"""``cellclf crossval``: the same training in folds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

import cellclf
from cellclf.cli.job_sources import load_sources
from cellclf.cli.options import by_option
from cellclf.cli.output import import_keras
from cellclf.cli.recipe_choice import RecipeChoice, recipe_options
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import check_writable


@click.command()
@click.argument("sources", metavar="[NAME=]SRC...", nargs=-1, required=True)
@recipe_options
@source_options
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@by_option
@click.option("--n-jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds at a time, each a process.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs; the same command continues them.")
def crossval(
    sources: tuple[str, ...],
    recipe: RecipeChoice,
    source: Source,
    folds: int,
    by: Literal["domain"] | None,
    n_jobs: int,
    out: Path | None,
) -> None:
    """Cross-validate a recipe on SRC, or on several SRC as one set.

    Each fold is held out once: a classifier is trained on the rest and scored on what was held out. With --by domain
    each SRC, or each value of the column domain, is a fold: how good is it in a laboratory that it has not seen?

    \b
    cellclf crossval cells/ --folds 5 --out runs/folds
    cellclf crossval hospital_a/ hospital_b/ hospital_c/ --by domain --out runs/hospitals
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.data.cuts import whole

    if out is not None:
        check_writable(out / "folds.csv")
    pipe = cellclf.Pipeline.from_recipe(recipe.read())
    cells = whole(load_sources(sources, source)[0])
    import_keras()
    found = cellclf.cross_validate(
        pipe, cells, folds=folds, by=by, seed=recipe.seed or 0, out=out, n_jobs=None if n_jobs == 1 else n_jobs
    )
    click.echo(found)
    if out is not None:
        click.echo(f"tables: {out / 'folds.csv'}, {out / 'cross_validation.json'}")
