"""Mixed precision by the layers' own policies, so that other models of the process are not changed."""

from __future__ import annotations

from typing import Any


def set_precision(model: Any, precision: str | None) -> None:
    """Let the layers of a model compute in another precision; weights stay float32, and so does the output.

    Pixels are scaled in float32, too, since the difference of 0-255 and a mean needs more than 8 bits.

    Args:
        model: Keras model that has not been compiled.
        precision: ``"mixed_float16"``, ``"mixed_bfloat16"``, or None for float32.

    Source: Micikevicius et al. 2018, arXiv 1710.03740.
    """
    import keras

    exact = (keras.layers.InputLayer, keras.layers.Rescaling, keras.layers.Normalization)
    last = {id(tensor._keras_history.operation) for tensor in model.outputs}
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, exact) and id(layer) not in last:
            layer.dtype_policy = keras.dtype_policies.DTypePolicy(precision or "float32")
