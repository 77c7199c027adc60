"""Images a second of training, all layers: the bare step, cellclf's two pipelines, and a naive Keras script.

usage: KERAS_BACKEND=jax python benchmarks/throughput.py [CELLS] [--images 2000] [--networks mobilenet]
           [--sides 96] [--precisions float32] [--rows bare augment device host naive] [--epochs 3] [--minutes M]

CELLS is anything that `cellclf.load` reads; without it, generated cells. MobileNet has alpha 0.75. Random weights, all
layers train (BatchNorm in inference mode), batches of 64, AdamW, preset `challenge`; the images are enlarged inside the
model. Rows, in this order for each network, side and precision:

bare     the step on one batch that lies on the device, many steps a call: what no pipeline can exceed
device   cellclf with pipeline="device"
host     cellclf with pipeline="host"
naive    what one writes first: Keras's own RandAugment in front of the network, arrays, and `fit`
augment  no network: the device's batches alone

The first epoch, which compiles, is left out, and the median of the others counts. The share is that of the bare step.
On a processor augmentation and step share the cores: with a and s their seconds of processor time an image, a pipeline
that wastes nothing has the share 1 / (1 + a / s), which is printed beside it. Each row is printed when it is done; with
--minutes no row begins after that time, and an epoch that would end later is the last.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import cellclf as cc
from cellclf.backbones.graph import resized
from cellclf.backends import current
from cellclf.data.split import sample
from cellclf.training import DeviceBatches
from cellclf.training.batches import Batches
from cellclf.training.device_epochs import GROUP, device_epochs
from cellclf.training.device_images import DeviceImages
from cellclf.training.epoch_steps import AfterBatch, build_metrics, fit_epoch

BATCH = 64
ROWS = ("bare", "device", "host", "naive", "augment")
PARAMS = {"mobilenet": {"alpha": 0.75}}


class TooLateError(Exception):
    """The time is over."""


class Timer:
    """Seconds of the clock and of the processor of each epoch.

    Args:
        until: Clock at which nothing more is begun.
    """

    def __init__(self, until):
        self.until = until

    def __call__(self, epoch, count, finish):
        """Run epochs; gives the median seconds (clock, processor) of those after the first."""
        found = []
        for number in range(count):
            before = np.array([time.perf_counter(), time.process_time()])
            epoch(number)
            finish()
            found.append(np.array([time.perf_counter(), time.process_time()]) - before)
            last = found[-1][0]
            if number and time.perf_counter() + last > self.until:
                break
            if not number and time.perf_counter() > self.until:
                raise TooLateError
        return np.median(found[1:], axis=0)


def build(network, cells, side, precision, *, naive=False):
    """Build and compile the classifier; gives the model."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    try:
        base = cc.Backbone(network, weights=None, params=PARAMS.get(network, {})).build((side, side, 3), seed=0)
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        base = resized(base, cells.image_shape) if side != cells.image_shape[0] else base
        x = keras.layers.GlobalAveragePooling2D()(base.output)
        answer = keras.layers.Dense(cells.num_classes, activation="softmax", dtype="float32")(x)
        model = keras.Model(base.input, answer)
        if naive:
            images = keras.Input(cells.image_shape)
            altered = keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5)(images)
            model = keras.Model(images, model(altered))
        optimizer = keras.optimizers.AdamW(1e-4)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    finally:
        keras.config.set_dtype_policy("float32")
    if not naive:
        optimizer.build(model.trainable_variables)
        build_metrics(model)
    return model


def hook():
    """Give what happens after each batch: nothing."""
    return AfterBatch(0, lambda done: None, lambda done: None, lambda: False)


