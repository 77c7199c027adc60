"""What several commands print and write."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellclf.errors import one_line, printable
from cellclf.utils.backend import check_backend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts
    from cellclf.evaluation.metrics import Report
    from cellclf.pipeline.outcome import Outcome
    from cellclf.pipeline.pipeline import Pipeline


_OF_NO_USE = re.compile(
    r"I\d{4} |WARNING: All log messages before absl::InitializeLog|mkdir -p failed for path \S+/matplotlib|"
    "Matplotlib created a temporary"  # where the home folder is read-only, as in containers
)


def note(text: str) -> None:
    """Print something beside the result, on stderr; names in it may be anyone's."""
    click.echo("\n".join(map(one_line, text.split("\n"))), err=True)


def command_line() -> str:
    """Give the command as it was typed, for the manifest of a run; bytes that are no UTF-8 are spelled."""
    return printable(shlex.join(["cellclf", *sys.argv[1:]]))


def import_keras() -> None:
    """Import Keras and its backend, without the informational lines that they print.

    TensorFlow writes them before it looks at ``TF_CPP_MIN_LOG_LEVEL``, straight to the file descriptor.

    Raises:
        OptionError: A backend is chosen that cellclf does not run on.
        MissingPackageError: The backend is not installed.
    """
    check_backend()
    if "keras" in sys.modules:
        return
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr
        return
    with tempfile.TemporaryFile() as printed:
        try:
            os.dup2(printed.fileno(), 2)
            importlib.import_module("keras")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            printed.seek(0)
            for line in printed.read().decode(errors="replace").splitlines():
                if not _OF_NO_USE.match(line):
                    note(line)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    from cellclf.utils.atomic import replacing

    with replacing(path) as new:
        figure.savefig(new)
    click.echo(f"image: {path}")


def write_selection(found: Selection, plot: Path | None, gallery: Path | None, apply: Path | None) -> None:
    """Write what the options of a selecting command ask for: a figure, a gallery, the smaller set."""
    if plot is not None:
        save_figure(found.plot(), plot)
    if gallery is not None:
        from cellclf.reporting import write_gallery

        for page in write_gallery(found, gallery):
            click.echo(f"gallery: {page}")
    if apply is None:
        return
    found.check_losses()
    if found.cells is not None:
        found.apply(found.cells).save(apply)
        click.echo(f"kept {len(found) - found.removed:,}: {apply}")


def print_check(pipe: Pipeline, given: ImageSet | Parts) -> None:
    """Print which cut a job would take, and what it would remove from training."""
    from cellclf.data.split import Parts

    if not isinstance(given, Parts):
        return
    prepared = pipe.prepare(given, show=False)
    click.echo(f"{prepared.cut}\n{given.summary()}")
    for name, selection in prepared.removals.items():
        click.echo(f"{name}: {selection.summary()}")


def _scores(report: Report) -> str:
    return f"macro F1 {report.macro_f1:.4f}  accuracy {report.accuracy:.4f}  {report.n:>7,} images"


def print_outcome(outcome: Outcome) -> None:
    """Print the scores of a whole job, and where its report is."""
    first = outcome.headline
    click.echo(f"{first}: {outcome.reports[first]}\n")
    width = max(map(len, outcome.reports))
    for name, report in outcome.reports.items():
        click.echo(f"{name:<{width}}  {_scores(report)}")
        for domain, own in report.by_domain.items() if len(report.by_domain) > 1 else ():
            click.echo(f"  in {printable(domain)}: {_scores(own)}")
    if outcome.home is not None:
        click.echo(f"home: {outcome.home.summary().removeprefix('home score ')}")
    click.echo(f"report: {outcome.page}")
