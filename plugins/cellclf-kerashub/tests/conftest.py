"""Presets of tiny networks, in folders as KerasHub writes them: nothing is fetched."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
from pathlib import Path

import numpy as np

FOLDER = tempfile.TemporaryDirectory(prefix="cellclf-kerashub-")
DINO = {"patch_size": 8, "num_layers": 4, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 8, 8, 8],
    "stackwise_num_blocks": [1, 1, 2, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}
NETWORKS = {
    "resnet": ("ResNet", RESNET),
    "resnet_d": (
        "ResNet",
        RESNET
        | {
            "input_conv_filters": [4, 4, 8],
            "input_conv_kernel_sizes": [3, 3, 3],
            "block_type": "basic_block_vd",
        },
    ),
    "densenet": ("DenseNet", {"stackwise_num_repeats": [2, 2, 2, 2], "compression_ratio": 0.5, "growth_rate": 4}),
    "efficientnet": (
        "EfficientNet",
        {
            "stackwise_width_coefficients": [1.0] * 5,
            "stackwise_depth_coefficients": [1.0] * 5,
            "stackwise_kernel_sizes": [3, 3, 5, 3, 3],
            "stackwise_num_repeats": [1, 1, 1, 1, 1],
            "stackwise_input_filters": [8, 8, 8, 8, 8],
            "stackwise_output_filters": [8, 8, 8, 8, 8],
            "stackwise_expansion_ratios": [1, 2, 2, 2, 2],
            "stackwise_strides": [1, 2, 2, 2, 2],
            "stackwise_squeeze_and_excite_ratios": [0.25] * 5,
            "stackwise_block_types": ["v1"] * 5,
            "stackwise_force_input_filters": [0] * 5,
            "stackwise_nores_option": [False] * 5,
            "activation": "swish",
            "batch_norm_momentum": 0.9,
            "batch_norm_epsilon": 1e-5,
        },
    ),
    "vit": (
        "ViT",
        {
            "image_shape": (32, 32, 3),
            "patch_size": 8,
            "num_layers": 5,
            "num_heads": 2,
            "hidden_dim": 16,
            "mlp_dim": 24,
        },
    ),
    "dinov2": (
        "DINOV2",
        DINO | {"image_shape": (32, 32, 3), "position_embedding_shape": (32, 32), "layer_scale_init_value": 0.5},
    ),
    "dinov2_giant": (
        "DINOV2",
        DINO
        | {
            "image_shape": (32, 32, 3),
            "position_embedding_shape": (32, 32),
            "num_register_tokens": 2,
            "use_swiglu_ffn": True,
        },
    ),
    "dinov3": ("DINOV3", DINO | {"image_shape": (32, 32, 3), "num_register_tokens": 2}),
}
SCALE, OFFSET = [0.01, 0.02, 0.03], [-1.0, -0.5, 0.25]


def preset(name: str) -> str:
    """Write the preset of a tiny network, with a scaling of its own, and return its folder."""
    folder = Path(FOLDER.name) / name
    if not folder.exists():
        import keras
        import keras_hub

        family, config = NETWORKS[name]
        keras.utils.set_random_seed(1)
        backbone = getattr(keras_hub.models, f"{family}Backbone")(**config)
        rng = np.random.default_rng(2)
        for weight in backbone.weights:  # otherwise biases are 0 and scales 1, and a swap of two would not show
            weight.assign(weight.numpy() + rng.uniform(0, 0.1, weight.shape))
        backbone.save_to_preset(str(folder))
        converter = getattr(keras_hub.layers, f"{family}ImageConverter")
        converter(image_size=(32, 32), scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return str(folder)
