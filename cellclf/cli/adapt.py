"""``cellclf adapt``: a run for another laboratory, from a few labels."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.job_sources import absolute
from cellclf.cli.options import answers_option, classes_option, merged_answers
from cellclf.cli.output import command_line, import_keras, note
from cellclf.cli.sources import Source, source_options
from cellclf.cli.spelling import as_options
from cellclf.errors import CellclfWarning

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.runs.run import Run

_SHOWN = 2_000  # cells of which the page may show some


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@answers_option(
    "--labels", "The table that the labelling page saves; several may be given. Without it, only --classes count."
)
@classes_option("The classes that can occur there; without it, all of the run.")
@click.option("--home", metavar="SRC", help="Labelled images of the run's own laboratory, to see what it loses there.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the folds.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the adapted run.")
def adapt(
    run_folder: str,
    src: str,
    source: Source,
    labels: tuple[str, ...],
    classes: list[str] | None,
    home: str | None,
    seed: int,
    out: Path,
) -> None:
    """Adapt the run in RUN to the laboratory that SRC comes from.

    SRC holds all cells of that laboratory, of which some are labelled (`suggest` says which ones). The new run
    predicts, explains and exports as any other. Its page, adapt.html, says what it is worth there, what the own
    laboratory loses, and which labels to look at again. Adapting an adapted run adds its labels to those of the rounds
    before.

    \b
    cellclf suggest runs/a hospital_b/ --count 25 --out label.html
    cellclf adapt runs/a hospital_b/ --labels labelled.csv --out runs/b
    cellclf adapt runs/a hospital_b/ --classes neutrophil,lymphocyte,monocyte --out runs/b

    A folder is read at any depth, whatever its folders are called.
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.training.adapt.run import adapt_run

    decided = merged_answers(labels)
    import_keras()
    run = cellclf.load_run(run_folder)
    how = source.of_run(run)
    cells = how.load(src, labels=False)
    described: dict[str, Any] = {"cells": absolute({"src": src, **how.arguments()})}
    own = None
    if home is not None:
        own, home = how.further(home, source.first(src), size=run.input_shape[:2], what="SRC and --home, the two")
        described["home"] = absolute({"src": home, **how.arguments()})
    with _collected() as caught:
        made = adapt_run(run, cells, decided, classes=classes, home=own, out=out, seed=seed, source=described)
    in_summary = () if made.adaptation is None else made.adaptation.notices
    for one in dict.fromkeys(caught):
        if one not in in_summary:  # they stand in the summary
            note(f"note: {one}")
    page = _write_page(made, cells, out, src, labels)
    click.echo(f"{as_options(str(made.adaptation))}\nrun: {out}\npage: {page}")
    click.echo(f"next: cellclf predict {shlex.quote(str(out))} {shlex.quote(src)}")


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Collect this package's warnings; if the block fails, they are printed."""
    found: list[str] = []
    with warnings.catch_warnings():
        default = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, CellclfWarning):
                found.append(str(message))
            else:
                default(message, category, *rest, **more)

        warnings.showwarning = show
        try:
            yield found
        except BaseException:
            for one in dict.fromkeys(found):
                note(f"note: {one}")
            raise


def _write_page(run: Run, cells: ImageSet, out: Path, src: str, labels: tuple[str, ...]) -> Path:
    """Write ``adapt.html`` beside the network."""
    import numpy as np

    from cellclf.reporting import write_adaptation

    assert run.adaptation is not None
    known = set(run.adaptation.labelled)
    rows = np.flatnonzero([id_ in known for id_ in cells.ids.tolist()])
    others = np.setdiff1d(np.arange(len(cells)), rows)[: max(0, _SHOWN - len(rows))]
    shown = cells.subset(np.concatenate([rows, others]))
    return write_adaptation(
        out / "adapt.html",
        run.adaptation.to_dict(),
        cells=shown,
        probabilities=run.predict_proba(shown),
        run=str(out),
        source=src,
        labels=labels[0] if labels else "labelled.csv",
        command=command_line(),
    )
