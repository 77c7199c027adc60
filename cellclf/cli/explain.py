"""The command that shows where a run looked."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import IMAGE, Source, import_keras, save_figure, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option(
    "--method",
    type=click.Choice(["gradcam", "gradcam++", "occlusion"]),
    default="gradcam",
    show_default=True,
    help="gradcam++ finds several spots of a class; occlusion is finer and takes 30 times as long.",
)
@click.option("--class", "asked", metavar="NAME", help="Show what speaks for this class, not for the predicted one.")
@click.option("--layer", metavar="NAME", help="Feature map that Grad-CAM reads; default: the last of at least 5x5.")
@click.option("--limit", type=click.IntRange(1), default=24, show_default=True, metavar="N", help="Take N images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of which images are taken.")
@click.option("--out", type=IMAGE, default="explained.png", show_default=True, help="The sheet: PNG, SVG or PDF.")
def explain(
    run_folder: str,
    src: str,
    source: Source,
    method: str,
    asked: str | None,
    layer: str | None,
    limit: int,
    seed: int,
    out: Path,
) -> None:
    """Show where in the images of SRC the run in the folder RUN sees their class.

    Writes a sheet: each image beside its heat map, bright where the pixels spoke for the class. Light on the cell is
    good; light on the background, a neighbour or the rim of the image means that the slide was learnt, not the cell.

    \b
    cellclf explain runs/a new_cells/
    cellclf explain runs/a cell.png --method occlusion --out cell_explained.png
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    import_keras()
    from cellclf.data.split import sample

    run = cellclf.load_run(run_folder)
    cells = sample(source.load_telling(src, size=run.input_shape[:2]), limit, seed=seed)
    found = run.explain(cells, method=method, classes=asked, layer=layer, show=sys.stderr.isatty())
    text = io.StringIO()
    table = csv.DictWriter(text, ["id", "class", "probability", "x", "y"], lineterminator="\n")
    table.writeheader()
    table.writerows(found.to_rows())
    click.echo(text.getvalue(), nl=False)
    save_figure(found.plot(limit=limit), out)
