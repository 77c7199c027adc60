"""Commands that use a run: scores and predictions on other pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import Source, import_keras, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--min-count", default=1, show_default=True, help="Leave classes with fewer pictures out of averages.")
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
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; without it the rows are printed.")
def predict(run_folder: str, src: str, source: Source, out: Path | None) -> None:
    """Name the class of each picture of SRC: CSV of id, class and the probability of each class."""
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    text = found.predict_table(cells, show=sys.stderr.isatty())
    if out is None:
        click.echo(text, nl=False)
        return
    from cellclf.files import replacing

    with replacing(out) as new:
        new.write_text(text, encoding="utf-8")
    click.echo(f"{len(cells):,} predictions: {out}")
