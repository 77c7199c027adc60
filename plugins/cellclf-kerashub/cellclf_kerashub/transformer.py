"""A vision transformer in layers of Keras alone: its runs load without KerasHub, and it can be cut after each block.

Patches are projected by one dense layer whose bias differs by position: the bias holds the position embeddings and, for
the tokens in front of the patches, the class and register tokens. Layer scales are multiplied into the weights
before them. So ViT and DINOv2 are the same graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellclf import OptionError

PARTS = 4


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The factor and the offset of pixels 0-255, one number or one for each channel."""

    scale: Any
    offset: Any


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of a transformer; ``hidden`` is the width within its MLP, ``prefix`` the tokens before the patches.

    These are the class token and the registers, in this order; without a prefix there is no class token.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    patch: int
    prefix: int = 1
    swiglu: bool = False
    epsilon: float = 1e-6

    def grid(self, input_shape: tuple[int, int, int]) -> tuple[int, int]:
        """Return the height and width of images of that shape in patches."""
        height, width = (max(1, round(side / self.patch)) for side in input_shape[:2])
        return height, width


def build(input_shape: tuple[int, int, int], plan: Plan, scaling: Scaling, *, name: str) -> Any:
    """Build it with random weights.

    Args:
        input_shape: (height, width, 3), pixels; images that are no multiple of a patch are resized to the nearest one.
        plan: Its sizes.
        scaling: How its pixels are scaled.
        name: Of the model.

    Returns:
        A keras.Model; pixels 0-255 -> (N, height / patch, width / patch, width of the plan).

    Raises:
        OptionError: Fewer than four blocks, or a width that heads do not divide.
    """
    import keras
    from keras import layers

    if plan.depth < PARTS or plan.heads < 1 or plan.width % plan.heads:
        raise OptionError(
            f"a transformer of width {plan.width}, depth {plan.depth} and {plan.heads} heads: expected at least "
            f"{PARTS} blocks, and a width that is a multiple of the heads (64 each in DINOv2)"
        )
    small = keras.initializers.TruncatedNormal(stddev=0.02)
    pixels = keras.Input(input_shape, name="pixels")
    x = _patches(pixels, plan, scaling)
    x = layers.ZeroPadding1D((plan.prefix, 0), name="prefix")(x)
    x = layers.EinsumDense(
        "btp,pd->btd",
        output_shape=(x.shape[1], plan.width),
        bias_axes="td",
        kernel_initializer=small,
        bias_initializer=small.clone(),
        name="tokens",
    )(x)
    ends = part_ends(plan.depth)
    for number in range(plan.depth):
        x = _block(x, f"block{number}", plan, end=ends.get(number, f"block{number}_add"))
    x = layers.LayerNormalization(epsilon=plan.epsilon, name="norm")(x)
    return keras.Model(pixels, as_map(x, plan.prefix, plan.grid(input_shape)), name=name)


def part_ends(depth: int) -> dict[int, str]:
    """Name the blocks in which the parts before the last end: after a quarter, a half, three quarters of them."""
    return {round(depth * part / PARTS) - 1: f"part{part}" for part in range(1, PARTS)}


def as_map(x: Any, prefix: int, grid: tuple[int, int]) -> Any:
    """Remove the tokens in front and reshape the others to a map, the end of the last part."""
    from keras import layers

    if prefix:
        x = layers.Cropping1D((prefix, 0), name="patch_tokens")(x)
    return layers.Reshape((*grid, x.shape[-1]), name=f"part{PARTS}")(x)


def scaled(pixels: Any, grid: tuple[int, int], patch: int, scaling: Scaling) -> Any:
    """Resize pixels to whole patches and scale their values."""
    from keras import layers

    size = (grid[0] * patch, grid[1] * patch)
    if tuple(pixels.shape[1:3]) != size:
        pixels = layers.Resizing(*size, interpolation="bilinear", data_format="channels_last", name="resize")(pixels)
    return layers.Rescaling(scaling.scale, scaling.offset, name="rescale")(pixels)


def _patches(pixels: Any, plan: Plan, scaling: Scaling) -> Any:
    from keras import layers

    (high, wide), patch = plan.grid(pixels.shape[1:]), plan.patch
    x = scaled(pixels, (high, wide), patch, scaling)
    x = layers.Reshape((high, patch, wide, patch, 3), name="split")(x)
    x = layers.Permute((1, 3, 2, 4, 5), name="gather")(x)
    return layers.Reshape((high * wide, patch * patch * 3), name="patches")(x)


