"""``cellclf suggest``: which cells of a new laboratory to label first."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import OutFile, answers_option, classes_option, merged_answers
from cellclf.cli.output import import_keras
from cellclf.cli.sources import Source, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--count", type=click.IntRange(1), default=25, show_default=True, metavar="N", help="Suggest N cells.")
@answers_option("--labelled", "A table of earlier answers, which are not asked again; several may be given.")
@classes_option("Further classes that may occur there; they get keys, too.")
@click.option("--show-ids", is_flag=True, help="Show ids on the page; file names may hold names of patients.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice.")
@click.option(
    "--out",
    type=OutFile(".html", ".csv"),
    default="label.html",
    show_default=True,
    help="The page to label on, or a table without answers (.csv).",
)
def suggest(
    run_folder: str,
    src: str,
    source: Source,
    count: int,
    labelled: tuple[str, ...],
    classes: list[str] | None,
    show_ids: bool,
    seed: int,
    out: Path,
) -> None:
    """Suggest which cells of SRC to label first, and write a page.

    25 labelled cells are enough for `adapt` to make a run for that laboratory, if they are the right ones: typical
    cells of every kind, and cells that the run is unsure of. Copies are asked about once; blurred and non-cell images
    hardly ever. The page is one file that works without a server: open it in a browser, answer by keyboard, save
    `labelled.csv`; then `cellclf adapt` makes the new run. A next round asks that one, and nothing twice; cells that
    nobody answered are suggested again.

    \b
    cellclf suggest runs/a hospital_b/ --count 25 --out label.html
    cellclf adapt runs/a hospital_b/ --labels labelled.csv --out runs/b
    cellclf suggest runs/b hospital_b/ --labelled labelled.csv --out more.html

    A folder is read at any depth, whatever its folders are called.
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    source.refuse_outputs(src, out=out)
    table = out.suffix.lower() == ".csv"
    if table and (classes or show_ids):
        raise click.UsageError(f"--classes and --show-ids are of the page, and --out {out} is a table; expected .html")
    import_keras()
    run = cellclf.load_run(run_folder)
    decided = merged_answers(labelled)
    # in their own size, so that people see every pixel; the run sees them at its own
    cells = replace(source.of_run(run), size=source.size).load(src, labels=False)
    adapt = (
        f"cellclf adapt {shlex.quote(run_folder)} {shlex.quote(source.first(src))} --labels labelled.csv --out NEW_RUN"
    )
    found = replace(run.suggest(cells, count, labelled=decided, seed=seed), next_step=adapt)
    if table:
        path, label = found.save(out), f"fill in the columns decision and label of {out.name}"
        adapt = adapt.replace("labelled.csv", shlex.quote(str(out)))
    else:
        path = found.save(out, classes=classes, show_ids=show_ids)
        label = "open the page in a browser, answer, and save labelled.csv"
    click.echo(f"{found.summary()}\nwritten: {path}\nnext: {label}\nthen: {adapt}")
