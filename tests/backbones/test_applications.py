"""The networks of keras.applications: our graph from pixels gives what Keras's own preprocessing and network give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cellclf.backbones.applications import SPECS
from cellclf.backbones.backbone import Backbone
from cellclf.backbones.blocks import block_layers

BIG = pytest.mark.slow
NETS = {
    "mobilenet": ("mobilenet", "MobileNet"),
    "resnet50": ("resnet50", "ResNet50"),
    "inceptionv3": ("inception_v3", "InceptionV3"),
    "xception": ("xception", "Xception"),
    "inceptionresnetv2": ("inception_resnet_v2", "InceptionResNetV2"),
    "efficientnetv2b0": ("efficientnet_v2", "EfficientNetV2B0"),
    "convnexttiny": ("convnext", "ConvNeXtTiny"),
}
PARAMS = [pytest.param(name, marks=[] if name == "mobilenet" else BIG) for name in NETS]


def test_all_are_here() -> None:
    assert [spec.name for spec in SPECS] == [
        "resnet50",
        "inceptionv3",
        "xception",
        "inceptionresnetv2",
        "mobilenet",
        "efficientnetv2b0",
        "convnexttiny",
    ]


@pytest.mark.parametrize("name", PARAMS)
def test_our_graph_is_keras_s_preprocessing_and_network(name: str, tmp_path: Path) -> None:
    module, function = NETS[name]
    side = Backbone(name).spec.min_size
    shape = (side, side, 3)
    plain: Any = getattr(keras.applications, function)(include_top=False, weights=None, input_shape=shape)
    path = tmp_path / "plain.weights.h5"
    plain.save_weights(path)
    backbone = Backbone(name, weights=path)
    model = backbone.build(shape)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    preprocess = getattr(keras.applications, module).preprocess_input
    expected = plain.predict(preprocess(pixels.astype(np.float32)), verbose=0)
    assert np.abs(expected).max() > 0
    assert np.allclose(model.predict(pixels, verbose=0), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    parts = block_layers(model, backbone.spec.blocks)
    assert sum(map(len, parts)) == len(model.layers)
    assert all(any(layer.weights for layer in part) for part in parts)


@pytest.mark.parametrize("name", PARAMS)
def test_the_smallest_size_with_a_grid_is_what_the_spec_says(name: str) -> None:
    spec = Backbone(name).spec
    model = Backbone(name, weights=None).build((160, 160, 3))
    anysize = getattr(keras.applications, NETS[name][1])(include_top=False, weights=None, input_shape=(None, None, 3))

    def grid(side: int) -> int:
        return int(anysize.compute_output_shape((None, side, side, 3))[1])

    assert model.output_shape[1] == grid(160) > 1
    first = next(side for side in range(spec.min_size, 200) if grid(side) > 1)
    assert first == (spec.grid_from or spec.min_size)