def bare(model, cells, augmenter, timer, epochs):
    """Time the step alone."""
    labels = np.eye(cells.num_classes, dtype=np.float32)[cells.labels[:BATCH]]
    ones = np.ones(BATCH, np.float32)
    held = current().place({"images": cells[:BATCH].images, "labels": labels, "weights": ones, "real": ones})
    train = current().train_drawn(model, lambda held, drawn: tuple(held.values()))
    drawn = current().place({"follow": np.zeros(GROUP, np.float32)})
    calls = max(1, len(cells) // BATCH // GROUP)

    def epoch(number):
        train(((held, drawn, GROUP) for _ in range(calls)), lambda: None, lambda count: False)

    found = timer(epoch, epochs, lambda: float(model.get_metrics_result()["loss"]))
    return found / (calls * GROUP * BATCH)


def device(model, cells, augmenter, timer, epochs):
    """Time a training whose batches are made on the device."""
    weights = np.ones(len(cells), np.float32)
    batches = Batches(cells, augmenter, BATCH, weights, 0)
    made = device_epochs(model, batches, DeviceImages(cells, weights))
    run = lambda number: made.fit(batches, number, number * batches.steps, hook(), [])  # noqa: E731
    return timer(run, epochs, lambda: float(model.get_metrics_result()["loss"])) / len(cells)


def host(model, cells, augmenter, timer, epochs):
    """Time a training whose batches are made on the host."""
    batches = Batches(cells, augmenter, BATCH, np.ones(len(cells), np.float32), 0)
    run = lambda number: fit_epoch(model, batches.epoch(number), hook(), [])  # noqa: E731
    return timer(run, epochs, lambda: float(model.get_metrics_result()["loss"])) / len(cells)


def naive(model, cells, augmenter, timer, epochs):
    """Time the script's epochs."""
    images, labels = cells.images, np.eye(cells.num_classes, dtype=np.float32)[cells.labels]
    run = lambda number: model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)  # noqa: E731
    return timer(run, epochs, lambda: None) / len(cells)


def augment(model, cells, augmenter, timer, epochs):
    """Time the device's batches alone."""
    made = DeviceBatches(cells, augmenter, batch_size=BATCH)
    last = []

    def epoch(number):
        for last[:] in made.epoch(number):
            pass

    return timer(epoch, epochs, lambda: np.asarray(keras.ops.convert_to_numpy(last[0][0, 0, 0]))) / len(cells)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--networks", nargs="+", default=["mobilenet"])
    parser.add_argument("--sides", nargs="+", type=int, default=[96])
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int, default=96, help="of generated cells")
    parser.add_argument("--minutes", type=float, default=1e9)
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs is below 2; the first is left out")
    timer = Timer(time.perf_counter() + 60 * options.minutes)
    if options.cells:
        cells = sample(cc.load(options.cells), options.images)
    else:
        few = cc.make_cells(min(options.images, 256), size=options.size, seed=7)
        cells = few.subset(np.arange(options.images) % len(few)) if options.images > len(few) else few
    cells = cc.ImageSet(cells.images, cells.labels, class_names=cells.class_names)
    gpus = current().gpus()
    where = ", ".join(gpus) if gpus else f"no GPU, {os.cpu_count()} cores"
    print(f"{len(cells):,} images of {cells.image_shape[0]} px, {current().version()}, {where}", flush=True)
    augmenter = cc.Augmenter.preset("challenge", seed=7)
    for network, side, precision in itertools.product(options.networks, options.sides, options.precisions):
        seconds = {}
        for row in options.rows:
            what = f"{network} {side} px {precision} {row}"
            if time.perf_counter() > timer.until:
                print(f"{what}: no time left", flush=True)
                continue
            try:
                model = None if row == "augment" else build(network, cells, side, precision, naive=row == "naive")
                seconds[row] = globals()[row](model, cells, augmenter, timer, options.epochs)
            except TooLateError:
                print(f"{what}: the time was over after its first epoch", flush=True)
                continue
            except Exception as error:  # a row that cannot run here must not cost the others
                print(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:150]}", flush=True)
                continue
            clock, processor = seconds[row]
            share = f", {seconds['bare'][0] / clock:.2f} of the bare step" if "bare" in seconds else ""
            share = "" if row in ("bare", "augment") else share
            print(
                f"{what}: {1 / clock:.0f} images/s{share}, {1e3 * processor:.2f} ms of processor an image", flush=True
            )
        if not gpus and {"bare", "augment"} <= set(seconds):
            ratio = seconds["augment"][1] / seconds["bare"][1]
            print(
                f"{network} {side} px {precision}: a / s is {ratio:.2f}, so at best {1 / (1 + ratio):.2f}", flush=True
            )


if __name__ == "__main__":
    main()
