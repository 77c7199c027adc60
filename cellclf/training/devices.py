"""Several devices of one machine that share each batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from cellclf.errors import OptionError


def scope_of(devices: int) -> AbstractContextManager[Any]:
    """Give the scope in which a model that runs on several devices is built and trained.

    Each device holds the weights and takes its part of a batch; the gradients are summed (TensorFlow's
    ``MirroredStrategy``). BatchNorm that is trained takes its statistics from the part of its device only.

    Args:
        devices: How many of the machine's GPUs (logical CPUs where there is no GPU); 1 needs no scope.

    Raises:
        OptionError: The machine has fewer.
    """
    if devices == 1:
        return nullcontext()
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    found = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if len(found) < devices:
        raise OptionError(
            f"devices={devices}, and TensorFlow sees {len(found)} {'GPU' if gpus else 'CPU, no GPU'}; "
            f"expected at most {len(found)}"
        )
    between = None if gpus else tf.distribute.ReductionToOneDevice()
    scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(found[:devices], between).scope()
    return scope
