"""Cells of three levels and a run that tells them apart, made and not trained: quick to adapt."""

from __future__ import annotations

import numpy as np

import cellclf as cc
from cellclf.runs.features.layers import stored_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.stored import StoredFeatures
from cellclf.runs.provenance import weights_sha256

NAMES = ("dark", "grey", "light")


def levels(count, *, seed, low=60, step=60, tint=0, names=NAMES, side=24):
    """Give noise whose level says the class; a tint makes red brighter and blue darker by so much."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    middle = (low + step * labels)[:, None, None, None] + tint * np.array([1, 0, -1])
    images = rng.normal(middle, 30, (count, side, side, 3)).clip(0, 255)
    return cc.ImageSet(images.astype(np.uint8), labels, class_names=names, ids=[f"{seed}-{k}" for k in range(count)])


def there(count=90, *, seed=5):
    """Give a laboratory with a brighter and warmer lamp: a run of the other one takes its cells for lighter ones."""
    return levels(count, seed=seed, low=110, step=45, tint=40)


def level_run(folder, *, side=24):
    """Give a run in a folder, with features of its own cells."""
    import keras

    pixels = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    convs = [keras.layers.Conv2D(3, 1, strides=2, use_bias=False, name=name) for name in ("one", "two")]
    for conv in convs:
        x = conv(x)
    dense = keras.layers.Dense(3, activation="softmax", name="probabilities")
    model = keras.Model(pixels, dense(keras.layers.GlobalAveragePooling2D(name="head_pool")(x)))
    for conv in convs:
        conv.set_weights([np.eye(3).reshape(1, 1, 3, 3)])
    centres = np.array([60, 120, 180]) / 255
    dense.set_weights([np.tile(200 * centres / 3, (3, 1)), -100 * centres**2])
    parts = [levels(90, seed=seed, side=side) for seed in (1, 2)]
    reader = FeatureReader(model, layers=stored_layers(model))
    read = [reader.read_views(part) for part in parts]
    stored = StoredFeatures(
        layers=reader.layers,
        widths=reader.widths,
        features=np.concatenate([features[0] for features, _ in read]),
        probabilities=np.concatenate([given[0] for _, given in read]),
        labels=np.concatenate([part.labels for part in parts]),
        class_names=NAMES,
        ids=np.concatenate([part.ids for part in parts]),
        part=np.repeat(["train", "val"], 90),
        weights_sha256=weights_sha256(model),
    )
    manifest = {"status": "finished", "class_names": list(NAMES), "image_shape": [side, side, 3]}
    run = cc.Run(model, NAMES, manifest=manifest, stored_features=stored)
    run.calibrate(*parts, show=False)
    run.save(folder)
    return run
