"""KerasHub's image backbones by preset name, and DINOv2 from a checkpoint, for cellclf."""

from __future__ import annotations

from cellclf import BackboneSpec, hookimpl
from cellclf_kerashub import dinov2, preset

__all__ = ["DINOV2", "KERASHUB", "cellclf_backbones"]

PARTS = ("part1", "part2", "part3", "part4")

KERASHUB = BackboneSpec(
    name="kerashub",
    build=preset.build,
    summary="image backbones of KerasHub by preset: ResNet-D, EfficientNet, DenseNet, ViT, DINOv2, DINOv3, ...",
    source="the preset's model card, https://keras.io/keras_hub/presets/",
    min_size=32,
    grid_from=64,
    blocks=PARTS,
    weights=("preset",),
    params={"preset": "resnet_vd_50_imagenet"},
)

DINOV2 = BackboneSpec(
    name="dinov2",
    build=dinov2.build,
    summary="vision transformer for DINOv2 checkpoints, such as the cell foundation model DinoBloom",
    source="Oquab et al. 2023, arXiv 2304.07193; DinoBloom: Koch et al. 2024, arXiv 2404.05022",
    min_size=28,
    blocks=PARTS,
    weights=("*.pth", "*.pt", "*.safetensors"),
    params={"width": 384, "depth": 12, "patch": 14, "registers": 0, "swiglu": False},
)


@hookimpl
def cellclf_backbones() -> list[BackboneSpec]:
    """List the backbones of this package."""
    return [KERASHUB, DINOV2]
