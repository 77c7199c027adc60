"""The command that asks a run corrupted or shifted images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import IMAGE, OutFile, Source, import_keras, save_figure, source_options


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
@click.option("--min-count", default=1, show_default=True, help="Leave classes with fewer images out of averages.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what the corruptions draw.")
@click.option("--plot", type=IMAGE, help="Write the curves, PNG, SVG or PDF.")
@click.option("--out", type=OutFile(".json"), help="Where the figures go; without it, into RUN, for its report.")
def robustness(
    run_folder: str,
    src: str,
    source: Source,
    suite: str,
    limit: int | None,
    tta: int,
    min_count: int,
    seed: int,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Score the run in the folder RUN on corrupted images of SRC, or on a set of shifted ones.

    \b
    cellclf robustness runs/a cells/ --limit 512
    cellclf robustness runs/a cells/ --suite next_months_slides/
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    import_keras()
    from cellclf.data.split import sample
    from cellclf.utils.atomic import replacing

    run = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=run.input_shape[:2])
    cells = cells if limit is None else sample(cells, limit, seed=seed)
    found = run.robustness(cells, suite, tta=tta, min_count=min_count, seed=seed)
    click.echo(found)
    if plot is not None:
        save_figure(found.plot(), plot)
    own = "" if found.suite == "medmnist-c" else "-" + re.sub(r"[^\w.-]+", "-", found.suite)
    path = out or Path(run_folder) / f"robustness{own}.json"
    with replacing(path) as new:
        new.write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    click.echo(f"figures: {path}")
