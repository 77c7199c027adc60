"""How well a run's calibration, prediction sets and out-of-distribution scores hold on real cells.

usage: CELLCLF_DATA=FOLDER python benchmarks/confidence.py RUN TRAINING_SET [--each 300] [--seed 0]

RUN is a run folder with model and split.csv, TRAINING_SET what it was made from. FOLDER holds data/acevedo96/val,
data/bccd_crops and data/contaminants. Temperature, feature statistics and limits come from the run's inner split alone
(its confidence.npz; a run without one is calibrated here, in memory). Printed are: the calibration error on all of
acevedo96/val beside what a perfectly calibrated classifier would show; coverage and size of conformal sets at 1 % error
over 20 halves of acevedo96/val (fitted on one half, measured on the other); how well non-cell images of each kind are
separated from acevedo96/val, by feature distance and, as a peer, by energy; and which sets count as shifted.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
import outliers
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score

from cellclf import ImageSet, Run, load, load_run
from cellclf.data.classes import match_labels
from cellclf.evaluation.calibration import calibrate, scale
from cellclf.evaluation.conformal import coverage, fit_conformal
from cellclf.evaluation.ood import energy
from cellclf.evaluation.selective import abstain
from cellclf.runs.features.reader import FeatureReader


def drawing(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Draw lines, ellipses and boxes in plain colours on a plain background."""
    page = Image.new("RGB", (outliers.SIDE, outliers.SIDE), tuple(int(v) for v in rng.integers(180, 256, 3)))
    pen = ImageDraw.Draw(page)
    for _ in range(rng.integers(3, 9)):
        (left, right), (top, bottom) = (sorted(rng.integers(-10, 106, 2).tolist()) for _ in range(2))
        box, ink = (left, top, right, bottom), tuple(int(v) for v in rng.integers(0, 200, 3))
        kind, width = rng.integers(3), int(rng.integers(1, 5))
        if kind == 0:
            pen.line(box, fill=ink, width=width)
        elif kind == 1:
            pen.ellipse(box, outline=ink, width=width)
        else:
            pen.rectangle(box, outline=ink, width=width, fill=ink if rng.random() < 0.3 else None)
    return np.asarray(page)


SIX = ("photo", "text", "blank", "noise", "blurred", "drawing")
KINDS = {**outliers.KINDS, "drawing": drawing}


