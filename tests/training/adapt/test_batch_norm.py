"""BatchNorm adaptation, against the statistics of a network in training mode and against its own definition."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.backbones.graph import copied
from cellclf.errors import OptionError
from cellclf.training.adapt import batch_norm as adaptation
from cellclf.training.adapt.batch_norm import adapt_batch_norm

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 3))
    for filters in (16, 16):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module")
def branched():
    """Give a network with a path around a block, two norms of one map, and branches that meet."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))

    def normed(x, filters=16):
        return keras.layers.ReLU()(
            keras.layers.BatchNormalization()(keras.layers.Conv2D(filters, 3, padding="same")(x))
        )

    x = normed(inputs)
    x = keras.layers.Add()([x, normed(normed(x))])
    x = keras.layers.Add()([x, normed(x)])
    one, two = (keras.layers.BatchNormalization()(x) for _ in range(2))
    x = keras.layers.Concatenate()([normed(one), normed(normed(two))])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("network", ["model", "branched"])
def test_without_prior_it_is_the_network_in_training_mode(network, request):
    model = request.getfixturevalue(network)
    adapted = adapt_batch_norm(model, cc.ImageSet(IMAGES), prior=0)
    expected = np.asarray(copied(model)(IMAGES.astype("float32"), training=True))
    np.testing.assert_allclose(np.asarray(adapted(IMAGES.astype("float32"))), expected, atol=1e-4)


def test_the_prior_weighs_the_source(model):
    before = [np.asarray(v).copy() for layer in norms(model) for v in layer.weights]
    first = norms(adapt_batch_norm(model, cc.ImageSet(IMAGES), prior=8))[0]
    target = np.asarray(keras.Model(model.input, norms(model)[0].input)(IMAGES)).reshape(-1, 16)
    keep = 8 / (8 + 24)
    np.testing.assert_allclose(first.moving_mean, (1 - keep) * target.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(first.moving_variance, keep + (1 - keep) * target.var(0), rtol=1e-4)
    for old, new in zip(before, [v for layer in norms(model) for v in layer.weights], strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))


def test_what_is_kept_in_memory_changes_nothing(branched, monkeypatch):
    cells = cc.ImageSet(IMAGES)
    kept = adapt_batch_norm(branched, cells)
    one_map = 4 * 24 * 16 * 16 * 16
    for limit in (0, one_map, 2 * one_map):
        monkeypatch.setattr(adaptation, "_KEPT_BYTES", limit)
        for a, b in zip(kept.variables, adapt_batch_norm(branched, cells).variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_order_of_the_images_does_not_matter(model):
    one = adapt_batch_norm(model, cc.ImageSet(IMAGES))
    other = adapt_batch_norm(model, cc.ImageSet(IMAGES[::-1].copy()))
    for a, b in zip(norms(one), norms(other), strict=True):
        np.testing.assert_allclose(a.moving_mean, b.moving_mean, rtol=1e-4, atol=1e-4)


def test_a_network_without_it_says_so():
    inputs = keras.Input((16, 16, 3))
    plain = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(OptionError, match="no BatchNorm"):
        adapt_batch_norm(plain, cc.ImageSet(IMAGES))
    with pytest.raises(OptionError, match="prior=-1"):
        adapt_batch_norm(plain, cc.ImageSet(IMAGES), prior=-1)
