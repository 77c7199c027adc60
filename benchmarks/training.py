"""How long a transfer-learning job takes beside the plain Keras script (`naive_training.py`), in one run.

usage: python benchmarks/training.py [CELLS] [--images N] [--networks resnet50 mobilenet] [--seeds 3]
                                     [--weights MOBILENET.weights.h5] [--epochs 30] [--last-epochs 70] [--timed 3]

CELLS is whatever `cellclf.load` reads; without it $CELLCLF_DATA/data/acevedo96/train. A fifth of it validates.

ResNet50 has random weights: only its time is measured. The script's epochs all cost the same, so it runs one epoch to
warm up and `--timed` more, whose median is taken for the rest; that is an extrapolation, and the output says so.
cellclf runs all epochs of the head stage; of the last-block stage as many as the script, extrapolated likewise, with
the filling of its cache counted in full. MobileNet 0.75 has its real weights (without them it is left out): both run
every epoch, for each seed, and the macro F1 of both is printed: on the validation images, and on up to 4,000 that
neither trained nor chose on (with --images), since a score that an epoch was chosen by is too high. The script keeps
the epoch of least validation loss, penalty included, as the report did; cellclf that of best macro F1, as its recipes
do. The script does not augment; with six views cellclf does, and its augmentation is in its time, as is the calibration
that ends each training. Where others use the machine, the ratio of processor times is the better one.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import naive_training as naive
import numpy as np

import cellclf as cc
from cellclf.training import Cache

TEST_IMAGES = 4_000
"""Most images that are neither trained nor chosen on."""
TARGETS = {"head, 1 view": 15, "head, 6 views": 4, "last block": 2}


def extrapolated(seconds, epochs):
    """Give the time of all epochs when the first, which compiles and fills the cache, and some more were timed."""
    return seconds.sum(0) if len(seconds) >= epochs else seconds[0] + (epochs - 1) * np.median(seconds[1:], axis=0)


def run_naive(network, train, val, test, *, weights, seed, epochs, last):
    """Run the script's two stages; gives seconds of each epoch and macro F1 on two sets, by stage."""
    keras.utils.set_random_seed(seed)
    arrays = [(cells.images, cells.labels) for cells in (train, val)]
    model, base = naive.build(network, train.image_shape[0], train.num_classes, weights)
    found = []
    for rate, count in ((1e-4, epochs), (1e-5, last)):
        if found:
            naive.unfreeze_last_block(network, base)
        seconds = naive.fit(model, *arrays, rate=rate, epochs=count)
        found.append((seconds, scores_of(model, val, test)))
    return found


def run_ours(network, train, val, test, *, weights, seed, epochs, last=0, views=1):
    """Train the head with cellclf, then the last block if ``last`` is not 0; gives the same of the last stage."""
    params = {"alpha": 0.75} if network == "mobilenet" else None
    common = {"patience": None, "reduce_patience": 5, "monitor": "val_macro_f1"}
    stages = [cc.Stage(epochs=epochs, learning_rate=1e-4, **common)]
    if last:
        stages.append(cc.Stage(epochs=last, learning_rate=1e-5, unfreeze=1, **common))
    trainer = cc.Trainer(
        backbone=cc.Backbone(network, weights=weights, params=params),
        head=cc.Head(),
        augmenter=cc.Augmenter.preset("light", seed=seed) if views > 1 else None,
        stages=stages,
        cache=Cache(views=views, limit="20GB"),
        seed=seed,
    )
    marks = [naive.clock()]  # so that building the network is in it too
    run = trainer.fit(train, val, show=True, callbacks=[lambda row: marks.append(naive.clock())])
    calibrated = naive.clock() - marks[-1]
    seconds = np.diff(marks, axis=0)[[row["stage"] == len(stages) for row in run.history]]
    seconds[0] += calibrated  # once a training, as filling the cache
    return seconds, scores_of(run.model, val, test)


