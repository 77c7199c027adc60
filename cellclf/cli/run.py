"""``cellclf run``: the whole job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.job_sources import absolute, load_sources, load_tests, named_sources
from cellclf.cli.options import cut_options, test_option
from cellclf.cli.output import command_line, import_keras, note, print_check, print_outcome
from cellclf.cli.recipe_choice import RecipeChoice, recipe_options
from cellclf.cli.sources import Source, source_options
from cellclf.cli.spelling import as_options
from cellclf.cli.started import STARTED
from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.pipeline.pipeline import Pipeline


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
@click.option(
    "--start",
    metavar="RUN",
    help="Continue the training of RUN on SRC, at a low rate; a second SRC is its own laboratory, and is mixed in.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="End within this time, report included: network, epochs and sizes of images are chosen for it.",
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
    start: str | None,
    minutes: float | None,
    check: bool,
) -> None:
    """Do the whole job: clean, split, train, evaluate, report.

    A SRC with parts (folders train, val and test, a column split, an npz with train_images) gives a cut, which is taken
    as it is. Several SRC are the domains of one set, by which scores are split.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --val other_patients/ --test hospital_b=other_cells/ --out runs/b
    cellclf run hospital_a/ hospital_b/ --test hospital_c/ --out runs/c
    cellclf run hospital_b/ cells/ --start runs/a --out runs/d

    With --start, backbone, head and image size are those of RUN, and so are its recipe's other steps unless --recipe
    names one; classes are matched by name, new ones are added.

    With --minutes and a built-in recipe, the network may be another than the recipe's, of those whose weights are on
    this machine; --backbone names one.
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None and not check:
        raise click.UsageError("expected --out FOLDER for the run and its report")
    from cellclf.data.cuts import whole
    from cellclf.data.inspect import rare_classes
    from cellclf.data.looks import odd_looks
    from cellclf.data.shortcuts import shortcuts

    old: str | None = None
    if start is not None and len(sources) > 1:
        if len(sources) > 2:
            raise click.UsageError(f"--start {start} and {len(sources)} SRC; expected NEW, or NEW and OLD")
        sources, old = sources[:1], sources[1]
    try:
        pipe = cellclf.Pipeline.from_recipe(recipe.read() if start is None else recipe.read_started(start))
        parent = pipe.trainer.parent()
        if parent is not None:
            if source.size not in (None, parent.input_shape[:2]):
                raise click.UsageError(f"--start {start} and --size: the size comes from the run; expected no --size")
            source = source.of_run(parent)
        given, record = load_sources(sources, source, val=val, cut=cut)
        cells, home = whole(given), None
        if old is not None:
            home, old, how = source.further_and_how(
                old, source.first(sources[0]), size=source.size, part="train", what="NEW and OLD, the two"
            )
            record["home"] = absolute({"src": old, **how.arguments()})
        others = load_tests(tests, source, cells, record)
        shown = {" ".join(sources): cells, **({} if old is None or home is None else {old: home}), **others}
        for name, one in shown.items():
            for line in odd_looks(one, known=one.notices, copies=check):
                note(f"{name}: {as_options(line)}")
        for line in [*rare_classes(cells.counts()), *shortcuts(cells)]:
            note(f"{' '.join(sources)}: {line}")
        if check:
            import_keras()
            pipe.check(given, tests=others, out=out, home=home)
            pipe.check_weights()
            print_check(pipe, given)
    except CellclfError as error:
        if not check:
            raise
        note(f"cellclf: {as_options(str(error))}")
        sys.exit(ExitCode.FINDING)
    if check:
        click.echo("no mistake found")
        click.echo(looked_at(pipe, shown, out))
        return
    import_keras()
    from cellclf.training.budget import Budget
    from cellclf.training.networks import pretrained_here

    record |= {"tests": named_sources(tests)} if tests else {}
    outcome = pipe.run(
        given,
        out=out,
        tests=others,
        home=home,
        command=command_line(),
        min_count=min_count,
        source=record,
        minutes=None if minutes is None else Budget(minutes, started=STARTED),
        networks=() if minutes is None or recipe.names_backbone else pretrained_here(),
    )
    print_outcome(outcome)


def looked_at(pipe: Pipeline, sets: Mapping[str, ImageSet], out: Path | None) -> str:
    """Say in some lines what ``--check`` has checked, so that it is clear what it has not.

    Args:
        pipe: The job; its check found nothing.
        sets: Name -> images.
        out: Folder for the run.
    """
    lines = [f"  {name}: {cells!r}" for name, cells in sets.items()]
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
