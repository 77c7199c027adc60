"""``cellclf robustness``: a run on corrupted or shifted images."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import IMAGE, OutFile, min_count_option
from cellclf.cli.output import import_keras, save_figure
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import check_writable, write_json


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option(
    "--suite",
    default="medmnist-c",
    show_default=True,
    metavar="NAME|SRC",
    help="medmnist-c corrupts SRC; or a further set: shifted images of the same classes.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take N images of SRC, each class in proportion.")
@click.option("--tta", type=int, default=1, show_default=True, help="8 averages over flips and turns, 4 over flips.")
@min_count_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random corruptions.")
@click.option("--plot", type=IMAGE, help="Write the curves, PNG, SVG or PDF.")
@click.option("--out", type=OutFile(".json"), help="File for the figures; else RUN and its report get them.")
def robustness(
    run_folder: str,
    src: str,
    source: Source,
    suite: str,
    limit: int | None,
    tta: int,
    min_count: int | None,
    seed: int,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Score the run in RUN on corrupted or shifted images of SRC.

    \b
    cellclf robustness runs/a cells/ --limit 512
    cellclf robustness runs/a cells/ --suite next_months_slides/
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None:
        check_writable(Path(run_folder) / "robustness.json")
    import_keras()
    from cellclf.data import sample
    from cellclf.reporting import add_robustness

    run = cellclf.load_run(run_folder)
    cells = source.of_run(run).load(src)
    cells = cells if limit is None else sample(cells, limit, seed=seed)
    found = run.robustness(cells, suite, tta=tta, min_count=min_count, seed=seed)
    click.echo(found)
    if plot is not None:
        save_figure(found.plot(), plot)
    if out is not None:
        click.echo(f"figures: {write_json(out, found.to_dict())}")
        return
    click.echo(f"figures: {add_robustness(run_folder, found)}")
    if (page := Path(run_folder) / "report.html").exists():
        click.echo(f"report: {page}")
