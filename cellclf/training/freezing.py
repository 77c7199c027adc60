"""Freezing: which layers a stage trains, and which it leaves unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellclf.backbones.graph import all_layers
from cellclf.training.stage import Stage


def freeze(layers: Sequence[Any], blocks: Sequence[Sequence[Any]], stage: Stage) -> None:
    """Set which layers of the backbone a stage trains; the model must be compiled after it.

    Args:
        layers: All layers of the backbone.
        blocks: The layers of each block, from the input on.
        stage: Whose ``unfreeze`` and ``train_batch_norm`` count.
    """
    import keras

    if stage.unfreeze == "all":
        trained = {id(layer) for layer in layers}
    else:
        trained = {id(layer) for block in blocks[len(blocks) - stage.unfreeze :] for layer in block}
    for layer in layers:
        for part in (layer, *all_layers(layer)):  # one by one: Keras leaves out some that are nested
            held = isinstance(part, keras.layers.BatchNormalization) and not stage.train_batch_norm
            part.trainable = id(layer) in trained and not held


def moving_variables(model: Any) -> list[Any]:
    """List the variables that training can change: those of layers that are not frozen, and every random state."""
    frozen = {id(v) for layer in all_layers(model) if not layer.trainable for v in layer.variables}
    return [v for v in model.variables if id(v) not in frozen or "seed" in v.path]
