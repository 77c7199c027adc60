"""How fast images are augmented, beside Keras's own layers and a MobileNet forward pass, in one run.

usage: python benchmarks/augment.py [--images 1024] [--rounds 3] [--size 96] [--batch 64]

Every candidate runs as it would in training: in a `tf.data` pipeline with two parallel calls, on uint8 images
(ours, random numbers included) or float32 ones (Keras's layers, which need them). Rounds are interleaved, so that a
busy machine slows all alike; the best round of each counts. CPU time is that of the whole process.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import cellclf as cc
from cellclf import augmentation as aug

KERAS_OPERATIONS = (
    aug.Shear(high=0.5),
    aug.Translate(high=0.5),
    aug.Rotate(degrees=180),
    aug.Brightness(low=0.5, high=1.5),
    aug.Saturation(low=0.5, high=1.0),
    aug.Contrast(low=0.5, high=1.5),
    aug.Sharpness(low=0.5, high=1.5),
    aug.Posterise(bits=4),
    aug.Solarise(),
    aug.AutoContrast(),
    aug.Equalise(),
)
"""The eleven operations of keras.layers.RandAugment."""


def keras_chain(*layers):
    """Run Keras layers as a data set's map."""

    def work(images):
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return lambda dataset: dataset.map(work, num_parallel_calls=2)


def candidates(size):
    """Give every candidate as a function from a data set to a data set."""
    net = keras.applications.MobileNet((size, size, 3), alpha=0.75, include_top=False, weights=None, pooling="avg")
    forward = tf.function(lambda images: net(tf.cast(images, tf.float32) / 127.5 - 1, training=False))
    five = (
        keras.layers.RandomRotation(0.5),
        keras.layers.RandomFlip(),
        keras.layers.RandomZoom(0.1),
        keras.layers.RandomBrightness(0.2),
        keras.layers.GaussianNoise(1.0),  # of 255: more is refused
    )
    return {
        "keras RandAugment, 2 ops": keras_chain(keras.layers.RandAugment(num_ops=2, factor=0.5)),
        "keras AugMix": keras_chain(keras.layers.AugMix()),
        "keras rotate, flip, zoom, brightness, noise": keras_chain(*five),
        "MobileNet 0.75 forward": lambda dataset: dataset.map(forward),
        "cellclf 2 of the same 11 ops": cc.Augmenter([aug.SomeOf(steps=KERAS_OPERATIONS, count=2)]).map,
        "cellclf AugMix of the same 11 ops": cc.Augmenter([aug.AugMix(steps=KERAS_OPERATIONS)]).map,
        **{
            f"cellclf preset {name}": cc.Augmenter.preset(name).map
            for name in ("report", "light", "stain", "laboratory", "challenge")
        },
    }


def main():
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    shape = (options.images, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(options.batch, drop_remainder=True)
    best = {}
    works = {name: make(dataset) for name, make in candidates(options.size).items()}
    for number in range(options.rounds + 1):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            count = sum(1 for _ in work)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            count *= options.batch
            if number:  # the first round compiles
                before = best.get(name, (np.inf, np.inf))
                best[name] = (min(before[0], wall / count), min(before[1], cpu / count))
    reference = best["keras RandAugment, 2 ops"]
    net = best["MobileNet 0.75 forward"]
    print(
        f"{options.size}x{options.size}, batch {options.batch}, {os.cpu_count()} cores, best of {options.rounds} rounds"
    )
    print(f"{'':46s}{'images/s':>11s}{'CPU us':>8s}{'x RandAugment':>15s}{'x MobileNet':>13s}")
    for name, (wall, cpu) in best.items():
        print(f"{name:46s}{1 / wall:11,.0f}{cpu * 1e6:8,.0f}{reference[0] / wall:15.1f}{net[0] / wall:13.2f}")


if __name__ == "__main__":
    main()