def scores_of(model, *sets):
    """Give the macro F1 on each set; NaN where it has no image."""
    return [naive.macro_f1(model, (cells.images, cells.labels)) if len(cells) else np.nan for cells in sets]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("CELLCLF_DATA", "."))
    parser.add_argument("cells", nargs="?", default=data / "data" / "acevedo96" / "train")
    parser.add_argument("--weights", default=data / "weights" / "mobilenet_v1_0.75_imagenet_notop.weights.h5")
    parser.add_argument("--networks", nargs="+", choices=("resnet50", "mobilenet"), default=["resnet50", "mobilenet"])
    parser.add_argument("--images", type=int, help="a stratified sample of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--last-epochs", type=int, default=70)
    parser.add_argument("--timed", type=int, default=3)
    options = parser.parse_args()
    cells, test = cc.load(options.cells), None
    if options.images and options.images < len(cells):
        pieces = cc.Split(val=1 - options.images / len(cells), seed=0).apply(cells)
        cells = pieces.train
        rows = np.random.default_rng(0).permutation(len(pieces.val))[:TEST_IMAGES]
        test = pieces.val.subset(np.sort(rows))
    parts = cc.Split(val=0.2, seed=7).apply(cells)
    train, val, test = (
        cc.ImageSet(p.images, p.labels, class_names=p.class_names, ids=p.ids)
        for p in (parts.train, parts.val, cells[:0] if test is None else test)
    )
    sizes = f"{len(train):,} + {len(val):,} images, {len(test):,} for the test"
    print(f"{sizes}, {cells.image_shape[0]} px, {os.cpu_count()} cores", flush=True)
    for network in options.networks:
        real = network == "mobilenet"
        weights = options.weights if real else None
        if real and not Path(weights).is_file():
            print(f"mobilenet is left out: there are no weights at {weights}")
            continue
        last = min(options.last_epochs, 10) if real else options.timed + 1
        seeds = range(options.seeds if real else 1)
        times = {name: [] for name in ("naive head", "naive last", *TARGETS)}
        scores = {name: [] for name in times}
        for seed in seeds:
            started = time.perf_counter()
            settings = {"weights": weights, "seed": seed}
            short = options.epochs if real else options.timed + 1
            settings |= {"train": train, "val": val, "test": test}
            script = run_naive(network, epochs=short, last=last, **settings)
            head = run_ours(network, epochs=options.epochs, **settings)
            many = run_ours(network, epochs=options.epochs, views=6, **settings)
            block = run_ours(network, epochs=short, last=last, **settings)
            total = last if real else options.last_epochs
            for name, (seconds, score), count in (
                ("naive head", script[0], options.epochs),
                ("naive last", script[1], total),
                ("head, 1 view", head, options.epochs),
                ("last block", block, total),
                ("head, 6 views", many, options.epochs),
            ):
                times[name].append(extrapolated(seconds, count))
                scores[name].append(score)
            print(f"{network} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        how = "all epochs run" if real else f"extrapolated from {options.timed} epochs after the first"
        print(f"\n{network}, {options.epochs} epochs of the head, {total} of the last block; script: {how}")
        titles = f"{'':16s}{'script s':>10s}{'cellclf s':>11s}{'ratio':>8s}{'of CPU':>8s}{'target':>8s}"
        print(titles + ("   macro F1 script, cellclf; test: script, cellclf" if real else ""))
        for name, target in TARGETS.items():
            against = "naive last" if name == "last block" else "naive head"
            one, other = np.mean(times[against], axis=0), np.mean(times[name], axis=0)
            ratio = one / other
            line = f"{name:16s}{one[0]:10.0f}{other[0]:11.0f}{ratio[0]:8.1f}{ratio[1]:8.1f}{target:8d}"
            (a, c), (b, d) = np.mean(scores[against], axis=0), np.mean(scores[name], axis=0)
            print(line + (f"   {a:.4f}, {b:.4f}; {c:.4f}, {d:.4f}" if real else ""))
        if real:
            for name, found in scores.items():
                print(f"  macro F1 {name}: " + "  ".join(f"{val:.4f}/{test:.4f}" for val, test in found))


if __name__ == "__main__":
    main()
