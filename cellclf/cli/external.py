"""``cellclf external``: a run on another laboratory's images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import IMAGE, OutFile, min_count_help
from cellclf.cli.output import import_keras, save_figure
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import write_json, write_text


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--map", "pairs", multiple=True, metavar="THEIRS=OURS", help="Their class and ours; THEIRS= has none.")
@click.option("--reference", metavar="SRC", help="Own labelled images, not trained on; default: the run's report.")
@click.option("--min-count", default=20, show_default=True, help=min_count_help)
@click.option("--tta", type=int, default=8, show_default=True, help="Flips and turns to try; 4 for oblong images.")
@click.option("--no-labels", is_flag=True, help="Do not measure what labels of some cells would bring.")
@click.option("--plot", type=IMAGE, help="Write the figure, PNG, SVG or PDF.")
@click.option("--out", type=OutFile(".json", ".md"), help="Write everything as JSON or Markdown, too.")
def external(
    run_folder: str,
    src: str,
    source: Source,
    pairs: tuple[str, ...],
    reference: str | None,
    min_count: int,
    tta: int,
    no_labels: bool,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Measure how the run in RUN does on SRC of another laboratory.

    It shows how far the scores fall, in which classes, and what helps: more views, the classes that occur there, or
    labels of 25 or 50 suggested cells (by cross-fitting). Classes with other names are matched, as in
    `--map NEU=neutrophil`; those without a counterpart are listed and not scored.

    \b
    cellclf external runs/a other_cells/ --min-count 3 --out external.md
    cellclf external runs/a other_cells/ --min-count 3 --map platelet= --reference test_set.npz
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"--map {bad[0]}; expected THEIRS=OURS, or THEIRS= for a class without a counterpart")
    mapping = {theirs: ours or None for theirs, _, ours in (pair.partition("=") for pair in pairs)}
    import_keras()
    run = cellclf.load_run(run_folder)
    cells = source.of_run(run).load(src)
    own = None
    if reference is not None:
        own, _ = source.of_run(run).further(
            reference, source.first(src), size=run.input_shape[:2], what="SRC and --reference, the two"
        )
    counts = () if no_labels else (25, 50)
    found = run.external(cells, mapping, reference=own, min_count=min_count, tta=tta, label_counts=counts)
    found = dataclasses.replace(found, run=run_folder, source=src)
    click.echo(found)
    if plot is not None:
        save_figure(found.plot(), plot)
    if out is not None:
        if out.suffix.lower() == ".json":
            write_json(out, found.to_dict())
        else:
            write_text(out, found.to_markdown())
        click.echo(f"figures: {out}")
