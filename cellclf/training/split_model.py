"""A classifier split in two: the front, which a stage leaves unchanged, and the tail, which is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cellclf.backbones.graph import POOL, output_of
from cellclf.errors import OptionError


@dataclass(frozen=True)
class SplitModel:
    """The two parts of a classifier; both share its layers, so that training the tail trains the classifier.

    Args:
        layer: Name of the last layer of the front.
        front: Keras model from images to features.
        tail: Keras model from features to probabilities.
    """

    layer: str
    front: Any
    tail: Any


def split_for_stage(model: Any, blocks: Sequence[Sequence[Any]], unfreeze: int | Literal["all"]) -> SplitModel:
    """Split a classifier in front of the first layer that a stage trains.

    Args:
        model: Flat, from images to probabilities, with a ``Head``.
        blocks: The layers of each block of its backbone, from the input on.
        unfreeze: As of ``Stage``. 0 splits behind the pooling of the head, which has no weights.

    Raises:
        OptionError: It cannot be split there; the message says why.
    """
    if unfreeze == "all" or unfreeze >= len(blocks):
        raise OptionError("the stage trains all layers of the backbone")
    return split_model(model, POOL if unfreeze == 0 else blocks[len(blocks) - unfreeze - 1][-1].name)


def split_model(model: Any, layer: str) -> SplitModel:
    """Split a flat classifier behind a layer.

    Args:
        model: Functional Keras model with one input and one output.
        layer: Name of the layer whose output is the only way from the input to the output.

    Raises:
        OptionError: A layer of the front is random, so that its output differs each time; or a later layer takes
            another output of the front.

    Examples:
        >>> import keras
        >>> images = keras.Input((4, 4, 3))
        >>> probabilities = keras.layers.Dense(2)(keras.layers.Flatten(name="flat")(images))
        >>> parts = split_model(keras.Model(images, probabilities), "flat")
        >>> parts.front.output_shape, parts.tail.input_shape
        ((None, 48), (None, 48))
    """
    import keras

    features = output_of(model, layer)
    front = keras.Model(model.inputs[0], features, name="front")
    for part in front.layers:
        if any("seed" in variable.path for variable in part.variables):
            raise OptionError(f"its frozen layer {part.name!r} is random, which cached features cannot be")
    try:
        tail = keras.Model(features, model.outputs[0], name="tail")
    except ValueError:  # a path from the input to the output does not pass this layer
        raise OptionError(f"layers behind {layer!r} also use outputs of layers before it") from None
    return SplitModel(layer, front, tail)
