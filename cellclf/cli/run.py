"""``cellclf run``: the whole job."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.options import (
    RecipeChoice,
    Source,
    load_tests,
    named_sources,
    recipe_options,
    source_options,
    test_option,
)
from cellclf.cli.output import command_line, import_keras, note, print_outcome
from cellclf.errors import CellclfError


@click.command()
@click.argument("src")
@recipe_options
@source_options
@test_option
@click.option(
    "--min-count",
    type=click.IntRange(1),
    help="Of --test sets: leave smaller classes out of averages; else those below 10.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the run; the same command continues it after a stop."
)
@click.option("--check", is_flag=True, help="Only look for mistakes; exit code 3 if there are any.")
def run(
    src: str,
    recipe: RecipeChoice,
    source: Source,
    tests: tuple[str, ...],
    min_count: int | None,
    out: Path | None,
    check: bool,
) -> None:
    """Do the whole job: clean, split, train, evaluate, report.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --test hospital_b=other_cells/ --out runs/b
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None and not check:
        raise click.UsageError("expected --out FOLDER for the run and its report")
    from cellclf.data.looks import odd_looks

    try:
        pipe = cellclf.Pipeline.from_recipe(recipe.read())
        cells = source.load(src)
        others = load_tests(tests, source, cells, src)
        for name, one in {src: cells, **others}.items():
            for line in odd_looks(one, known=one.notices):
                note(f"{name}: {line}")
        if check:
            pipe.check(cells, tests=others, out=out)
            pipe.check_weights()
    except CellclfError as error:
        if not check:
            raise
        note(f"cellclf: {error}")
        sys.exit(ExitCode.FINDING)
    if check:
        click.echo("no mistake found")
        return
    import_keras()
    outcome = pipe.run(
        cells,
        out=out,
        tests=others,
        command=command_line(),
        min_count=min_count,
        source=source.described(src) | ({"tests": named_sources(tests)} if tests else {}),
    )
    print_outcome(outcome)
