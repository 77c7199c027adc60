"""BatchNorm adaptation, against the statistics of a network in training mode and against its own definition."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.nested import NESTED, network

import cellclf as cc
from cellclf.backbones.graph import batch_norms, copied
from cellclf.errors import DataError, OptionError
from cellclf.training.adapt import batch_norm as adaptation
from cellclf.training.adapt.batch_norm import adapt_batch_norm, class_weights

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
    adapted = adapt_batch_norm(model, cc.ImageSet(IMAGES), prior=0, balance=False)
    expected = np.asarray(copied(model)(IMAGES.astype("float32"), training=True))
    np.testing.assert_allclose(np.asarray(adapted(IMAGES.astype("float32"))), expected, atol=1e-4)


def test_the_prior_weighs_the_source(model):
    before = [np.asarray(v).copy() for layer in norms(model) for v in layer.weights]
    first = norms(adapt_batch_norm(model, cc.ImageSet(IMAGES), prior=8, balance=False))[0]
    target = np.asarray(keras.Model(model.input, norms(model)[0].input)(IMAGES)).reshape(-1, 16)
    keep = 8 / (8 + 24)
    np.testing.assert_allclose(first.moving_mean, (1 - keep) * target.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(first.moving_variance, keep + (1 - keep) * target.var(0), rtol=1e-4)
    for old, new in zip(before, [v for layer in norms(model) for v in layer.weights], strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))


def test_what_is_kept_in_memory_changes_nothing(branched, monkeypatch):
    cells = cc.ImageSet(IMAGES)
    kept = adapt_batch_norm(branched, cells, balance=False)
    one_map = 4 * 24 * 16 * 16 * 16
    for limit in (0, one_map, 2 * one_map):
        monkeypatch.setattr(adaptation, "_KEPT_BYTES", limit)
        for a, b in zip(kept.variables, adapt_batch_norm(branched, cells, balance=False).variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_order_of_the_images_does_not_matter(model):
    one = adapt_batch_norm(model, cc.ImageSet(IMAGES), balance=False)
    other = adapt_batch_norm(model, cc.ImageSet(IMAGES[::-1].copy()), balance=False)
    for a, b in zip(norms(one), norms(other), strict=True):
        np.testing.assert_allclose(a.moving_mean, b.moving_mean, rtol=1e-4, atol=1e-4)


def test_a_network_without_it_says_so():
    inputs = keras.Input((16, 16, 3))
    plain = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(OptionError, match="no BatchNorm"):
        adapt_batch_norm(plain, cc.ImageSet(IMAGES))
    with pytest.raises(OptionError, match="prior=-1"):
        adapt_batch_norm(plain, cc.ImageSet(IMAGES), prior=-1)


@pytest.mark.parametrize("kind", NESTED)
def test_nested_norms_are_adapted_as_the_network_in_training_mode(kind):
    model = network(kind)
    adapted = adapt_batch_norm(model, cc.ImageSet(IMAGES), prior=0, balance=False)
    twin = copied(model)
    for layer in batch_norms(twin):
        layer.momentum = 0.0  # one call then leaves the statistics of its batch
    twin(IMAGES.astype("float32"), training=True)
    assert batch_norms(adapted) and len(batch_norms(adapted)) == len(batch_norms(twin))
    for one, other in zip(batch_norms(adapted), batch_norms(twin), strict=True):
        assert "call" not in vars(one)
        np.testing.assert_allclose(one.moving_mean, other.moving_mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.moving_variance, other.moving_variance, rtol=2e-3, atol=1e-4)


def called(*counts):
    """Give probabilities of images that are predicted so often as each class."""
    return np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]


@pytest.mark.parametrize(
    ("counts", "mix"),
    [
        ((64, 0, 0), None),
        ((0, 64), None),
        ((62, 2, 0), None),
        ((61, 3), None),
        ((30, 30, 0, 0), None),
        ((0, 0, 40, 40, 0), None),
        ((3, 3, 3), None),
        ((1, 0, 0, 0), None),
        ((30, 30, 0), [1, 1, 8]),
        ((40, 0, 0), [90, 5, 5]),
        ((10, 10, 10, 10, 0, 0, 0, 0), None),
    ],
)
def test_a_set_of_too_few_classes_is_refused(counts, mix):
    with pytest.raises(DataError, match=r"predicted as \d of \d classes .* would ruin the others"):
        class_weights(called(*counts), mix)


@pytest.mark.parametrize(
    ("counts", "mix"),
    [
        ((32, 32), None),
        ((60, 4), None),
        ((50, 5, 5), None),
        ((30, 30, 0), None),
        ((30, 30, 0), [8, 1, 1]),
        ((8, 8), [0.9, 0.1]),
        ((40, 10, 10), [1, 1, 2]),
        ((10, 10, 10, 10, 10, 0, 0, 0), None),
        ((30, 30, 2), [1, 1, 0]),
        ((500, 4, 4, 4), [1, 1, 1, 1]),
    ],
)
def test_classes_are_brought_to_the_shares_of_the_training(counts, mix):
    weights = class_weights(called(*counts), mix)
    sums = np.bincount(np.repeat(np.arange(len(counts)), counts), weights, minlength=len(counts))
    share = np.ones(len(counts)) if mix is None else np.asarray(mix, float)
    full = np.asarray(counts) >= 4
    np.testing.assert_allclose(sums[full], (share / share.sum())[full])
    assert (sums[~full] <= (share / share.sum())[~full]).all()


@pytest.fixture(scope="module")
def by_level():
    """Give a run of three grey levels that it tells apart behind a BatchNorm of these levels."""
    pixels = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(epsilon=1e-9)
    dense = keras.layers.Dense(3, activation="softmax")
    end = dense(norm(keras.layers.GlobalAveragePooling2D()(pixels)))
    norm.moving_mean.assign(np.full(3, 120.0))
    norm.moving_variance.assign(np.full(3, 2400.0))
    centres = np.array([-60, 0, 60]) / 49
    dense.set_weights([np.tile(4 * centres / 3, (3, 1)), -2 * centres**2])
    return cc.Run(keras.Model(pixels, end), ("dark", "grey", "light"))


def levels(labels, seed=0):
    rng = np.random.default_rng(seed)
    images = 60 + 60 * np.asarray(labels) + rng.normal(0, 8, len(labels))
    return cc.ImageSet(np.clip(images[:, None, None, None] + np.zeros((1, 8, 8, 3)), 0, 255).astype(np.uint8), labels)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_run_is_not_ruined_by_a_set_of_one_class(by_level, label):
    with pytest.raises(DataError, match="predicted as 1 of 3 classes"):
        by_level.adapt(levels([label] * 64))
    alone = adapt_batch_norm(by_level.model, levels([label] * 64), balance=False)
    mixed = levels(np.arange(60) % 3, seed=1)
    assert (np.asarray(alone(mixed.images)).argmax(1) == mixed.labels).mean() < 0.7 or label == 1, (
        "what the guard is for"
    )


@pytest.mark.parametrize("shares", [(1, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 8), (12, 2, 1)])
def test_a_mix_of_classes_is_no_shift(by_level, shares):
    labels = np.repeat(np.arange(3), np.asarray(shares) * 8)
    adapted = by_level.adapt(levels(labels), prior=0)
    norm = adapted.model.layers[2]
    np.testing.assert_allclose(norm.moving_mean, np.full(3, 120.0), atol=4)
    np.testing.assert_allclose(norm.moving_variance, np.full(3, 2400.0 + 64), rtol=0.1)
