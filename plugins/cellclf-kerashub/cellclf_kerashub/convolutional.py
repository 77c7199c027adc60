"""A convolutional backbone as one flat graph from pixels, cut into four parts where its maps become smaller."""

from __future__ import annotations

from typing import Any

from cellclf import OptionError
from cellclf_kerashub.transformer import Scaling


def rebuilt(backbone: Any, input_shape: tuple[int, int, int], scaling: Scaling) -> Any:
    """Copy a backbone behind its scaling; identity layers ``part1`` ... ``part4`` mark where parts end.

    Args:
        backbone: Of KerasHub, for images of any shape.
        input_shape: (height, width, 3), pixels.
        scaling: How its pixels are scaled.

    Raises:
        OptionError: Its output is not one map, its weights depend on the shape, or all paths meet at too few places.
    """
    import keras

    backbone = _sized(backbone, input_shape)
    ends = {operation: f"part{number}" for number, operation in enumerate(_ends(backbone), start=1)}
    pixels = keras.Input(input_shape, name="pixels")
    scaled = keras.layers.Rescaling(scaling.scale, scaling.offset, name="rescale")(pixels)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(lambda x: scaled if x is pixels else x, (args, kwargs))
        out = layer(*args, **kwargs)
        return keras.layers.Identity(name=ends[layer.name])(out) if layer.name in ends else out

    entry = keras.tree.map_structure(lambda _: pixels, backbone.input)
    clone = keras.models.clone_model(backbone, input_tensors=entry, call_function=call)
    copied = {layer.name for layer in clone.layers}
    renamed = [layer.name for layer in backbone.layers if layer.weights and layer.name not in copied]
    if renamed:  # KerasHub's MobileNet: its blocks extend their names whenever they are made from a config
        raise OptionError(
            f"KerasHub's {type(backbone).__name__} cannot be copied: its layer {renamed[0]!r} does not keep its name; "
            "cellclf has a mobilenet of its own"
        )
    for layer in backbone.layers:
        if layer.weights:
            clone.get_layer(layer.name).set_weights(layer.get_weights())
    return keras.Model(pixels, clone.outputs[0], name="kerashub")


def _sized(backbone: Any, input_shape: tuple[int, int, int]) -> Any:
    """Return the backbone for that shape: a graph is for one shape, its weights are for all."""
    expected = "expected a convolutional network, a ViT, a DINOv2 or a DINOv3"
    who = f"KerasHub's {type(backbone).__name__}"
    config = backbone.get_config()
    key = next((key for key in ("image_shape", "input_shape") if key in config), None)
    if key is None or len(backbone.inputs) != 1 or [len(output.shape) for output in backbone.outputs] != [4]:
        raise OptionError(f"{who} returns no single feature map of an image: {expected}")
    sized = type(backbone).from_config(config | {key: input_shape})
    try:
        sized.set_weights(backbone.get_weights())
    except ValueError as error:
        raise OptionError(f"{who} has weights that depend on the size of the images: {expected}") from error
    return sized


def _ends(backbone: Any) -> list[str]:
    """Name the four operations in which parts end: the last cut of the graph at each of the four smallest sizes.

    A size that only a padding before the next convolution has does not count; layers without weights behind a part,
    such as a pooling, belong to it.
    """
    weighted = {layer.name for layer in backbone.layers if layer.weights}
    levels: list[tuple[int, str, bool]] = []
    learns = False
    for operations, end, shape in _cuts(backbone):
        learns = learns or not weighted.isdisjoint(operations)
        if len(shape) != 4 or (levels and shape[1] > levels[-1][0]):
            continue
        if levels and shape[1] == levels[-1][0]:
            learns = levels.pop()[2] or learns
        levels.append((shape[1], end, learns))
        learns = False
    ends: list[str] = []
    for _, end, learns in levels:
        if learns:
            ends.append(end)
        elif ends:
            ends[-1] = end
    if len(ends) < 4:
        raise OptionError(
            f"{type(backbone).__name__} has {len(ends)} sizes of maps at which all paths meet; expected 4 for its parts"
        )
    return ends[-4:]


def _cuts(backbone: Any) -> list[tuple[list[str], str, tuple[int, ...]]]:
    """Find every operation through which all paths go, in order.

    Returns:
        For each: the operations since the one before it, its name, and the shape of its output.
    """
    from keras import tree

    flow = [
        (operation.name, [id(x) for x in tree.flatten(operation.input)], tree.flatten(operation.output))
        for operation in backbone.operations
        if operation.output is not backbone.inputs[0]
    ]
    uses: dict[int, int] = {id(backbone.outputs[0]): 1}
    for _, sources, _ in flow:
        for source in sources:
            uses[source] = uses.get(source, 0) + 1
    waiting = {id(x) for x in backbone.inputs}
    found = []
    since: list[str] = []
    for name, sources, results in flow:
        since.append(name)
        for source in sources:
            uses[source] -= 1
            if not uses[source]:
                waiting.discard(source)
        waiting |= {id(result) for result in results if uses.get(id(result))}
        if len(waiting) == 1 and len(results) == 1 and id(results[0]) in waiting:
            found.append((since, name, tuple(results[0].shape)))
            since = []
    return found
