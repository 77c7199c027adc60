"""A backbone of KerasHub, by the name or the folder of its preset."""

from __future__ import annotations

from typing import Any

from cellclf import WeightsError
from cellclf_kerashub import convolutional, rotary, transformer
from cellclf_kerashub.transformer import Scaling


def build(input_shape: tuple[int, int, int], *, weights: str | None, preset: str) -> Any:
    """Build the network of a preset as one flat graph, with the preset's own scaling of the pixels in it.

    Args:
        input_shape: (height, width, 3), pixels.
        weights: ``"preset"`` for the preset's weights, or None for random ones.
        preset: ``"resnet_vd_50_imagenet"``, ``"hf://..."``, ``"kaggle://..."``, or a folder that ``save_to_preset``
            wrote.

    Returns:
        A keras.Model; pixels 0-255 -> a rank-4 feature map. The class and register tokens of transformers are dropped.

    Raises:
        WeightsError: The preset cannot be loaded, or is not of an image backbone.
        OptionError: The network returns no feature map, or cannot be cut into four parts.
    """
    import keras_hub

    try:
        backbone = keras_hub.models.Backbone.from_preset(preset, load_weights=weights is not None)
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    # kagglehub, huggingface_hub, json, h5py and KerasHub each raise their own errors
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"the KerasHub preset {preset!r} cannot be loaded ({reason}); expected the name of an image backbone's "
            "preset (https://keras.io/keras_hub/presets/), or the path of a preset's folder"
        ) from error
    models = keras_hub.models
    scaling = Scaling(
        scale=1.0 if converter.scale is None else converter.scale,
        offset=0.0 if converter.offset is None else converter.offset,
    )
    if isinstance(backbone, models.ViTBackbone | models.DINOV2Backbone):
        return transformer.rebuilt(backbone, input_shape, scaling)
    if isinstance(backbone, models.DINOV3Backbone):
        return rotary.rebuilt(backbone, input_shape, scaling)
    return convolutional.rebuilt(backbone, input_shape, scaling)
