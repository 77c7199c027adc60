"""Every image of the training set is in a batch of every epoch, however their number and the batch size divide."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.augmentation.mixing import Mix
from cellclf.errors import OptionError
from cellclf.runs.features.cache import Cache, Features
from cellclf.training.batches import Batches, check_accumulate
from cellclf.training.epoch_steps import AfterBatch, build_metrics, fit_epoch, make_fit_groups


def numbered(count):
    """Give images whose grey level is their place."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3)).copy()
    return cc.ImageSet(images, np.arange(count) % 2, class_names=["a", "b"])


def made(count, size, **more):
    return Batches(numbered(count), None, size, np.ones(count, np.float32), seed=1, **more)


CASES = [
    (127, 64, [64, 63]),
    (129, 64, [64, 64, 1]),
    (128, 64, [64, 64]),
    (3, 64, [3]),
    (1, 64, [1]),
    (10, 3, [3, 3, 3, 1]),
    (7, 1, [1] * 7),
    (64, 64, [64]),
    (65, 64, [64, 1]),
    (20, 7, [7, 7, 6]),
]


@pytest.mark.parametrize(("count", "size", "expected"), CASES)
def test_every_image_is_in_one_batch(count, size, expected):
    batches = made(count, size)
    assert batches.steps == len(expected) == -(-count // size)
    for epoch in range(2):
        found = list(batches._batches(epoch))
        assert [len(images) for images, _, _ in found] == expected
        levels = np.concatenate([images[:, 0, 0, 0] for images, _, _ in found])
        assert sorted(levels.tolist()) == list(range(count))
        for images, targets, weights in found:
            assert len(images) == len(targets) == len(weights)
            np.testing.assert_array_equal(targets.argmax(1), images[:, 0, 0, 0] % 2)


@pytest.mark.parametrize(("count", "size", "expected"), CASES)
@pytest.mark.parametrize("group_size", [None, 1, 2])
def test_cached_features_come_in_the_same_batches(count, size, expected, group_size, tmp_path):
    features = np.arange(count, dtype=np.float32)[:, None]
    cache = Cache(tmp_path / "features.npy", features.shape, features.dtype, lambda: iter([features]), 10**6)
    batches = made(count, size, features=Features(cache, 0, count))
    whole = list(batches.groups(3, 0, group_size))
    single = [part for features, _, _ in whole for part in features]
    assert [len(part) for part in single] == expected
    images = [images[:, 0, 0, 0] for images, _, _ in made(count, size)._batches(3)]
    for one, other in zip(single, images, strict=True):
        np.testing.assert_array_equal(one[:, 0], other)
    for start in range(len(expected)):
        rest = [part for features, _, _ in batches.groups(3, start, group_size) for part in features]
        assert [len(part) for part in rest] == expected[start:]
        np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(single[start:]))
    cache.close()


@pytest.mark.parametrize(
    ("count", "size", "devices", "expected"),
    [(9, 4, 2, [4, 5]), (10, 4, 2, [4, 4, 2]), (11, 4, 2, [4, 4, 3]), (17, 8, 4, [8, 9]), (20, 8, 4, [8, 8, 4])],
)
def test_no_device_is_left_without_an_image(count, size, devices, expected):
    batches = made(count, size, devices=devices)
    assert [len(images) for images, _, _ in batches._batches(0)] == expected and batches.steps == len(expected)


@pytest.mark.tensorflow("on other backends a batch is arrays, whose size is seen when it is there")
def test_a_size_that_divides_is_compiled_as_it_was():
    assert made(12, 4).epoch(0).element_spec[0].shape == (4, 4, 4, 3)
    assert made(13, 4).epoch(0).element_spec[0].shape == (None, 4, 4, 3)
    assert made(3, 4).epoch(0).element_spec[0].shape == (3, 4, 4, 3)


@pytest.mark.parametrize("mix", [Mix(kind="mixup"), Mix(kind="cutmix")])
def test_a_smaller_batch_is_mixed_within_itself(mix):
    last = list(made(9, 4, mix=mix)._batches(0))[-1]
    assert [len(part) for part in last] == [1, 1, 1] and last[1].sum() == pytest.approx(1)


def linear():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 32)(inputs))
    start = keras.initializers.GlorotUniform(3)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_initializer=start)(x))
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    build_metrics(model)
    return model


def hook():
    return AfterBatch(0, lambda done: None, lambda done: None, lambda: False)


@pytest.mark.parametrize("count", [13, 12, 9])
def test_an_epoch_is_that_of_keras(count, tmp_path):
    order = [images[:, 0, 0, 0] for images, _, _ in made(count, 4)._batches(0)]
    rows = np.concatenate(order).astype(int)
    images, labels = numbered(count).images[rows], np.eye(2, dtype=np.float32)[rows % 2]
    theirs = linear()
    found = theirs.fit(images, labels, batch_size=4, epochs=1, shuffle=False, verbose=0).history
    ours = linear()
    fit_epoch(ours, made(count, 4).epoch(0), hook(), [])
    cached = linear()
    features = numbered(count).images.astype(np.float32)
    cache = Cache(tmp_path / "features.npy", features.shape, features.dtype, lambda: iter([features]), 10**6)
    make_fit_groups(cached)(made(count, 4, features=Features(cache, 0, count)).groups(0), hook(), [])
    cache.close()
    for model in (ours, cached):
        for one, other in zip(theirs.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        scores = model.get_metrics_result()
        assert float(scores["loss"]) == pytest.approx(found["loss"][0], rel=1e-5)
        assert float(scores["accuracy"]) == pytest.approx(found["accuracy"][0])


@pytest.mark.parametrize(("accumulate", "images", "size"), [(3, 127, 64), (2, 64, 64), (9, 8, 1), (1000, 127, 64)])
def test_a_step_of_more_batches_than_an_epoch_has_is_refused(accumulate, images, size, small_trainer):
    steps = made(images, size).steps
    check_accumulate(steps, steps)
    with pytest.raises(OptionError, match=f"accumulate={accumulate} .*an epoch has {steps}"):
        check_accumulate(accumulate, steps)
    with pytest.raises(OptionError, match=f"accumulate={accumulate}"):
        small_trainer(accumulate=accumulate, batch_size=size, image_size=32).check(numbered(images), numbered(images))
