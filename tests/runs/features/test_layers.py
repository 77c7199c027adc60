"""Pooled features of named layers, in several views, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.backbones.backbone import Backbone
from cellclf.data.image_set import ImageSet
from cellclf.errors import UnknownNameError
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.tta import VIEWS
from cellclf.training.head import Head


@pytest.fixture(scope="module")
def model():
    import keras

    base = Backbone("residual").build((32, 32, 3))
    return keras.Model(base.inputs[0], Head(units=(8,)).build(base.output, 3))


@pytest.fixture(scope="module")
def cells():
    return ImageSet(np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8))


def test_features_are_the_means_of_the_maps(model, cells):
    import keras

    reader = FeatureReader(model, layers=feature_layers(model))
    features, given = reader.read_views(cells)
    maps = keras.Model(model.inputs[0], [model.get_layer(name).output for name in reader.layers])
    expected = np.concatenate([np.mean(one, (1, 2)) for one in maps.predict_on_batch(cells.images)], 1)
    np.testing.assert_allclose(features[0], expected, atol=1e-5)
    np.testing.assert_allclose(given[0], model.predict_on_batch(cells.images), atol=1e-6)
    assert sum(reader.widths) == features.shape[-1]


def test_views_are_those_of_test_time_augmentation(model, cells):
    reader = FeatureReader(model, layers=feature_layers(model), batch_size=4)
    features, given = reader.read_views(cells, views=list(VIEWS))
    assert features.shape[:2] == (8, 11)
    assert given.shape == (8, 11, 3)
    flipped = ImageSet(np.ascontiguousarray(cells.images[:, :, ::-1]))
    np.testing.assert_allclose(features[list(VIEWS).index("flip")], reader.read_views(flipped)[0][0], atol=1e-5)


def test_batches_and_rows_change_nothing(model, cells):
    whole = FeatureReader(model, layers=feature_layers(model)).read_views(cells)[0]
    np.testing.assert_allclose(
        FeatureReader(model, layers=feature_layers(model), batch_size=2).read_views(cells)[0], whole, atol=1e-5
    )
    rows = np.asarray([7, 2, 2])
    np.testing.assert_allclose(
        FeatureReader(model, layers=feature_layers(model)).read_views(cells, rows)[0], whole[:, rows], atol=1e-5
    )


def test_no_cells_give_empty_arrays(model, cells):
    features, given = FeatureReader(model, layers=feature_layers(model)).read_views(
        cells, np.empty(0, np.int64), views=["as_is", "flip"]
    )
    assert features.shape[:2] == (2, 0)
    assert given.shape == (2, 0, 3)


def test_the_coarsest_maps_are_named_from_the_input_on(model):
    assert feature_layers(model, 2) == ("block2_out", "block3_out")
    assert feature_layers(model, 99)[-1] == "block3_out"


def test_a_network_without_maps_gives_what_its_last_layer_reads():
    import keras

    x = keras.Input((4, 4, 3))
    y = keras.layers.Dense(5, name="row")(keras.layers.Flatten()(x))
    model = keras.Model(x, keras.layers.Dense(2, activation="softmax")(y))
    reader = FeatureReader(model, layers=["row"])
    assert reader.read_views(ImageSet(np.zeros((3, 4, 4, 3), np.uint8)))[0].shape == (1, 3, 5)


def test_a_layer_that_the_network_lacks_is_refused(model):
    with pytest.raises(UnknownNameError):
        FeatureReader(model, layers=["none"])


def test_gates_of_one_pixel_are_no_maps():
    import keras

    x = pixels = keras.Input((16, 16, 3))
    for k in (1, 2):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"map{k}")(x)
        gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = keras.layers.Multiply(name=f"scaled{k}")([x, keras.layers.Conv2D(4, 1, name=f"gate{k}")(gate)])
    answer = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    assert feature_layers(keras.Model(pixels, answer), 3) == ("scaled1", "scaled2")
