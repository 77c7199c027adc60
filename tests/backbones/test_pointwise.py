"""Strided 1x1 convolutions of few channels, whose gradients oneDNN computes beyond its memory."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from cellclf.backbones.pointwise import subsample_first

_TRAINS = """
import keras
import cellclf as cc

pixels = keras.Input((32, 32, 3))
few = keras.layers.Conv2D(12, 1, strides=(3, 2), name="own")(keras.layers.Conv2D(5, 3, name="first")(pixels))
own = keras.Model(pixels, keras.layers.ReLU(name="last")(few))
cells = cc.make_cells(60, size=32, seed=1, balance="even")
stages = [cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all")]
small = cc.Backbone("residual", params={"filters": [4, 8, 8]})
for backbone, batch_size in ((small, 8), (cc.Backbone(own, blocks=["last"]), 1)):
    trainer = cc.Trainer(backbone=backbone, batch_size=batch_size, augmenter=None, stages=stages)
    trainer.fit(cells[:33], cells[33:], show=False)
print("alive")
"""


def test_few_channels_and_batches_of_one_image_do_not_end_the_process() -> None:
    # in a process of its own: it died of "free(): invalid size"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    done = subprocess.run([sys.executable, "-c", _TRAINS], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-2000:]


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize(("strides", "padding", "groups"), [((2, 2), "same", 1), ((3, 2), "valid", 2)])
def test_what_is_computed_stays_the_same(side: int, strides: tuple[int, int], padding: str, groups: int) -> None:
    settings = {"strides": strides, "padding": padding, "groups": groups, "name": "strided"}
    layers = [keras.Input((side, side, 4)), keras.layers.Conv2D(6, 1, bias_initializer="ones", **settings)]
    model = keras.Sequential(layers)
    images = np.random.default_rng(1).random((3, side, side, 4), np.float32)
    config, before = model.get_config(), model.predict_on_batch(images)
    subsample_first(model)
    model.compile()  # forgets what was traced
    after = model.predict_on_batch(images)
    assert "convolution_op" in vars(model.get_layer("strided")) and model.get_config() == config
    assert after.shape == before.shape and after == pytest.approx(before, abs=1e-5)


def test_only_what_needs_it_is_touched() -> None:
    class Own(keras.layers.Conv2D):
        def convolution_op(self, inputs, kernel):  # type: ignore[no-untyped-def]
            return super().convolution_op(inputs, kernel)

    pixels = keras.Input((8, 8, 15))
    kinds = [
        keras.layers.Conv2D(15, 1),
        keras.layers.Conv2D(15, 3, strides=2, padding="same"),
        Own(16, 1, strides=2),
        keras.layers.Conv2D(15, 1, strides=2),
    ]
    x = pixels
    for layer in kinds:
        x = layer(x)
    subsample_first(keras.Model(pixels, x))
    assert not any("convolution_op" in vars(layer) for layer in kinds)


def test_few_channels_inside_a_nested_model_are_found() -> None:
    pixels = keras.Input((8, 8, 15))
    strided = keras.layers.Conv2D(4, 1, strides=2)
    inner = keras.Model(pixels, strided(pixels))
    images = keras.Input((8, 8, 15))
    subsample_first(keras.Model(images, inner(images)))
    assert "convolution_op" in vars(strided)
