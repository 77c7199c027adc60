"""DINOv3: KerasHub's own blocks, whose attention turns queries and keys by their place, in a flat graph."""

from __future__ import annotations

from typing import Any

from cellclf import OptionError
from cellclf_kerashub.transformer import PARTS, Plan, Scaling, as_map, part_ends, scaled


def rebuilt(backbone: Any, input_shape: tuple[int, int, int], scaling: Scaling) -> Any:
    """Lay out KerasHub's DINOv3, with the weights that it has, as one graph that can be cut after each part.

    The angles depend on nothing but the number of patches. Each part takes them from its own tokens, not from the
    pixels, so that no path goes around the end of the part before.

    Args:
        backbone: A ``keras_hub.models.DINOV3Backbone``; its layers move into the new graph.
        input_shape: (height, width, 3), pixels.
        scaling: What its pixels need.

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
        raise OptionError(f"KerasHub's DINOv3 takes square images, not {input_shape[0]}x{input_shape[1]}: pad them")
    # these two have a place in KerasHub's graph already, and a layer should have but one
    embeddings, norm = (type(old).from_config(old.get_config()) for old in (backbone.embeddings, backbone.layernorm))
    x = embeddings(scaled(pixels, grid, plan.patch, scaling))
    turns, part, ends = None, 1, part_ends(plan.depth)
    for number, block in enumerate(backbone.encoder.layers):
        if turns is None:
            turns = _turns(x, backbone, grid, f"part{part}")
        x = block(x, position_embeddings=turns, num_prefix_tokens=prefix)
        if number in ends:
            x, turns, part = layers.Identity(name=ends[number])(x), None, part + 1
    model = keras.Model(pixels, as_map(norm(x), prefix, grid), name="kerashub")
    embeddings.set_weights(backbone.embeddings.get_weights())
    norm.set_weights(backbone.layernorm.get_weights())
    return model


def _turns(x: Any, backbone: Any, grid: tuple[int, int], name: str) -> Any:
    from keras import layers

    rope = type(backbone.rope_embedding)
    places = layers.Cropping1D((1 + backbone.num_register_tokens, 0), name=f"{name}_places")(x)
    places = layers.Reshape((*grid, x.shape[-1]), name=f"{name}_grid")(places)
    return rope(
        hidden_dim=backbone.hidden_dim,
        num_heads=backbone.num_heads,
        rope_theta=backbone.rope_theta,
        patch_size=1,
        name=f"{name}_rope",
    )(places)
