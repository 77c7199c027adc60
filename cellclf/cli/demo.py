"""``cellclf demo``: the whole job on generated cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.output import command_line, import_keras, note, print_outcome

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("cellclf-demo"), show_default=True)
@click.option("-n", "count", type=click.IntRange(100), default=1200, show_default=True, help="Cells to generate.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the cells and of the training.")
def demo(out: Path, count: int, seed: int) -> None:
    """Do the whole job on generated cells; no data, no network.

    With the package cellclf-efficientnet-lite the classifier starts from ImageNet's weights, else from random ones.
    """
    from cellclf.backbones.registry import list_backbones

    few = count // 100
    recipe = "demo:pretrained" if "efficientnetlite0" in {one.name for one in list_backbones()} else "demo"
    note(f"recipe {recipe}: {'EfficientNet-Lite0 with ImageNet weights' if ':' in recipe else 'a small network'}")
    pipe = cellclf.Pipeline.from_recipe(recipe, [f"seed={seed}"])
    note(f"generating {count:,} cells, with duplicates and non-cell images among them")
    made: dict[str, Any] = {
        "n": count,
        "size": 64,
        "seed": seed,
        "slides": max(5, count // 60),
        "duplicates": 2 * few,
        "conflicts": few,
        "near_duplicates": 2 * few,
        "foreign": few,
        "foreign_copies": few,
    }
    cells = cellclf.make_cells(**made)
    same = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1)
    shifted = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1, severity=0.6)
    tests = {"test": same, "other laboratory": shifted}
    import_keras()
    outcome = pipe.run(cells, out=out, tests=tests, command=command_line(), source={"made": made})
    _print_planted(cells, set(outcome.prepared.after.ids.tolist()))
    print_outcome(outcome)


def _print_planted(cells: ImageSet, kept: set[str]) -> None:
    """Compare what was planted among generated cells with what was kept of it."""
    truth = cellclf.planted(cells)
    conflicts = truth.pairs("relabelled")
    copies = truth.pairs(*({*truth.kinds.tolist()} - {"cell", "foreign", "relabelled"}))
    no_cells = [id_ for id_, kind in zip(truth.ids.tolist(), truth.kinds.tolist(), strict=True) if kind == "foreign"]
    touched = {id_ for pair in [*conflicts, *copies] for id_ in pair} | set(no_cells)
    others = [id_ for id_ in truth.ids.tolist() if id_ not in touched]
    click.echo(
        f"planted: {sum(not kept.issuperset(pair) for pair in copies)} of {len(copies)} copies, "
        f"{sum(not kept & set(pair) for pair in conflicts)} of {len(conflicts)} cells under two labels and "
        f"{sum(id_ not in kept for id_ in no_cells)} of {len(no_cells)} non-cell images were removed, "
        f"and {sum(id_ not in kept for id_ in others)} of {len(others):,} other cells with them"
    )
