from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.blocks import block_layers
from cellclf.backbones.graph import copied, resized, stable_names
from cellclf.errors import OptionError, UnknownNameError


def unnamed() -> Any:
    for _ in range(2):  # so that Keras's own count is past the name that is given below
        keras.layers.Conv2D(1, 1)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", name="conv2d_1")(x)
    y = keras.layers.Dropout(0.5)(keras.layers.ReLU()(y))
    z = keras.layers.Conv2D(4, 1)(x + y)
    return keras.Model(inputs, keras.layers.Concatenate()([z, x]))


def test_numbered_names_are_counted_afresh_and_given_ones_kept() -> None:
    unnamed()
    first, second = stable_names(unnamed()), stable_names(unnamed())
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    assert {"input_layer", "conv2d", "conv2d_1", "conv2d_2", "re_lu", "dropout", "concatenate"} == set(names)
    assert stable_names(first) is first


def test_renaming_changes_no_number() -> None:
    model = unnamed()
    renamed = stable_names(model)
    pixels = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    assert np.array_equal(model.predict(pixels, verbose=0), renamed.predict(pixels, verbose=0))
    for old, new in zip(model.variables, renamed.variables, strict=True):
        assert np.array_equal(old.numpy(), new.numpy())


@pytest.mark.parametrize("nested", [False, True])
def test_layers_that_were_adapted_to_data_stay_adapted(nested: bool, tmp_path: Path) -> None:
    """As in EfficientNet of keras.applications, whose first layer brings ImageNet's mean and variance."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
    scaled = keras.layers.Normalization()
    scaled.adapt(pixels)
    inputs = keras.Input((8, 8, 3))
    x = keras.Sequential([keras.Input((8, 8, 3)), scaled])(inputs) if nested else scaled(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
    expected = model.predict(pixels, verbose=0)
    for made in (copied(model), Backbone(model).build((8, 8, 3)), copied(copied(model))):
        np.testing.assert_allclose(made.predict(pixels, verbose=0), expected, atol=1e-6)
    copied(model).save(tmp_path / "copy.keras")
    loaded = keras.saving.load_model(tmp_path / "copy.keras")
    np.testing.assert_allclose(loaded.predict(pixels, verbose=0), expected, atol=1e-6)


def test_a_copy_keeps_what_is_frozen_and_shares_nothing() -> None:
    model = unnamed()
    model.get_layer("conv2d_1").trainable = False
    copy = copied(model)
    assert not copy.get_layer("conv2d_1").trainable and len(copy.trainable_weights) == len(model.trainable_weights)
    assert not {id(layer) for layer in copy.layers} & {id(layer) for layer in model.layers}
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in model.weights}


@pytest.mark.backend
def test_what_becomes_of_a_copy_leaves_the_model_alone() -> None:
    model, images = unnamed(), np.ones((2, 8, 8, 3), np.float32)
    expected = model.predict_on_batch(images)
    other = copied(model)
    np.testing.assert_allclose(other.predict_on_batch(images), expected, atol=1e-6)  # JAX deletes its arrays here
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-6)


def test_resized_takes_smaller_images_and_stays_flat(tmp_path: Path) -> None:
    net = Backbone("residual").build((32, 32, 3), seed=1)
    small = resized(net, (20, 24, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    scaled = keras.ops.image.resize(pixels.astype(np.float32), (32, 32), interpolation="bilinear")
    expected = net.predict(np.asarray(scaled), verbose=0)
    assert np.allclose(small.predict(pixels, verbose=0), expected, atol=1e-4)
    assert [layer.name for layer in small.layers] == ["pixels", "resize", *(layer.name for layer in net.layers[1:])]
    assert resized(net, (32, 32, 3)) is net
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    assert np.array_equal(again.predict(pixels, verbose=0), small.predict(pixels, verbose=0))


def test_a_model_without_a_graph_or_with_two_inputs_is_refused() -> None:
    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(OptionError, match="no graph"):
        copied(Subclassed())
    both = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
    with pytest.raises(OptionError, match="2 inputs"):
        copied(keras.Model(both, keras.layers.Add()(both)), input_shape=(8, 8, 3))


def test_a_layer_that_keras_does_not_know_names_the_way_out() -> None:
    class Mine(keras.layers.Layer):
        def __init__(self, side: int) -> None:
            super().__init__()

        def call(self, x: Any) -> Any:
            return x

    inputs = keras.Input((4, 4, 3))
    with pytest.raises(OptionError, match="cannot be rebuilt"):
        copied(keras.Model(inputs, Mine(3)(inputs)))


def test_blocks_own_what_lies_between_their_ends() -> None:
    net = Backbone("residual").build((16, 16, 3))
    parts = block_layers(net, ("block1_out", "block2_out", "block3_out"))
    names = [[layer.name for layer in part] for part in parts]
    assert {name for part in names for name in part} == {layer.name for layer in net.layers}
    assert sum(map(len, names)) == len(net.layers)
    assert names[0][0] == "pixels" and "stem_conv" in names[0] and "block2_shortcut" in names[1]
    head = keras.layers.Dense(2, name="head")(keras.layers.Flatten(name="flat")(net.output))
    grown = block_layers(keras.Model(net.input, head), ("block1_out", "block2_out", "block3_out"))
    assert [[layer.name for layer in part] for part in grown] == names


def test_blocks_that_are_not_there_or_out_of_order() -> None:
    net = Backbone("residual").build((16, 16, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'block1_out'"):
        block_layers(net, ("blok1_out",))
    with pytest.raises(OptionError, match="no layer of its own"):
        block_layers(net, ("block2_out", "block1_out"))
