"""``cellclf run``: the whole job."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.options import RecipeChoice, Source, load_tests, recipe_options, source_options, test_option
from cellclf.cli.output import command_line, import_keras, note, print_outcome
from cellclf.errors import CellclfError


@click.command()
@click.argument("src")
@click.argument("old", required=False)
@recipe_options
@source_options
@test_option
@click.option(
    "--min-count", default=1, show_default=True, help="Of --test sets: leave smaller classes out of averages."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the run; the same command continues it after a stop."
)
@click.option(
    "--start",
    metavar="RUN",
    help="Continue the training of RUN on SRC, at a low rate; OLD, images of its own laboratory, are mixed in.",
)
@click.option("--check", is_flag=True, help="Only look for mistakes; exit code 3 if there are any.")
def run(
    src: str,
    old: str | None,
    recipe: RecipeChoice,
    source: Source,
    tests: tuple[str, ...],
    min_count: int,
    out: Path | None,
    start: str | None,
    check: bool,
) -> None:
    """Do the whole job: clean, split, train, evaluate, report.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --test hospital_b=other_cells/ --out runs/b
    cellclf run hospital_b/ cells/ --start runs/a --out runs/c

    With --start, backbone, head and image size are those of RUN, and so are its recipe's other steps unless --recipe
    names one; classes are matched by name, new ones are added.
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None and not check:
        raise click.UsageError("expected --out FOLDER for the run and its report")
    from cellclf.data.looks import odd_looks

    if old is not None and start is None:
        raise click.UsageError(f"{old} is a second SRC, which is mixed in with --start RUN; expected one SRC")
    try:
        table = recipe.read() if start is None else recipe.read_started(start)
        pipe = cellclf.Pipeline.from_recipe(table)
        parent = pipe.trainer.parent()
        if parent is not None:
            if source.size not in (None, parent.input_shape[:2]):
                raise click.UsageError(f"--start {start} and --size: the size comes from the run; expected no --size")
            source = source.of_run(parent)
        cells = source.load(src)
        home, described = None, source.described(src)
        if old is not None:
            home, old = source.further(old, source.first(src), part="train", what="SRC and OLD, the two")
            described |= {"home": replace(source, part=None, class_names=None).described(old)}
        others = load_tests(tests, source, cells, src)
        shown = {src: cells, **({} if old is None else {old: home}), **others}
        for name, one in shown.items():
            for line in odd_looks(one, known=one.notices):
                note(f"{name}: {line}")
        if check:
            pipe.check(cells, tests=others, out=out, home=home)
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
        cells, out=out, tests=others, home=home, command=command_line(), min_count=min_count, source=described
    )
    print_outcome(outcome)
