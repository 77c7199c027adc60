"""How many of 100 labels flipped at random are among the 200 most doubtful ones.

usage: CELLCLF_DATA=FOLDER python benchmarks/labels.py --out FOLDER [--weights FILE] [--recipe fast] [--folds 3]
       [--flips 100] [--seed 0] [--images N] [--epochs N]

FOLDER holds data/acevedo96/train. Labels of randomly chosen images are changed to another class, the images are
predicted by cross-validation with the recipe, and the flipped ones are counted at the top of the ranking, among twice
as many images as there are flips. Beside it: the same with the plain probability of the label as the ranking. The full
measurement takes as long as FOLDS trainings; --images and --epochs make it smaller (flips in proportion). The same
command continues after a stop.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from cellclf import Dedup, check_labels, load
from cellclf.pipeline.recipe import read_recipe


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/")
    cells = load(Path(root) / "data" / "acevedo96" / "train")
    cells = Dedup().apply(cells)  # before the flips: afterwards a flipped copy would be found as a conflict
    rng = np.random.default_rng(options.seed)
    flips = options.flips
    if options.images is not None and options.images < len(cells):
        flips = max(1, round(flips * options.images / len(cells)))
        cells = cells.subset(np.sort(rng.permutation(len(cells))[: options.images]))
    flipped = np.sort(rng.permutation(len(cells))[:flips])
    labels = np.array(cells.labels)
    labels[flipped] = (labels[flipped] + rng.integers(1, cells.num_classes, flips)) % cells.num_classes
    recipe: dict[str, Any] = read_recipe(options.recipe)
    if options.weights:
        recipe["trainer"]["backbone"]["weights"] = options.weights
    for stage in recipe["trainer"]["stages"]:
        stage["epochs"] = min(options.epochs or stage["epochs"], stage["epochs"])
        if stage.get("warmup", 0) >= stage["epochs"]:
            stage["warmup"] = 0
    begun = time.perf_counter()
    found = check_labels(
        cells.replace(labels=labels), recipe=recipe, folds=options.folds, out=options.out, seed=options.seed, show=True
    )
    seconds = time.perf_counter() - begun
    wrong = set(cells.ids[flipped].tolist())
    order = found.problems.order
    plain = np.argsort(found.probabilities[np.arange(len(found)), found.problems.labels], kind="stable")
    top = 2 * flips
    truth = dict(zip(cells.ids.tolist(), np.asarray(cells.labels).tolist(), strict=True))
    before = np.array([truth[id_] for id_ in found.ids.tolist()])
    print(
        f"{len(found):,} images, {flips} labels flipped (seed {options.seed}), recipe {options.recipe}, "
        f"{options.folds} folds, {recipe['trainer']['stages'][-1]['epochs']} epochs: {seconds / 60:.1f} min"
    )
    right = float((found.probabilities.argmax(1) == before).mean())
    print(f"cross-validated accuracy against the labels before the flips: {right:.4f}")
    print(
        f"confidently contradicted: {found.removed} labels, {len(wrong & set(found.ids[~found.keep].tolist()))} flipped"
    )
    for name, places in (("confident learning", order), ("probability of the label", plain)):
        hits = len(wrong & set(found.ids[places[:top]].tolist()))
        print(f"{name:25} {hits:4} of {flips} flipped labels among the {top} most doubtful")


if __name__ == "__main__":
    main()
