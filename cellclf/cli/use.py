"""Commands that use a run: scores and predictions on other images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import OutFile, Source, import_keras, say, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--min-count", default=1, show_default=True, help="Leave classes with fewer images out of averages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(
    run_folder: str,
    src: str,
    source: Source,
    min_count: int,
    as_json: bool,
) -> None:
    """Score the run in the folder RUN on SRC."""
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    report = found.evaluate(cells, min_count=min_count, show=sys.stderr.isatty())
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report)


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--out", type=OutFile(".csv", ".json", ".parquet"), help="Without it, CSV is printed.")
@click.option("--error", default=0.01, show_default=True, help="Share of prediction sets that may miss the truth.")
@click.option("--per-class", is_flag=True, help="Keep --error for every class by itself; the sets grow.")
@click.option("--refuse", default=0.005, show_default=True, help="Share of known cells that may be called foreign.")
def predict(
    run_folder: str, src: str, source: Source, out: Path | None, error: float, per_class: bool, refuse: float
) -> None:
    """Name the class of each image of SRC, how sure that is, and what else it may be.

    Foreign images get "not a cell that I know" instead of a class; what they would have been called stands in the
    columns of the classes. `--refuse 0` gives every image a class.
    """
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    told = found.report_predictions(cells, error=error, per_class=per_class, refuse=refuse, show=sys.stderr.isatty())
    if out is None:
        click.echo(told.to_csv(), nl=False)
    else:
        click.echo(f"{len(cells):,} predictions: {told.save(out)}")
    say(told.summary())


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="NAME.onnx, NAME.tflite, or a folder: SavedModel."
)
@click.option("--check", metavar="SRC", help="Cells to compare on; without it, 64 images are drawn.")
@source_options
def export(run_folder: str, out: Path, check: str | None, source: Source) -> None:
    """Write the network of RUN for other programs, and make sure that it says what the run says."""
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = None if check is None else source.load_telling(check, size=found.input_shape[:2])
    click.echo(found.export(out, check=cells, show=sys.stderr.isatty()))