def inner(run: Run, training_set: str) -> tuple[ImageSet, ImageSet]:
    """Give the images that the run was trained on and those that its choices were made on."""
    cells = load(training_set)
    with (run.folder / "split.csv").open(newline="", encoding="utf-8") as file:
        part = {row["id"]: row["part"] for row in csv.DictReader(file)}
    parts = np.array([part.get(id_, "") for id_ in cells.ids.tolist()])
    return cells.subset(parts == "train"), cells.subset(parts == "val")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("training_set")
    parser.add_argument("--each", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/")
    data = Path(root) / "data"
    run = load_run(options.run)
    if run.confidence is None:
        parts = inner(run, options.training_set)
        run.folder = None  # nothing is written into a folder that may not be ours
        run.calibrate(*parts)
    known = run.confidence
    test, other = load(data / "acevedo96" / "val"), load(data / "bccd_crops")
    truth = match_labels(test, run.class_names)
    reader = FeatureReader(run.model)
    features, plain = reader.read(test)
    scaled = scale(plain, known.temperature)

    print(f"acevedo96/val, temperature {known.temperature:.3f} from {len(known.conformal.given):,} inner images")
    for name, given in (("as trained", plain), ("with temperature", scaled)):
        found = calibrate(truth, given, seed=options.seed)
        low, high = found.ece_if_perfect.low, found.ece_if_perfect.high
        print(
            f"  {name:17} ECE {found.ece:.4f} (perfectly calibrated: {float(found.ece_if_perfect):.4f}, {low:.4f}-"
            f"{high:.4f})  Brier {found.brier:.4f}  log loss {found.log_loss:.4f}  accuracy {found.accuracy:.4f}"
        )
    curve = abstain(truth, scaled)
    accuracies = {share: curve.accuracy_without(share) for share in (0, 0.02, 0.05, 0.1)}
    shown = ", ".join(f"{100 * share:g} % left out: {100 * accuracy:.2f} %" for share, accuracy in accuracies.items())
    print(f"  accuracy with the least confident left to a person: {shown}")

    print("\nprediction sets at 1 % error, none empty: 20 halves of acevedo96/val")
    print(f"  {'half':>8} {'covered':>8} {'size':>6}   per class: {'covered':>7} {'size':>6} {'worst class':>12}")
    lines = []
    for half in range(20):
        order = np.random.default_rng([options.seed, half]).permutation(len(truth))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        fitted = fit_conformal(truth[first], scaled[first])
        every, own = (
            coverage(truth[second], fitted.sets(scaled[second], 0.01, per_class=each), run.class_names)
            for each in (False, True)
        )
        line = (every.covered, every.mean_size, own.covered, own.mean_size, min(own.classes.values()))
        print(f"  {half:8} {line[0]:8.4f} {line[1]:6.3f} {line[2]:19.4f} {line[3]:6.3f} {line[4]:12.4f}")
        lines.append(line)
    table = np.array(lines)
    mean = table.mean(0)
    print(f"  {'mean':>8} {mean[0]:8.4f} {mean[1]:6.3f} {mean[2]:19.4f} {mean[3]:6.3f} {mean[4]:12.4f}")
    print(f"  {'lowest':>8} {table[:, 0].min():8.4f} {'':6} {table[:, 2].min():19.4f}")
    print(
        "  (per class, a class with fewer than 99 images in the half is in every set: nothing less guarantees the rate)"
    )
    inside = coverage(truth, known.conformal.sets(scaled, 0.01), run.class_names)
    print(
        f"  with the run's own inner split instead: covered {inside.covered:.4f}, mean size {inside.mean_size:.3f} "
        "(the best epoch was chosen on that split, so this is a little too good)"
    )

    print(f"\n{options.each} non-cell images of each kind against acevedo96/val: AUROC; share beyond the default limit")
    dense = run.model.layers[-1].get_weights()
    logits = (lambda f: f @ dense[0] + dense[1]) if features.shape[1] == dense[0].shape[0] else None
    cells, photos = test.images, outliers.photographs(Path(root))
    usual, limit = known.familiar.distance(features), known.familiar.limit(0.005)
    print(f"  {'kind':10} {'distance':>9} {'energy':>8} {'out-of-distrib.':>15}")
    print(f"  {'(cells)':10} {'':9} {'':8} {(usual > limit).mean():15.4f}")
    for place, (kind, make) in enumerate(KINDS.items()):
        rng = np.random.default_rng([options.seed, place])
        other_features, _ = reader.read(ImageSet(np.stack([make(rng, cells, photos) for _ in range(options.each)])))
        distance = known.familiar.distance(other_features)
        which = np.repeat([0, 1], [len(usual), len(distance)])
        auroc = roc_auc_score(which, np.concatenate([usual, distance]))
        peer = ""
        if logits is not None:
            energies = np.concatenate([energy(logits(features)), energy(logits(other_features))])
            peer = f"{roc_auc_score(which, energies):8.4f}"
        mark = "" if kind in SIX else "  (still cells, recoloured or at another scale: beside the six)"
        print(f"  {kind:10} {auroc:9.4f} {peer:>8} {(distance > limit).mean():15.4f}{mark}")

    print("\nwhole sets")
    for name, cells_of in (("acevedo96/val", None), ("bccd_crops", other)):
        found = known.familiar.compare(usual if cells_of is None else known.familiar.distance(reader.read(cells_of)[0]))
        print(f"  {name}: {found}")


if __name__ == "__main__":
    main()
