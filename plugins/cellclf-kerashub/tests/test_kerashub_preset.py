"""A preset's network computes in the flat graph what it computes in KerasHub, from pixels 0-255."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import NETWORKS, OFFSET, SCALE, preset

from cellclf import Backbone, OptionError, WeightsError


def pixels(side: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def maps(name: str, side: int, weights: str | None = "preset") -> np.ndarray:
    network = Backbone("kerashub", weights=weights, params={"preset": preset(name)})
    return np.asarray(network.build((side, side, 3))(pixels(side)))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_are_those_of_kerashub(name: str) -> None:
    import keras
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(preset(name))
    scaled = pixels(32) * np.float32(SCALE) + np.float32(OFFSET)
    expected = np.asarray(backbone(keras.tree.map_structure(lambda _: scaled, backbone.input), training=False))
    if expected.ndim == 3:  # tokens: those of the 4x4 patches are the last
        expected = expected[:, -16:].reshape(2, 4, 4, -1)
    found = maps(name, 32)
    assert found.shape == expected.shape and np.abs(expected).max() > 0.01
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert not np.allclose(found, maps(name, 32, weights=None)), "random weights are others"


def test_position_embeddings_follow_the_size_of_the_images() -> None:
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(preset("dinov2"), image_shape=(64, 64, 3))
    scaled = pixels(64) * np.float32(SCALE) + np.float32(OFFSET)
    expected = np.asarray(backbone({"images": scaled}))[:, 1:].reshape(2, 8, 8, -1)
    found = maps("dinov2", 64)
    # KerasHub interpolates by TensorFlow's bicubic kernel, here it is PyTorch's, with which DINOv2 was made
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert maps("vit", 45).shape == (2, 6, 6, 16), "45 pixels become 6 patches of 8, not 5 and a strip cut off"


@pytest.mark.parametrize("name", ["vit", "dinov2_giant"])
def test_a_transformer_is_of_keras_alone(name: str) -> None:
    model = Backbone("kerashub", weights=None, params={"preset": preset(name)}).build((32, 32, 3))
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}


def test_a_network_without_one_feature_map_is_refused(tmp_path) -> None:
    import keras_hub

    size = {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    backbone = keras_hub.models.DeiTBackbone(intermediate_dim=16, **size)
    backbone.save_to_preset(str(tmp_path))
    keras_hub.layers.DeiTImageConverter(scale=1.0).save_to_preset(str(tmp_path))
    with pytest.raises(OptionError, match="DeiTBackbone returns no single feature map of an image: expected"):
        Backbone("kerashub", params={"preset": str(tmp_path)}).build((32, 32, 3))


def test_a_preset_that_is_not_there(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"preset '.*' cannot be loaded .*path of a preset's folder") as caught:
        Backbone("kerashub", params={"preset": str(tmp_path)}).build((64, 64, 3))
    assert "\n" not in str(caught.value)
