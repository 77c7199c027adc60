"""``cellclf predict``: the classes of new images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.options import OutFile
from cellclf.cli.output import import_keras, note
from cellclf.cli.sources import Source, names_on_stdin, skipped_are_reported, source_options

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.runs.predictions import Predictions
    from cellclf.runs.run import Run


class _Template(click.Path):
    """A table to fill in; the name of a format is what others mean by --format."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).lstrip(".").lower() in ("csv", "json", "jsonl", "parquet", "xlsx") and not Path(value).exists():
            name = f"FILE.{str(value).lstrip('.').lower()}"
            self.fail(f"{value!r} is no table to fill in; for a format write --out {name}", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True)
@click.argument("src")
@skipped_are_reported
@source_options
@click.option(
    "--out",
    type=OutFile(".csv", ".json", ".jsonl", ".parquet", ".xlsx"),
    help="Its ending chooses the format; without it, CSV is printed.",
)
@click.option(
    "--format",
    "template",
    type=_Template(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="Fill in this table, such as a challenge's sample submission.",
)
@click.option("--error", default=0.01, show_default=True, help="Share of prediction sets that may miss the truth.")
@click.option("--per-class", is_flag=True, help="Keep --error for every class by itself; the sets grow.")
@click.option("--accuracy", type=float, help="Classify only images for which this accuracy can be promised, as 0.99.")
@click.option("--threshold", type=float, help="Or only images whose class has at least this probability.")
@click.option("--tta", type=int, default=1, show_default=True, help="8 averages over flips and turns, 4 over flips.")
@click.option("--refuse", default=0.005, show_default=True, help="Share of known cells that may be called unknown.")
@click.option(
    "--combine",
    type=click.Choice(["average", "best-fit"]),
    help="Of several RUNs: their mean, or for each slide the one that it fits best.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "keras", "onnx"]),
    default="auto",
    show_default=True,
    help="What computes the network: auto takes ONNX Runtime, if installed, where it pays.",
)
def predict(
    run_folders: tuple[str, ...],
    src: str,
    source: Source,
    out: Path | None,
    template: Path | None,
    error: float,
    per_class: bool,
    accuracy: float | None,
    threshold: float | None,
    tta: int,
    refuse: float,
    combine: str | None,
    runtime: str,
) -> None:
    """Predict the class of each image of SRC, and how sure it is.

    A folder is read at any depth, whatever its folders are called. A single - reads the names of image files from
    standard input, one a line or as `find -print0` writes them.

    Out-of-distribution images get "unknown" instead of a class; the columns of the classes still hold their
    probabilities. `--refuse 0` gives every image a class. With `--accuracy` or `--threshold`, images that are not sure
    enough are "unsure" and left to a person; the summary says how many were classified, and what is promised of them.

    \b
    cellclf predict runs/a new_cells/ --out named.csv
    cellclf predict runs/a runs/b new_cells/ --combine best-fit --out named.jsonl
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if accuracy is not None and threshold is not None:
        raise click.UsageError("--accuracy chooses a threshold, and --threshold is one; expected one of them")
    _check(run_folders, src, combine, accuracy)
    source.refuse_outputs(src, None if template is None else str(template), out=out)
    given = names_on_stdin() if src == "-" else src
    import_keras()
    runs = [cellclf.load_run(folder) for folder in run_folders]
    for run in runs:
        run.runtime = runtime
    read = _Reading(source, given, "standard input" if src == "-" else src)
    if len(runs) == 1:
        found = runs[0].report_predictions(
            read(runs[0]),
            error=error,
            per_class=per_class,
            refuse=refuse,
            accuracy=accuracy,
            threshold=threshold,
            tta=tta,
        )
    else:
        from cellclf.runs import combine_predictions

        found = combine_predictions(
            runs, read, combine or "", error=error, per_class=per_class, refuse=refuse, threshold=threshold, tta=tta
        )
    _write(found, out, template)
    note(found.summary())


def _check(run_folders: tuple[str, ...], src: str, combine: str | None, accuracy: float | None) -> None:
    """Refuse words that cannot be meant."""
    from cellclf.runs.folder import MANIFEST, MODEL

    if (Path(src) / MODEL).is_file() or (Path(src) / MANIFEST).is_file():
        raise click.UsageError(
            f"{src} is the folder of a run; expected the images to predict as the last word, after RUN"
        )
    if len(run_folders) > 1 and combine is None:
        raise click.UsageError(
            f"{len(run_folders)} runs ({', '.join(run_folders)}); say how: --combine average or --combine best-fit"
        )
    if len(run_folders) > 1 and accuracy is not None:
        raise click.UsageError("--accuracy can be promised by one run; expected a --threshold for several")


class _Reading:
    """Reads the images for a run; runs that read them alike share one set."""

    def __init__(self, source: Source, given: str | list[str], name: str) -> None:
        self.source = source
        self.given = given
        self.name = name
        self._read: dict[Source, ImageSet] = {}

    def __call__(self, run: Run) -> ImageSet:
        how = self.source.of_run(run)
        if how not in self._read:
            cells = how.read(self.given, labels=False)
            self._read[how] = cells if self._read else how.reported(self.name, cells)
        return self._read[how]


def _write(found: Predictions, out: Path | None, template: Path | None) -> None:
    """Write or print the table."""
    if template is not None:
        filled = found.fill(template)
        for notice in filled.notices:
            note(f"{template}: {notice}")
        text = filled.to_csv() if out is None else f"{len(filled.rows):,} rows as in {template}: {filled.save(out)}\n"
    elif out is None:
        text = found.to_csv()
    else:
        inputs = f" of {len(found) + len(found.skipped):,} inputs" if found.skipped else ""
        text = f"{len(found):,} predictions{inputs}: {found.save(out)}\n"
    click.echo(text, nl=False)
