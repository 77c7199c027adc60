"""Cut a classifier in two: the front, which a stage leaves as it is, and the tail, which learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cellclf.backbones.graph import POOL
from cellclf.errors import OptionError


@dataclass(frozen=True)
class Cut:
    """The two parts of a classifier; both share its layers, so that what the tail learns the classifier knows.

    Args:
        layer: Name of the last layer of the front.
        front: Keras model from images to features.
        tail: Keras model from features to probabilities.
    """

    layer: str
    front: Any
    tail: Any


def cut_for(model: Any, blocks: Sequence[Sequence[Any]], unfreeze: int | Literal["all"]) -> Cut:
    """Cut a classifier where a stage's learning begins.

    Args:
        model: Flat, from images to probabilities, with a ``Head``.
        blocks: The layers of each block of its backbone, from the input on.
        unfreeze: As of ``Stage``. 0 cuts behind the pooling of the head, which learns nothing.

    Raises:
        OptionError: There is no such cut; the message says why.
    """
    if unfreeze == "all" or unfreeze >= len(blocks):
        raise OptionError("all of the backbone learns")
    return cut(model, POOL if unfreeze == 0 else blocks[len(blocks) - unfreeze - 1][-1].name)


def cut(model: Any, layer: str) -> Cut:
    """Cut a flat classifier behind a layer.

    Args:
        model: Functional Keras model with one input and one output.
        layer: Name of the layer whose output is the only way from the input to the output.

    Raises:
        OptionError: A layer of the front draws at random, so that its output is another one each time; or a later layer
            takes something else from before the cut.

    Examples:
        >>> import keras
        >>> images = keras.Input((4, 4, 3))
        >>> chances = keras.layers.Dense(2)(keras.layers.Flatten(name="flat")(images))
        >>> parts = cut(keras.Model(images, chances), "flat")
        >>> parts.front.output_shape, parts.tail.input_shape
        ((None, 48), (None, 48))
    """
    import keras

    features = model.get_layer(layer).output
    front = keras.Model(model.inputs[0], features, name="front")
    for part in front.layers:
        if any("seed" in variable.path for variable in part.variables):
            raise OptionError(f"its frozen layer {part.name!r} draws at random, and cached features would not")
    try:
        tail = keras.Model(features, model.outputs[0], name="tail")
    except ValueError:  # the way back from the output comes to the input without passing the cut
        raise OptionError(f"layers behind {layer!r} also take what is made before it") from None
    return Cut(layer, front, tail)