def _block(x: Any, name: str, plan: Plan, *, end: str) -> Any:
    from keras import layers

    y = layers.LayerNormalization(epsilon=plan.epsilon, name=f"{name}_norm1")(x)
    y = layers.MultiHeadAttention(plan.heads, plan.width // plan.heads, name=f"{name}_attention")(y, y)
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(epsilon=plan.epsilon, name=f"{name}_norm2")(x)
    if plan.swiglu:
        gate = layers.Dense(plan.hidden, activation="silu", name=f"{name}_gate")(y)
        y = layers.Dense(plan.hidden, name=f"{name}_dense1")(y)
        y = layers.Multiply(name=f"{name}_gated")([gate, y])
    else:
        y = layers.Dense(plan.hidden, activation="gelu", name=f"{name}_dense1")(y)
    y = layers.Dense(plan.width, name=f"{name}_dense2")(y)
    return layers.Add(name=end)([x, y])


def fill(model: Any, arrays: Mapping[str, list[Any]]) -> None:
    """Set the weights of every layer that has some; ``arrays`` must name all of these."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(arrays[layer.name])


def tokens(kernel: Any, bias: Any, prefix: Any, positions: Any, grid: tuple[int, int]) -> list[Any]:
    """Merge projection, positions and prefix tokens into the weights of the layer ``tokens``.

    Args:
        kernel: (patch, patch, 3, width), of the projection.
        bias: (width,), of the projection.
        prefix: (P, width), the class token and the registers, with their position embeddings added.
        positions: (n * n, width), of a square of patches.
        grid: Patches high and wide; positions are interpolated to it.

    Returns:
        Kernel and bias.
    """
    side = math.isqrt(len(positions))
    square = positions.reshape(side, side, -1)
    high, wide = (_bicubic(side, length) for length in grid)
    spread = np.einsum("hi,wj,ijd->hwd", high, wide, square).reshape(grid[0] * grid[1], -1)
    return [kernel.reshape(-1, kernel.shape[-1]), np.concatenate([prefix, spread + bias]).astype(np.float32)]


def _bicubic(old: int, new: int) -> Any:
    """Return the (new, old) matrix of a bicubic resizing as PyTorch does it: half pixels, a = -0.75, edges repeated."""
    if old == new:
        return np.eye(old)
    place = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for step in range(-1, 3):
        index = np.floor(place).astype(int) + step
        away = np.abs(place - index)
        near = 1.25 * away**3 - 2.25 * away**2 + 1
        far = -0.75 * (away**3 - 5 * away**2 + 8 * away - 4)
        np.add.at(matrix, (np.arange(new), index.clip(0, old - 1)), np.where(away <= 1, near, far))
    return matrix


def rebuilt(backbone: Any, input_shape: tuple[int, int, int], scaling: Scaling) -> Any:
    """Build the graph of KerasHub's ViT or DINOv2 with its weights; positions are interpolated.

    Raises:
        OptionError: It lacks biases or its class token.
    """
    dino = hasattr(backbone, "num_register_tokens")
    patch = backbone.patch_size if isinstance(backbone.patch_size, int) else backbone.patch_size[0]
    hidden = backbone.intermediate_dim if dino else backbone.mlp_dim
    swiglu = dino and backbone.use_swiglu_ffn
    plan = Plan(
        width=backbone.hidden_dim,
        depth=backbone.num_layers,
        heads=backbone.num_heads,
        hidden=backbone.encoder.layers[0].mlp.actual_intermediate_dim if swiglu else hidden,
        patch=patch,
        prefix=1 + backbone.num_register_tokens if dino else 1,
        swiglu=swiglu,
        epsilon=1e-6 if dino else backbone.layer_norm_epsilon,
    )
    if not dino and not (backbone.use_mha_bias and backbone.use_mlp_bias and backbone.use_class_token):
        raise OptionError("the ViT of KerasHub lacks biases or its class token; expected a ViT with both")
    model = build(input_shape, plan, scaling, name="kerashub")
    read = _dinov2_arrays if dino else _vit_arrays
    fill(model, read(backbone, plan.grid(input_shape)))
    return model


def _vit_arrays(backbone: Any, grid: tuple[int, int]) -> dict[str, list[Any]]:
    embedding = backbone.get_layer("vit_patching_and_embedding")
    encoder = backbone.get_layer("vit_encoder")
    kernel, *bias = embedding.patch_embedding.get_weights()
    positions = embedding.position_embedding.get_weights()[0]
    first = embedding.class_token.numpy()[0] + positions[:1]
    arrays = {
        "tokens": tokens(kernel, bias[0] if bias else 0.0, first, positions[1:], grid),
        "norm": encoder.layer_norm.get_weights(),
    }
    for number, block in enumerate(encoder.encoder_layers):
        arrays |= {
            f"block{number}_norm1": block.layer_norm_1.get_weights(),
            f"block{number}_attention": block.mha.get_weights(),
            f"block{number}_norm2": block.layer_norm_2.get_weights(),
            f"block{number}_dense1": block.mlp.dense_1.get_weights(),
            f"block{number}_dense2": block.mlp.dense_2.get_weights(),
        }
    return arrays


def _dinov2_arrays(backbone: Any, grid: tuple[int, int]) -> dict[str, list[Any]]:
    embedding = backbone.embeddings
    positions = embedding.position_embeddings.numpy()[0]
    first = [embedding.cls_token.numpy()[0] + positions[:1]]
    first += [embedding.register_tokens.numpy()[0]] if backbone.num_register_tokens else []
    kernel, bias = embedding.patch_embeddings.projection.get_weights()
    arrays = {
        "tokens": tokens(kernel, bias, np.concatenate(first), positions[1:], grid),
        "norm": backbone.layernorm.get_weights(),
    }
    for number, block in enumerate(backbone.encoder.layers):
        name, mlp = f"block{number}", block.mlp
        one, two = (scale.lambda1.numpy() for scale in (block.layer_scale1, block.layer_scale2))
        *inner, kernel, bias = block.attention.attention.get_weights()
        arrays |= {
            f"{name}_norm1": block.norm1.get_weights(),
            f"{name}_attention": [*inner, kernel * one, bias * one],
            f"{name}_norm2": block.norm2.get_weights(),
        }
        if backbone.use_swiglu_ffn:
            halves = [np.split(part, 2, axis=-1) for part in mlp.weights_in.get_weights()]
            arrays[f"{name}_gate"], arrays[f"{name}_dense1"] = map(list, zip(*halves, strict=True))
        else:
            arrays[f"{name}_dense1"] = mlp.fc1.get_weights()
        last = mlp.weights_out if backbone.use_swiglu_ffn else mlp.fc2
        arrays[f"{name}_dense2"] = [part * two for part in last.get_weights()]
    return arrays
