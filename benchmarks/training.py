"""How long a transfer-learning job takes beside the plain Keras script (`naive_training.py`), in one run.

usage: python benchmarks/training.py [CELLS] [--pictures N] [--networks resnet50 mobilenet] [--seeds 3]
                                     [--weights MOBILENET.weights.h5] [--epochs 30] [--last-epochs 70] [--timed 3]

CELLS is whatever `cellclf.load` reads; without it $CELLCLF_DATA/data/acevedo96/train. A fifth of it validates.

ResNet50 has random weights: its time is what counts. The script's epochs all cost the same, so it runs one epoch to
warm up and `--timed` more, whose median stands for the rest; that is an extrapolation, and the output says so. cellclf
runs all epochs of the head stage; of the last-block stage as many as the script, extrapolated likewise, with the
filling of its cache counted in full. MobileNet 0.75 has its real weights (without them it is left out): both run every
epoch, for each seed, and the validation macro F1 of both is printed. The script does not augment; with six views
cellclf does, and its augmentation is in its time. The ratio of processor times means more where others use the machine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import mean

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import naive_training as naive
import numpy as np

import cellclf as cc

WANTED = {"head, 1 view": 15, "head, 6 views": 4, "last block": 2}


def stretched(seconds, epochs):
    """Give the time of all epochs when the first, which compiles and fills the cache, and some more were timed."""
    return seconds.sum(0) if len(seconds) >= epochs else seconds[0] + (epochs - 1) * np.median(seconds[1:], axis=0)


def run_naive(network, train, val, *, weights, seed, epochs, last):
    """Run the script's two stages; gives seconds of each epoch and macro F1, by stage."""
    keras.utils.set_random_seed(seed)
    arrays = [(cells.images, cells.labels) for cells in (train, val)]
    model, base = naive.build(network, train.image_shape[0], train.num_classes, weights)
    found = []
    for rate, count in ((1e-4, epochs), (1e-5, last)):
        if found:
            naive.unfreeze_last_block(network, base)
        seconds = naive.fit(model, *arrays, rate=rate, epochs=count)
        found.append((seconds, naive.macro_f1(model, arrays[1])))
    return found


def run_ours(network, train, val, *, weights, seed, epochs, last, views=1):
    """Train the same two stages with cellclf; the second only with one view, as nothing is augmented there."""
    params = {"alpha": 0.75} if network == "mobilenet" else None
    common = {"patience": None, "reduce_patience": 5}
    stages = [cc.Stage(epochs=epochs, learning_rate=1e-4, **common)]
    if views == 1:
        stages.append(cc.Stage(epochs=last, learning_rate=1e-5, unfreeze=1, **common))
    trainer = cc.Trainer(
        backbone=cc.Backbone(network, weights=weights, params=params),
        head=cc.Head(),
        augmenter=cc.Augmenter.preset("light", seed=seed) if views > 1 else None,
        stages=stages,
        views=views,
        cache_limit="20GB",
        seed=seed,
    )
    marks = [naive.clock()]  # so that building the network is in it too
    history = trainer.fit(train, val, show=True, callbacks=[lambda row: marks.append(naive.clock())]).history
    taken = np.diff(marks, axis=0)
    found = []
    for number in range(1, len(stages) + 1):
        rows = [k for k, row in enumerate(history) if row["stage"] == number]
        chosen = [row for row in history if row["stage"] <= number and row["best"]][-1]
        found.append((taken[rows], chosen["val_macro_f1"]))
    return found


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("CELLCLF_DATA", "."))
    parser.add_argument("cells", nargs="?", default=data / "data" / "acevedo96" / "train")
    parser.add_argument("--weights", default=data / "weights" / "mobilenet_v1_0.75_imagenet_notop.weights.h5")
    parser.add_argument("--networks", nargs="+", choices=("resnet50", "mobilenet"), default=["resnet50", "mobilenet"])
    parser.add_argument("--pictures", type=int, help="a stratified part of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--last-epochs", type=int, default=70)
    parser.add_argument("--timed", type=int, default=3)
    options = parser.parse_args()
    cells = cc.load(options.cells)
    if options.pictures:
        share = 1 - options.pictures / len(cells)
        cells = cells if share <= 0 else cc.Split(val=share, seed=0).apply(cells).train
    parts = cc.Split(val=0.2, seed=7).apply(cells)
    train, val = (
        cc.ImageSet(p.images, p.labels, class_names=p.class_names, ids=p.ids) for p in (parts.train, parts.val)
    )
    print(f"{len(train):,} + {len(val):,} pictures of {cells.image_shape[0]} px, {os.cpu_count()} cores", flush=True)
    for network in options.networks:
        real = network == "mobilenet"
        weights = options.weights if real else None
        if real and not Path(weights).is_file():
            print(f"mobilenet left out: there are no weights at {weights}")
            continue
        last = min(options.last_epochs, 10) if real else options.timed + 1
        seeds = range(options.seeds if real else 1)
        times = {name: [] for name in ("naive head", "naive last", *WANTED)}
        scores = {name: [] for name in times}
        for seed in seeds:
            started = time.perf_counter()
            settings = {"weights": weights, "seed": seed, "last": last}
            short = options.epochs if real else options.timed + 1
            script = run_naive(network, train, val, epochs=short, **settings)
            ours = run_ours(network, train, val, epochs=options.epochs, **settings)
            many = run_ours(network, train, val, epochs=options.epochs, views=6, **settings)
            total = last if real else options.last_epochs
            for name, (seconds, score), count in (
                ("naive head", script[0], options.epochs),
                ("naive last", script[1], total),
                ("head, 1 view", ours[0], options.epochs),
                ("last block", ours[1], total),
                ("head, 6 views", many[0], options.epochs),
            ):
                times[name].append(stretched(seconds, count))
                scores[name].append(score)
            print(f"{network} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        how = "all epochs run" if real else f"extrapolated from {options.timed} epochs after the first"
        print(f"\n{network}, {options.epochs} epochs of the head, {total} of the last block; script: {how}")
        head = f"{'':16s}{'script s':>10s}{'cellclf s':>11s}{'ratio':>8s}{'of CPU':>8s}{'wanted':>8s}"
        print(head + "   macro F1 script, cellclf")
        for name, wanted in WANTED.items():
            against = "naive last" if name == "last block" else "naive head"
            one, other = np.mean(times[against], axis=0), np.mean(times[name], axis=0)
            ratio = one / other
            f1 = f"{mean(scores[against]):.4f}, {mean(scores[name]):.4f}" if real else "-"
            line = f"{name:16s}{one[0]:10.0f}{other[0]:11.0f}{ratio[0]:8.1f}{ratio[1]:8.1f}{wanted:8d}"
            print(f"{line}   {f1}")
        if real:
            for name in scores:
                print(f"  macro F1 {name}: " + " ".join(f"{score:.4f}" for score in scores[name]))


if __name__ == "__main__":
    main()
