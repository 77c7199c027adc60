from __future__ import annotations

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import cellclf as cc
from cellclf.backbones.blocks import block_layers
from cellclf.training.split_model import split_for_stage, split_model


@pytest.fixture(scope="module")
def crossing():
    """Three convolutions; the last is added to the first, over the second."""
    images = keras.Input((8, 8, 3))
    first = keras.layers.Conv2D(4, 3, padding="same", name="first")(images)
    second = keras.layers.Conv2D(4, 3, padding="same", name="second")(first)
    third = keras.layers.Add(name="sum")([keras.layers.Conv2D(4, 3, padding="same", name="third")(second), first])
    return keras.Model(images, third)


def test_both_parts_after_each_other_are_the_whole(crossing):
    parts = split_model(crossing, "first")
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    found, expected = (convert_to_numpy(one) for one in (parts.tail(parts.front(images)), crossing(images)))
    np.testing.assert_array_equal(found, expected)
    assert {id(v) for v in parts.tail.variables} < {id(v) for v in crossing.variables}


def test_a_path_around_the_split_is_refused(crossing):
    with pytest.raises(cc.OptionError, match="layers behind 'second' also use outputs of layers before it"):
        split_model(crossing, "second")


def test_a_random_front_is_refused():
    images = keras.Input((8,))
    x = keras.layers.Dense(4, name="first")(keras.layers.Dropout(0.5, name="drop")(images))
    with pytest.raises(cc.OptionError, match="'drop' is random"):
        split_model(keras.Model(images, keras.layers.Dense(2)(x)), "first")


def test_a_stage_is_split_before_the_first_trained_layer(small_trainer):
    trainer = small_trainer()
    model, blocks, _ = trainer._build((32, 32, 3), 3)
    ends = trainer.backbone.spec.blocks
    assert [part[-1].name for part in block_layers(model, ends)] == list(ends)
    assert [split_for_stage(model, blocks, k).layer for k in range(3)] == ["head_pool", ends[1], ends[0]]
    for everything in (3, "all"):
        with pytest.raises(cc.OptionError, match="trains all layers of the backbone"):
            split_for_stage(model, blocks, everything)
