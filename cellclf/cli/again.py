"""Commands that train the same thing several times: once more, and in folds."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import (
    FAILED_CHECK,
    RecipeChoice,
    Source,
    import_keras,
    recipe_options,
    source_options,
)


@click.command()
@click.argument("src")
@recipe_options
@source_options
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--n-jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds at a time, each a process.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs; the same command goes on.")
def crossval(src: str, recipe: RecipeChoice, source: Source, folds: int, n_jobs: int, out: Path | None) -> None:
    """Cross-validate a recipe on SRC: hold out each share once, train on the rest, score what was held out."""
    pipe = cellclf.Pipeline.from_recipe(recipe.read())
    cells = source.load_telling(src)
    import_keras()
    found = cellclf.cross_validate(
        pipe, cells, folds=folds, seed=recipe.seed or 0, out=out, n_jobs=None if n_jobs == 1 else n_jobs, show=True
    )
    click.echo(found)
    if out is not None:
        click.echo(f"tables: {out / 'folds.csv'}, {out / 'cross_validation.json'}")


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the repetition; without it nothing is kept.")
@click.option("--src", help="The images, if they are no more where the run had them.")
@source_options
def rerun(run_folder: str, out: Path | None, src: str | None, source: Source) -> None:
    """Repeat the run in the folder RUN and say whether the same comes out; exit code 3 if not."""
    import_keras()
    cells = None if src is None else source.load_telling(src)
    found = cellclf.rerun(run_folder, cells=cells, out=out, show=True)
    click.echo(found)
    if not found.matches:
        sys.exit(FAILED_CHECK)
