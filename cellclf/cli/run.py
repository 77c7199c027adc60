"""``cellclf run``: the whole job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
from cellclf.cli.spelling import as_options
from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.pipeline.pipeline import Pipeline


@click.command()
@click.argument("src")
@click.argument("old", required=False)
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
    min_count: int | None,
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
            pipe.check_weights()
    except CellclfError as error:
        if not check:
            raise
        note(f"cellclf: {as_options(str(error))}")
        sys.exit(ExitCode.FINDING)
    if check:
        click.echo("no mistake found")
        click.echo(looked_at(pipe, {src: cells, **({} if old is None else {old: home}), **others}, out))
        return
    import_keras()
    outcome = pipe.run(
        cells,
        out=out,
        tests=others,
        home=home,
        command=command_line(),
        min_count=min_count,
        source=described | ({"tests": named_sources(tests)} if tests else {}),
    )
    print_outcome(outcome)


def looked_at(pipe: Pipeline, sets: Mapping[str, ImageSet | None], out: Path | None) -> str:
    """Say in some lines what ``--check`` has checked, so that it is clear what it has not.

    Args:
        pipe: The job; its check found nothing.
        sets: Name -> images.
        out: Folder for the run.
    """
    lines = [f"  {name}: {cells!r}" for name, cells in sets.items() if cells is not None]
    steps = {"dedup": pipe.dedup, "outliers": pipe.outliers, "split": pipe.split, "downsample": pipe.downsample}
    named = [name for name, step in (steps | {"expand": pipe.expand, "trainer": pipe.trainer}).items() if step]
    lines.append(f"  recipe: every option of {', '.join(named)}")
    if (parent := pipe.trainer.parent()) is not None:
        lines.append(f"  network: that of {parent}, which could be loaded")
    else:
        net = pipe.trainer.used_backbone().resolved()
        weights = "random weights" if net.weights is None else f"the weights {net.weights}, which could be loaded"
        lines.append(f"  network: {net.name} with {weights}")
    lines += [] if out is None else [f"  {out}: can hold the run"]
    return "\n".join(["looked at, without training:", *lines])
