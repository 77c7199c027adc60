"""A BatchNorm is frozen or trained as its stage says, however deep it is nested; nothing else is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.nested import NESTED, network

from cellclf.backbones.blocks import block_layers, output_layer
from cellclf.backbones.graph import all_layers
from cellclf.training.checkpoint import values
from cellclf.training.freezing import freeze, moving_variables
from cellclf.training.split_model import split_model
from cellclf.training.stage import Stage

IMAGES = np.random.default_rng(0).normal(100, 40, (8, 16, 16, 3)).astype(np.float32)


def train(model, **settings):
    """Train one step; give the paths of the variables that moved, and those that could."""
    backbone = [layer for layer in model.layers if layer.name != "probabilities"]
    blocks = block_layers(model, ["end"])
    freeze(backbone, blocks, Stage(epochs=1, learning_rate=0.1, **settings))
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", jit_compile=False)
    moving = {v.path for v in moving_variables(model)}
    before = values(model.variables)
    model.train_on_batch(IMAGES, np.eye(3)[np.arange(8) % 3])
    pairs = zip(model.variables, before, values(model.variables), strict=True)
    return {v.path for v, one, other in pairs if not np.array_equal(one, other)}, moving


def batch_norms(model):
    return [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("kind", NESTED)
def test_batch_norm_is_held_or_trained_wherever_it_is(kind):
    model = network(kind)
    norms = {v.path for layer in batch_norms(model) for v in layer.variables}
    assert len(norms) == 4 * len(batch_norms(model)) >= 4
    moved, moving = train(model, unfreeze="all")
    assert moved and not moved & norms and not moving & norms and moved <= moving
    moved, moving = train(model, unfreeze="all", train_batch_norm=True)
    assert {path for path in norms if "moving" in path} <= moved <= moving
    moved, moving = train(model, unfreeze=0, train_batch_norm=True)
    assert moved == moving == {v.path for v in model.get_layer("probabilities").variables}
    moved, moving = train(model, unfreeze=1)
    assert not moved & norms and not moving & norms


@pytest.mark.parametrize("kind", ["a model", "a model in a model", "a sequential model", "a layer", "its own kind"])
def test_a_nested_model_can_be_the_last_layer_a_block_and_a_place_to_split(kind):
    x = inputs = keras.Input((16, 16, 3))
    for part in NESTED[kind]():
        x = part(x)
    name = part.name
    model = keras.Model(inputs, x)
    assert output_layer(model) == name
    assert block_layers(model, [name])[0][-1].name == name
    end = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(model.output))
    parts = split_model(keras.Model(inputs, end), name)
    features = parts.front.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(features, model.predict(IMAGES, verbose=0), rtol=1e-6)
    expected = keras.Model(inputs, end).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(parts.tail.predict(features, verbose=0), expected, rtol=1e-6)
