"""``cellclf augment``: the ready-made augmentations."""

from __future__ import annotations

from pathlib import Path

import click

import cellclf
from cellclf.cli.options import IMAGE
from cellclf.cli.output import import_keras, save_figure
from cellclf.cli.sources import Source, source_options


@click.group(invoke_without_command=True)
@click.pass_context
def augment(ctx: click.Context) -> None:
    """List the ready-made augmentations, or show one."""
    if ctx.invoked_subcommand is None:
        from cellclf.augmentation.presets import PRESETS

        for name, preset in PRESETS.items():
            click.echo(f"{name:<10} {preset['summary']}")


@augment.command()
@click.argument("preset")
@click.option("--strength", type=float, default=1.0, show_default=True, help="Scales how strong every step is.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--plot", type=IMAGE, help="Write a sheet of images and their augmented versions, PNG, SVG or PDF.")
@click.option("--on", "src", metavar="SRC", help="Images for --plot; without it, generated cells.")
@source_options
def show(preset: str, strength: float, seed: int, plot: Path | None, src: str | None, source: Source) -> None:
    """Print PRESET as a recipe would hold it, and draw what it does."""
    from cellclf.pipeline.recipe import recipe_text

    augmenter = cellclf.Augmenter.preset(preset, seed=seed, strength=strength)
    augmenter.check()
    table = {key: value for key, value in augmenter.to_dict().items() if key != "seed"}
    click.echo(recipe_text({"trainer": {"augmenter": table}}), nl=False)
    if src is not None and plot is None:
        raise click.UsageError("--on needs --plot IMAGE, which is missing")
    if plot is not None:
        import_keras()
        cells = cellclf.make_cells(6, balance="even") if src is None else source.load(src)
        save_figure(augmenter.plot(cells), plot)
