"""``cellclf explain``: heat maps of what decides the class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import cellclf
from cellclf.cli.options import IMAGE
from cellclf.cli.output import import_keras, save_figure
from cellclf.cli.sources import Source, skipped_are_reported, source_options
from cellclf.utils.csv_tables import csv_text

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@skipped_are_reported
@source_options
@click.option(
    "--method",
    type=click.Choice(["gradcam", "gradcam++", "occlusion"]),
    default="gradcam",
    show_default=True,
    help="gradcam++ finds several spots of a class; occlusion is finer and takes 30 times as long.",
)
@click.option("--class", "asked", metavar="NAME", help="Show the evidence for this class, not for the predicted one.")
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
    """Show which parts of the images of SRC decide their class.

    Writes a sheet: each image beside its heat map, bright where the pixels are evidence for the class. A bright cell
    is good; a bright background, neighbour or border means that the slide was learnt, not the cell.

    \b
    cellclf explain runs/a new_cells/
    cellclf explain runs/a cell.png --method occlusion --out cell_explained.png
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    source.refuse_outputs(src, out=out)
    import_keras()
    from cellclf.data import sample

    run = cellclf.load_run(run_folder)
    reader = source.of_run(run)
    cells = _labelled(reader.load(src, labels=False), run.class_names) if Path(src).is_dir() else reader.load(src)
    cells = sample(cells, limit, seed=seed)
    found = run.explain(cells, method=method, classes=asked, layer=layer)
    click.echo(csv_text(["id", "class", "probability", "x", "y"], found.to_rows()), nl=False)
    save_figure(found.plot(limit=limit), out)


def _labelled(cells: ImageSet, class_names: tuple[str, ...]) -> ImageSet:
    """Take the folders of images for labels if all are classes of the run: those of patients or days are none."""
    from cellclf.data.spelling import matched

    folders = [id_.rpartition("/")[0].partition("/")[0] for id_ in cells.ids.tolist()]
    known = matched([*{*folders}], class_names)
    if not {*folders} <= known.keys():
        return cells
    return cells.replace(labels=[known[name] for name in folders], class_names=class_names)
