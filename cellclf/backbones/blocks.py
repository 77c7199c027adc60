"""Which layers belong to which block of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellclf.backbones.graph import output_of
from cellclf.errors import OptionError, unknown


def output_layer(model: Any) -> str:
    """Return the name of the layer that gives the model's output.

    Raises:
        OptionError: It is not a layer but a bare operation such as ``x + y``, which can be neither named nor frozen.
    """
    for layer in reversed(model.layers):
        if output_of(model, layer.name) is model.outputs[0]:
            return str(layer.name)
    raise OptionError(
        f"the model {model.name!r} ends in a bare operation: end it with a layer, such as keras.layers.Add instead of +"
    )


def block_layers(model: Any, blocks: Sequence[str]) -> list[list[Any]]:
    """Return the layers of each block, from the input on.

    A block has the layers on the path from the input to the layer that it is named after, without those of the blocks
    before. So the layers behind the last block (a head) belong to none.

    Args:
        model: A functional keras.Model, a backbone or a classifier built on one.
        blocks: Names of the layers in which the blocks end, from the input on.

    Returns:
        One list of layers a block, in the model's order.

    Raises:
        UnknownNameError: The model has no layer of that name.
        OptionError: The blocks are not in order: one has no layer of its own.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> backbone = Backbone("residual")
        >>> parts = block_layers(backbone.build((32, 32, 3)), backbone.spec.blocks)
        >>> [part[-1].name for part in parts]
        ['block1_out', 'block2_out', 'block3_out']
    """
    import keras

    names = [layer.name for layer in model.layers]
    taken: set[str] = set()
    parts = []
    for block in blocks:
        if block not in names:
            raise unknown(f"layer of the network {model.name!r}:", block, names)
        cut = keras.Model(model.inputs, output_of(model, block), name=f"up_to_{block}")
        above = {layer.name for layer in cut.layers}
        part = [layer for layer in model.layers if layer.name in above - taken]
        if not part:
            raise OptionError(
                f"block {block!r} of {model.name!r} has no layer of its own: name the blocks from the input on"
            )
        parts.append(part)
        taken |= above
    return parts
