"""``cellclf predict``: the classes of new images."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import OutFile, Source, skipped_are_reported, source_options
from cellclf.cli.output import import_keras, note


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@skipped_are_reported
@source_options
@click.option("--out", type=OutFile(".csv", ".json", ".parquet"), help="Without it, CSV is printed.")
@click.option("--error", default=0.01, show_default=True, help="Share of prediction sets that may miss the truth.")
@click.option("--per-class", is_flag=True, help="Keep --error for every class by itself; the sets grow.")
@click.option("--accuracy", type=float, help="Classify only images for which this accuracy can be promised, as 0.99.")
@click.option("--threshold", type=float, help="Or only images whose class has at least this probability.")
@click.option("--tta", type=int, default=1, show_default=True, help="8 averages over flips and turns, 4 over flips.")
@click.option("--refuse", default=0.005, show_default=True, help="Share of known cells that may be called unknown.")
def predict(
    run_folder: str,
    src: str,
    source: Source,
    out: Path | None,
    error: float,
    per_class: bool,
    accuracy: float | None,
    threshold: float | None,
    tta: int,
    refuse: float,
) -> None:
    """Predict the class of each image of SRC, and how sure it is.

    A folder is read at any depth, whatever its folders are called.

    Out-of-distribution images get "unknown" instead of a class; the columns of the classes still hold their
    probabilities. `--refuse 0` gives every image a class. With `--accuracy` or `--threshold`, images that are not sure
    enough are "unsure" and left to a person; the summary says how many were classified, and what is promised of them.
    """
    source.refuse_outputs(src, out=out)
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = source.of_run(found).load(src, labels=False)
    predictions = found.report_predictions(
        cells, error=error, per_class=per_class, refuse=refuse, accuracy=accuracy, threshold=threshold, tta=tta
    )
    if out is None:
        click.echo(predictions.to_csv(), nl=False)
    else:
        click.echo(f"{len(cells):,} predictions: {predictions.save(out)}")
    note(predictions.summary())
