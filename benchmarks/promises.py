"""Whether the accuracy that `predict --accuracy` promises is kept on real cells that the run has never seen.

usage: CELLCLF_DATA=FOLDER python benchmarks/promises.py --out FOLDER [--images 3000] [--seed 1]

Recipe `demo` is trained on some images of acevedo96/train; thresholds come from its own validation part. For each
promise: the accuracy of the images that are classified in 20 random halves of acevedo96/val, and the share of them,
beside the share that an exact binomial bound at the same confidence allows on the same validation images (computed here
from the probabilities, without cellclf). The run stays in FOLDER, so that a second call only measures.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from cellclf import OptionError, Pipeline, load, load_run
from cellclf.data.classes import match_labels
from cellclf.data.split import sample

PROMISES = (0.97, 0.98, 0.99)
HALVES = 20


def bound(right: np.ndarray, confidence: np.ndarray, promise: float, level: float) -> float | None:
    """Give the largest share of images whose accuracy is at least ``promise`` by the exact binomial bound."""
    best = None
    for threshold in np.unique(confidence):
        there = confidence >= threshold
        test = binomtest(int(right[there].sum()), int(there.sum()), promise, alternative="greater")
        if test.proportion_ci(level, method="exact").low >= promise:
            best = max(best or 0.0, float(there.mean()))
    return best


def main() -> None:
    """Train if need be, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/")
    data = Path(root) / "data" / "acevedo96"
    cells = sample(load(data / "train"), options.images, seed=options.seed)
    Pipeline.from_recipe("demo").run(cells, out=options.out, show=True)
    run = load_run(options.out)
    with (options.out / "split.csv").open(newline="") as file:
        part = {row["id"]: row["part"] for row in csv.DictReader(file)}
    val, test = cells.subset([part[id_] == "val" for id_ in cells.ids.tolist()]), load(data / "val")

    def judged(some):  # type: ignore[no-untyped-def]
        given = run.report_predictions(some).probabilities
        return given.max(1), given.argmax(1) == match_labels(some, run.class_names)

    (val_confidence, val_right), (confidence, right) = judged(val), judged(test)
    print(f"{len(val)} validation images, accuracy {val_right.mean():.4f}; {len(test)} others, {right.mean():.4f}")
    rng = np.random.default_rng(options.seed)
    halves = [rng.permutation(len(test))[: len(test) // 2] for _ in range(HALVES)]
    print("promise  kept - .01 in   accuracy, mean and lowest   share there   share here   exact bound here")
    for promise in PROMISES:
        allowed = bound(val_right, val_confidence, promise, 0.95)
        try:
            found = run.confidence.abstention.at(promise)
        except OptionError as error:
            print(f"{promise:7}  refused ({error}); exact bound here: {allowed}")
            continue
        some = [half[confidence[half] >= found.threshold] for half in halves]
        accuracies = np.array([right[rows].mean() for rows in some])
        kept = int((accuracies >= promise - 0.01).sum())
        share = np.mean([len(rows) / len(half) for rows, half in zip(some, halves, strict=True)])
        print(
            f"{promise:7}  {kept:7} of {HALVES}   {accuracies.mean():11.4f}, {accuracies.min():.4f}"
            f"{share:18.3f}{found.answered:13.3f}{allowed:19.3f}"
        )


if __name__ == "__main__":
    main()
