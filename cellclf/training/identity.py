"""What tells whether two runs are the same: the weights' hash, and the machine that they were trained on."""

from __future__ import annotations

import hashlib
import platform
from typing import Any

import numpy as np


def weights_sha256(model: Any) -> str:
    """Hash the weights of a Keras model: shapes, types and bytes in order; names and random states do not count.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> weights_sha256(model)[:8]
        '3d9ea3fb'
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.dtype.name} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def machine() -> dict[str, Any]:
    """Tell on what a run is made: system, processor, and the GPUs that TensorFlow sees."""
    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "gpus": [gpu.get("device_name", "GPU") for gpu in gpus],
    }
