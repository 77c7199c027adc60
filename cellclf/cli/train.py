"""``cellclf train``: the training alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

import cellclf
from cellclf.cli.options import RecipeChoice, Source, recipe_options, source_options
from cellclf.cli.output import command_line, import_keras


@click.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("val_src", metavar="VAL")
@recipe_options
@source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run.")
def train(train_src: str, val_src: str, recipe: RecipeChoice, source: Source, out: Path) -> None:
    """Train on TRAIN, choose on VAL; no cleaning, no splitting."""
    pipe = cellclf.Pipeline.from_recipe(recipe.read())
    first = source.load(train_src)
    second, val_src = source.further(
        val_src, source.first(train_src), size=first.image_shape[:2], part="val", what="TRAIN and VAL, the two"
    )
    if first.labels is not None and second.labels is not None:
        second = second.align(first.class_names)
    import_keras()
    size = list(second.image_shape[:2])
    record = {
        "command": command_line(),
        "source": {
            "train": source.described(train_src),
            "val": {"size": size} | replace(source, part=None, class_names=None).described(val_src),
        },
    }
    found = pipe.trainer.fit(first, second, out=out, record=record)
    click.echo(str(found.evaluate(second)))
    click.echo(f"run: {out}")
