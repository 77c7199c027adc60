"""`Augmenter.map`: the same images as the plain call, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.augmentation.augmenter import Augmenter
from cellclf.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 12, 16, 3), dtype=np.uint8)
LABELS = np.arange(70) % 8
REPORT = Augmenter.preset("report", seed=7)


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def expected():
    return [REPORT(IMAGES, epoch=epoch) for epoch in range(2)]


def collect(dataset):
    pairs = [(np.asarray(x).reshape(-1, 12, 16, 3), np.atleast_1d(y)) for x, y in dataset]
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


@pytest.mark.parametrize("batch", [None, 9, 64])
def test_counted_images_and_epochs(tf, expected, batch):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    dataset = dataset.batch(batch) if batch else dataset
    mapped = REPORT.map(dataset)
    assert mapped.element_spec == dataset.element_spec
    assert int(mapped.cardinality()) == int(dataset.cardinality()), "fit warns where it is unknown"
    for epoch in range(2):
        images, labels = collect(mapped)
        np.testing.assert_array_equal(images, expected[epoch])
        np.testing.assert_array_equal(labels, LABELS)


def test_static_shapes_stay(tf):
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(10, drop_remainder=True)
    assert REPORT.map(dataset).element_spec == tf.TensorSpec((10, 12, 16, 3), tf.uint8)


@pytest.mark.parametrize("as_text", [True, False])
def test_ids_survive_shuffling(tf, expected, as_text):
    ids = np.arange(70).astype(str) if as_text else np.arange(70)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(70), ids))
    mapped = REPORT.map(dataset.shuffle(70, seed=3).batch(16), has_ids=True, epoch=1)
    images, rows = collect(mapped)
    assert (rows != np.arange(70)).any()
    np.testing.assert_array_equal(images, expected[1][rows])


def test_floats_stay_floats(tf, expected):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES.astype(np.float32), LABELS)).batch(32)
    images, _ = collect(REPORT.map(dataset))
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, expected[0])


def test_weights_pass_through(tf):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, LABELS / 8)).batch(32)
    _, labels, weights = next(iter(REPORT.map(dataset)))
    np.testing.assert_array_equal(np.asarray(weights), np.asarray(labels) / 8)


def test_no_steps_change_nothing(tf):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(32)
    images, _ = collect(Augmenter([]).map(dataset))
    np.testing.assert_array_equal(images, IMAGES)


def test_elements_of_another_form_are_refused(tf):
    with pytest.raises(DataError, match="expected images or"):
        REPORT.map(tf.data.Dataset.from_tensor_slices(IMAGES[..., 0]))
    with pytest.raises(DataError, match="last member"):
        REPORT.map(tf.data.Dataset.from_tensor_slices(IMAGES), has_ids=True)


def test_an_augmenter_inside_of_a_map_names_its_own_map(tf):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16)
    fix = r"OptionError: .* expected augmenter.map\(dataset\) in place of dataset.map"
    with pytest.raises(Exception, match=fix):  # TensorFlow raises an error of its own that quotes it
        dataset.map(lambda images, labels: (REPORT(images), labels))
    eager, _ = next(iter(dataset))
    np.testing.assert_array_equal(REPORT(eager), REPORT(IMAGES[:16]))


@pytest.mark.parametrize("given", [None, [1], IMAGES, range(3)])
def test_what_is_no_data_set_is_refused_also_without_tensorflow(given):
    with pytest.raises(DataError, match=f"got {type(given).__name__}; expected a tf.data.Dataset of images"):
        REPORT.map(given)
