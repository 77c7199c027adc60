"""An adapted network says what the arrays say: kept, loaded, zoomed, adapted again."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.data.image_set import ImageSet
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.training.adapt.candidates import Head
from cellclf.training.adapt.graph import build_model
from cellclf.training.adapt.mixture import Gate, Mixture, mix


def network(classes=4, flat=False):
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((24, 24, 3), name="pixels")
    y = keras.layers.Rescaling(1 / 127.5, -1, name="rescale")(x)
    y = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="one")(y)
    y = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="two")(y)
    y = keras.layers.GlobalAveragePooling2D(name="head_pool")(y)
    return keras.Model(x, keras.layers.Dense(classes, activation="softmax", name="probabilities")(y), name="classifier")


def images(n=9, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 24, 24, 3), np.uint8)


def mixture(columns, labelled, width, *, pull=0.3, gate=False, seed=1):
    rng = np.random.default_rng(seed)
    columns, labelled = np.asarray(columns), np.asarray(labelled, np.int64)
    head = Head(
        labelled, columns[labelled], 9 * rng.normal(size=(width, len(labelled))), rng.normal(size=len(labelled)), pull
    )
    seen = rng.dirichlet(np.ones(8), 6)
    return mix(head, columns, seen, Gate(9 * rng.normal(size=width), 0.2) if gate else None)


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("pull", [0.0, 0.3])
@pytest.mark.parametrize(
    ("columns", "labelled"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),  # all classes labelled
        ([0, 1, 2, 3], [1, 3]),  # some have no label
        ([0, 2, 3], [0, 2]),  # one cannot occur, one has no label
        ([0, 1, 2, 3, -1], [0, 4]),  # a new class
        ([2, -1, 0, -1], [0, 1, 2, 3]),  # another order, two new classes
    ],
)
def test_the_network_says_what_the_arrays_say(columns, labelled, pull, gate, tmp_path):
    import keras

    model = network()
    reader = FeatureReader(model, layers=feature_layers(model))
    features, given = reader.read_views(ImageSet(images()))
    made = mixture(columns, labelled, features.shape[-1], pull=pull, gate=gate)
    built = build_model(model, reader.layers, made)
    expected = made.probabilities(features[0], given[0])
    found = built.predict_on_batch(images())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    built.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(images()), found, atol=1e-6)
    assert built.layers[-1].name == "probabilities"
    np.testing.assert_allclose(model.predict_on_batch(images()), given[0], atol=1e-6)  # the run is as it was


@pytest.mark.parametrize("zoom", [0.75, 1.5])
def test_a_zoomed_network_reads_what_the_zoomed_reader_read(zoom):
    from cellclf.backbones.graph import zoomed

    model = network()
    reader = FeatureReader(zoomed(model, zoom), layers=feature_layers(model))
    features, given = reader.read_views(ImageSet(images()))
    made = mixture([0, 1, 2, 3], [0, 1, 2], features.shape[-1])
    found = build_model(model, reader.layers, made, zoom=zoom).predict_on_batch(images())
    np.testing.assert_allclose(found, made.probabilities(features[0], given[0]), atol=1e-5)


def test_without_labels_only_the_classes_are_restricted():
    model = network()
    none = np.empty(0, np.int64)
    made = Mixture(Head(none, none, np.zeros((14, 0)), np.zeros(0), 0.0), np.asarray([3, 1]), none, np.zeros(2))
    given = model.predict_on_batch(images())[:, [3, 1]]
    found = build_model(model, ("one", "two"), made).predict_on_batch(images())
    np.testing.assert_allclose(found, given / given.sum(1, keepdims=True), atol=1e-6)


def test_an_adapted_network_can_be_adapted_again():
    model = network()
    layers = ("one", "two")
    features, given = FeatureReader(model, layers=layers).read_views(ImageSet(images()))
    first = build_model(model, layers, mixture([0, 1, 2, 3], [0, 1], features.shape[-1], gate=True), zoom=1.5)
    features, given = FeatureReader(first, layers=layers).read_views(ImageSet(images()))
    made = mixture([0, 1, 2, 3], [1, 2, 3], features.shape[-1], gate=True, seed=3)
    second = build_model(first, layers, made, zoom=1.0)
    np.testing.assert_allclose(second.predict_on_batch(images()), made.probabilities(features[0], given[0]), atol=1e-5)
