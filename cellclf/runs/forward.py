"""The forward pass of a network, compiled once for batches of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.utils.backend import check_process

_NAME = "_cellclf_forward"


def forward(model: Any) -> Callable[[NDArray[Any]], Any]:
    """Give the compiled forward pass of a model, which is kept with the model.

    ``Model.predict_on_batch`` is compiled again for every other size of a batch, which takes longer than to use it for
    small sets, and TensorFlow warns of it although nothing is wrong.

    Args:
        model: Keras model; it may be trained afterwards, but keeps its layers and their precision.

    Returns:
        A function from (n, ...) to the output of the model, or a list of its outputs, as arrays.

    Raises:
        OptionError: In a process that was forked after the backend had run.
    """
    import keras

    check_process()
    found: Callable[[NDArray[Any]], Any] | None = getattr(model, _NAME, None)
    if found is None:
        keras_model = isinstance(model, keras.Model)
        found = current().forward(model) if keras_model else lambda batch: model.predict_on_batch(batch)
        object.__setattr__(model, _NAME, found)  # past Keras, which would save it with the model
    return found
