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
    cut_options,
    load_sources,
    load_tests,
    named_sources,
    recipe_options,
    source_options,
    test_option,
)
from cellclf.cli.output import command_line, import_keras, note, print_check, print_outcome
from cellclf.errors import CellclfError


@click.command()
@click.argument("sources", metavar="[NAME=]SRC...", nargs=-1, required=True)
@recipe_options
@source_options
@cut_options
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
    sources: tuple[str, ...],
    recipe: RecipeChoice,
    source: Source,
    val: str | None,
    cut: str,
    tests: tuple[str, ...],
    min_count: int | None,
    out: Path | None,
    check: bool,
) -> None:
    """Do the whole job: clean, split, train, evaluate, report.

    A SRC with parts (folders train, val and test, a column split, an npz with train_images) gives a cut, which is taken
    as it is. Several SRC are the domains of one set, by which scores are split.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --val other_patients/ --test hospital_b=other_cells/ --out runs/b
    cellclf run hospital_a/ hospital_b/ --test hospital_c/ --out runs/c
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None and not check:
        raise click.UsageError("expected --out FOLDER for the run and its report")
    from cellclf.data.cuts import whole
    from cellclf.data.looks import odd_looks

    try:
        pipe = cellclf.Pipeline.from_recipe(recipe.read())
        given, record = load_sources(sources, source, val=val, cut=cut)
        cells = whole(given)
        others = load_tests(tests, source, cells, record)
        for name, one in {" ".join(sources): cells, **others}.items():
            for line in odd_looks(one, known=one.notices):
                note(f"{name}: {line}")
        if check:
            pipe.check(given, tests=others, out=out)
            pipe.check_weights()
            print_check(pipe, given)
    except CellclfError as error:
        if not check:
            raise
        note(f"cellclf: {error}")
        sys.exit(ExitCode.FINDING)
    if check:
        click.echo("no mistake found")
        return
    import_keras()
    record |= {"tests": named_sources(tests)} if tests else {}
    outcome = pipe.run(given, out=out, tests=others, command=command_line(), min_count=min_count, source=record)
    print_outcome(outcome)
