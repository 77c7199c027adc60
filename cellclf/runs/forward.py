"""The forward pass of a network, compiled once for batches of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.utils.backend import float32

_NAME = "_cellclf_forward"


def forward(model: Any) -> Callable[[NDArray[Any]], Any]:
    """Give the compiled forward pass of a model, which is kept with the model.

    ``Model.predict_on_batch`` is compiled again for other sizes of a batch, which takes longer than to use it for small
    sets, and TensorFlow warns of it although nothing is wrong.

    Args:
        model: Keras model; it may be trained afterwards, but keeps its layers and their precision.

    Returns:
        A function from (n, ...) to the output of the model, or a list of its outputs, as arrays.
    """
    found: Callable[[NDArray[Any]], Any] | None = getattr(model, _NAME, None)
    if found is None:
        found = _compiled(model)
        object.__setattr__(model, _NAME, found)  # past Keras, which would save it with the model
    return found


def _compiled(model: Any) -> Callable[[NDArray[Any]], Any]:
    import keras

    if keras.config.backend() != "tensorflow" or not isinstance(model, keras.Model):
        return lambda batch: model.predict_on_batch(batch)
    import tensorflow as tf

    made: dict[np.dtype[Any], Any] = {}

    def run(batch: NDArray[Any]) -> Any:
        if batch.dtype not in made:
            entries = tf.TensorSpec((None, *batch.shape[1:]), batch.dtype)
            # asked for in advance, not traced at the first call: TensorFlow counts those, over all models together
            function = tf.function(lambda images: model(images, training=False), autograph=False)
            with float32():
                made[batch.dtype] = function.get_concrete_function(entries)
        found = made[batch.dtype](tf.constant(batch))
        return [one.numpy() for one in found] if isinstance(found, list | tuple) else found.numpy()

    return run
