"""Each size keeps the contract of a backbone, and is the network of the paper."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from cellclf_efficientnet_lite import SPECS
from cellclf_efficientnet_lite.sizes import SIZES, Size

from cellclf import Backbone
from cellclf.testing import parametrize_backbone


def needs(size: Size):
    """Skip where the weights are not installed: the checks of a network that nobody there can start from take time."""
    absent = importlib.util.find_spec(size.package) is None
    return pytest.mark.skipif(absent, reason=f"the package {size.package} is not installed")


@parametrize_backbone("efficientnetlite0")
def test_efficientnetlite0(check):
    check()


@needs(SIZES[1])
@parametrize_backbone("efficientnetlite1")
def test_efficientnetlite1(check):
    check()


@needs(SIZES[2])
@parametrize_backbone("efficientnetlite2")
def test_efficientnetlite2(check):
    check()


# millions of weights with the classifier, as Google's page on the Lite variants states them
PUBLISHED = {"efficientnetlite1": 5.4, "efficientnetlite2": 6.1}


@pytest.mark.parametrize("spec", SPECS[1:], ids=lambda spec: spec.name)
def test_the_larger_sizes_have_the_published_number_of_weights(spec) -> None:
    model = Backbone(spec.name, weights=None).build((33, 33, 3))
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert round((trained + 1281 * 1000) / 1e6, 1) == pytest.approx(PUBLISHED[spec.name])
    assert f" {model.count_params() / 1e6:.1f} M weights" in spec.summary
    assert model.output_shape == (None, 2, 2, 1280)
