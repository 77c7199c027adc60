"""DINOv3: KerasHub's own blocks with rotary position embeddings, in a flat graph."""

from __future__ import annotations

from typing import Any

from cellclf import OptionError
from cellclf_kerashub.transformer import PARTS, Plan, Scaling, as_map, part_ends, scaled


def rebuilt(backbone: Any, input_shape: tuple[int, int, int], scaling: Scaling) -> Any:
    """Build KerasHub's DINOv3, with its weights, as one graph that can be cut after each part.

    The angles depend only on the number of patches. Each part computes them from its own tokens, not from the pixels,
    so that no path bypasses the end of the part before.

    Args:
        backbone: A ``keras_hub.models.DINOV3Backbone``; its layers move into the new graph.
        input_shape: (height, width, 3), pixels.
        scaling: How its pixels are scaled.

    Raises:
        OptionError: It has fewer than four blocks, or the images are not square.
    """
    import keras
    from keras import layers

    if backbone.num_layers < PARTS:
        raise OptionError(f"a DINOv3 of {backbone.num_layers} blocks: expected at least {PARTS}, one for each part")
    prefix = 1 + backbone.num_register_tokens
    plan = Plan(
        width=backbone.hidden_dim,
        depth=backbone.num_layers,
        heads=backbone.num_heads,
        hidden=backbone.intermediate_dim,
        patch=backbone.patch_size,
        prefix=prefix,
    )
    grid = plan.grid(input_shape)
    pixels = keras.Input(input_shape, name="pixels")
    if grid[0] != grid[1]:
        raise OptionError(
            f"images are {input_shape[0]}x{input_shape[1]}; expected square ones for KerasHub's DINOv3: pad them"
        )
    # these two are in KerasHub's graph already, and a layer belongs to one graph only
    embeddings, norm = (type(old).from_config(old.get_config()) for old in (backbone.embeddings, backbone.layernorm))
    x = embeddings(scaled(pixels, grid, plan.patch, scaling))
    angles, part, ends = None, 1, part_ends(plan.depth)
    for number, block in enumerate(backbone.encoder.layers):
        if angles is None:
            angles = _angles(x, backbone, grid, f"part{part}")
        x = block(x, position_embeddings=angles, num_prefix_tokens=prefix)
        if number in ends:
            x, angles, part = layers.Identity(name=ends[number])(x), None, part + 1
    model = keras.Model(pixels, as_map(norm(x), prefix, grid), name="kerashub")
    embeddings.set_weights(backbone.embeddings.get_weights())
    norm.set_weights(backbone.layernorm.get_weights())
    return model


def _angles(x: Any, backbone: Any, grid: tuple[int, int], name: str) -> Any:
    from keras import layers

    rope = type(backbone.rope_embedding)
    patches = layers.Cropping1D((1 + backbone.num_register_tokens, 0), name=f"{name}_places")(x)
    patches = layers.Reshape((*grid, x.shape[-1]), name=f"{name}_grid")(patches)
    return rope(
        hidden_dim=backbone.hidden_dim,
        num_heads=backbone.num_heads,
        rope_theta=backbone.rope_theta,
        patch_size=1,
        name=f"{name}_rope",
    )(patches)
