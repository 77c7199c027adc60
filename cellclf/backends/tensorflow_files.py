"""TensorFlow: what only files of other programs need, and the network beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_saved_model(path: str | Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Open a SavedModel on the processor: from uint8 images to its output ``probabilities``."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        with tf.device("/CPU:0"):
            return np.asarray(serve(images=tf.constant(images))["probabilities"])

    predict.loaded = loaded  # type: ignore[attr-defined]  # keeps its variables alive
    return predict


def to_onnx(model: Any, shape: tuple[int, ...], outputs: Sequence[str]) -> Any:
    """Convert a Keras model to ONNX.

    Args:
        model: From (n, H, W, 3) 0-255 images to one output or several.
        shape: Height, width and channels.
        outputs: Names of its outputs, in order.
    """
    import tensorflow as tf
    import tf2onnx

    signature = tf.TensorSpec((None, *shape), tf.uint8, name="images")

    @tf.function(input_signature=[signature], autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def predict(images: Any) -> dict[str, Any]:
        found = model(images, training=False)
        # an output that two names share, or the input, would be lost
        each = map(tf.identity, found if isinstance(found, list | tuple) else [found])
        return dict(zip(outputs, each, strict=True))

    return tf2onnx.convert.from_function(predict, input_signature=[signature])[0]


def to_litert(folder: Path) -> bytes:
    """Convert a SavedModel to LiteRT."""
    import tensorflow as tf

    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())


def values_reader(variables: Sequence[Any]) -> Callable[[], list[NDArray[Any]]]:
    """Give a function that reads variables, without the layers of Keras and TensorFlow around each.

    A ``tf.function`` would be as fast, but its threads compete for the cores with those of another runtime.
    """
    import tensorflow as tf

    handles = [(variable.value.handle, variable.value.dtype) for variable in variables]
    read = tf.raw_ops.ReadVariableOp
    return lambda: [read(resource=handle, dtype=dtype).numpy() for handle, dtype in handles]
