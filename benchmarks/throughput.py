"""Images a second of the plain way, without a cache: the naive Keras script against cellclf, made for a GPU.

usage: python benchmarks/throughput.py [CELLS] [--sides 96 224] [--precisions float32 mixed_float16] [--images 2000]
                                       [--epochs 3] [--network resnet50] [--jit auto no]

CELLS is anything that `cellclf.load` reads; without it $CELLCLF_DATA/data/acevedo96/train. A network with random
weights, all layers training (BatchNorm in inference mode), batches of 64, no augmentation; the images are enlarged
inside the model. The first epoch, which compiles, is left out; the median of the others counts, with the scoring of
an eighth of the images. The script computes in float32, and Keras decides there whether XLA compiles its steps
("auto": on a GPU); cellclf in each precision, with and without XLA. On a processor 16 bits are slower, not faster.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import naive_training as naive
import numpy as np
import tensorflow as tf

import cellclf as cc
from cellclf.data.split import sample
from cellclf.training import Compute

JIT = {"auto": "auto", "no": False, "yes": True}
"""What `Compute` takes as `jit_compile`."""


def script(network, train, val, side, epochs):
    """Time the script's epochs, its images enlarged first, all layers but BatchNorm training."""
    classifier, base = naive.build(network, side, train.num_classes)
    for layer in base.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    images = keras.Input(train.image_shape)
    enlarged = keras.layers.Resizing(side, side)(images) if side != train.image_shape[0] else images
    model = keras.Model(images, classifier(enlarged))
    sets = [(cells.images, cells.labels) for cells in (train, val)]
    return naive.fit(model, *sets, rate=1e-5, epochs=epochs)[1:, 0]


def ours(network, train, val, side, epochs, precision, jit):
    """Time cellclf's epochs of the same training."""
    marks = []
    trainer = cc.Trainer(
        backbone=cc.Backbone(network, weights=None, params={"alpha": 0.75} if network == "mobilenet" else {}),
        head=cc.Head(),
        stages=[cc.Stage(epochs=epochs, learning_rate=1e-5, unfreeze="all", patience=None)],
        image_size=None if side == train.image_shape[0] else side,
        compute=Compute(precision=None if precision == "float32" else precision, jit_compile=JIT[jit]),
        cache=None,
    )
    trainer.fit(train, val, callbacks=[lambda row: marks.append(naive.clock()[0])])
    return np.diff(marks)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("CELLCLF_DATA", "."))
    parser.add_argument("cells", nargs="?", default=data / "data" / "acevedo96" / "train")
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 224])
    parser.add_argument("--precisions", nargs="+", default=["float32", "mixed_float16"])
    parser.add_argument("--network", choices=sorted(naive.LAST_BLOCK_BEGINS), default="resnet50")
    parser.add_argument("--jit", nargs="+", choices=JIT, default=["auto", "no"])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs is below 2; the first is left out")
    cells = sample(cc.load(options.cells), options.images)
    parts = cc.Split(val=0.125, seed=7).apply(cells)
    device = [gpu.name for gpu in tf.config.list_physical_devices("GPU")] or f"no GPU, {os.cpu_count()} cores"
    print(f"{len(parts.train):,} + {len(parts.val):,} images, {device}, TensorFlow {tf.__version__}", flush=True)
    for side in options.sides:
        what = f"{options.network}, {side} px"
        base = np.median(script(options.network, parts.train, parts.val, side, options.epochs))
        print(f"{what}, script, float32: {len(parts.train) / base:.0f} images a second", flush=True)
        for precision, jit in product(options.precisions, options.jit):
            taken = np.median(ours(options.network, parts.train, parts.val, side, options.epochs, precision, jit))
            rate = f"{len(parts.train) / taken:.0f} images a second, {base / taken:.2f} x the script"
            print(f"{what}, cellclf, {precision}, jit {jit}: {rate}", flush=True)


if __name__ == "__main__":
    main()
