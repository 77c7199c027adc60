from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import pytest

from cellclf.backbones.backbone import Backbone
from cellclf.errors import OptionError


def kinds(model: Any) -> Counter[str]:
    return Counter(type(layer).__name__ for layer in model.layers)


def test_sequential_is_five_blocks_with_glorot_normal_and_l2() -> None:
    model = Backbone("sequential", params={"l2": 0.01}).build((96, 96, 3))
    counts = kinds(model)
    assert (counts["Conv2D"], counts["ReLU"], counts["MaxPooling2D"]) == (5, 5, 5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert isinstance(layer.kernel_initializer, keras.initializers.GlorotNormal)
            assert layer.kernel_regularizer.l2 == pytest.approx(0.01)
    assert model.output_shape == (None, 3, 3, 256)
    head = Backbone("sequential").spec.head
    assert head is not None and head["units"] == [512, 256, 128, 64, 32] and head["l2"] > 0


def test_residual_is_three_blocks_from_32_to_128() -> None:
    model = Backbone("residual").build((96, 96, 3))
    assert kinds(model)["Add"] == 3 and model.output_shape == (None, 12, 12, 128)
    head = Backbone("residual").spec.head
    assert head is not None and head["dropout"] > 0


def test_inception_is_four_blocks_of_parallel_kernels() -> None:
    model = Backbone("inception").build((96, 96, 3))
    assert kinds(model)["Concatenate"] == 4 and model.output_shape == (None, 3, 3, 256)
    sides = {layer.kernel_size[0] for layer in model.layers if layer.name.startswith("block1_conv")}
    assert sides == {1, 3, 5}
    head = Backbone("inception").spec.head
    assert head is not None and list(head["units"]) == sorted(head["units"], reverse=True)
    other = Backbone("inception", params={"kernels": [3, 7]}).build((32, 32, 3))
    assert other.output_shape == (None, 1, 1, 192)


@pytest.mark.parametrize("name", ["sequential", "residual", "inception"])
def test_without_l2_no_kernel_is_punished(name: str) -> None:
    assert Backbone(name, params={"l2": 0.0}).build((32, 32, 3)).losses == []
    assert len(Backbone(name).build((32, 32, 3)).losses) > 0


@pytest.mark.parametrize("name", ["sequential", "residual", "inception"])
@pytest.mark.parametrize("filters", [[4], [0, 4, 4, 4, 4], [4.0] * 5, ["4"] * 4, [True] * 3])
def test_filters_are_one_number_a_block(name: str, filters: list[Any]) -> None:
    with pytest.raises(OptionError, match=rf"backbone {name!r} filters.*; expected a (list of \d|whole number)"):
        Backbone(name, params={"filters": filters}).build((32, 32, 3))


@pytest.mark.parametrize("kernels", [[], [3, 3], [0], ["3"]])
def test_kernels_are_different_sides(kernels: list[Any]) -> None:
    with pytest.raises(OptionError, match=r"different sides|expected a whole number from 1 to 31"):
        Backbone("inception", params={"kernels": kernels}).build((32, 32, 3))
