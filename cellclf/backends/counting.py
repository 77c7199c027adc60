"""What every training step on the device also does: averages that follow, and metrics of the rows that count."""

from __future__ import annotations

from typing import Any

from cellclf.backends.protocol import Moving


def count_rows(model: Any, loss: Any, labels: Any, found: Any, real: Any) -> None:
    """Add a batch to the running loss and accuracy, without rows that only fill it up.

    Args:
        model: Compiled with a loss and an accuracy.
        loss: Mean of the batch, in which such rows have the weight 0.
        labels: (n, K) one-hot.
        found: (n, K) probabilities.
        real: (n,) 1 for each row that counts, else 0.
    """
    from keras import ops

    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=ops.sum(real))
        else:  # Keras's list of those that were given to ``compile``
            for one in metric.metrics:
                one.update_state(labels, found, sample_weight=real)


def follow(moving: Moving, share: Any) -> None:
    """Let each average move towards its variable by a share of the way."""
    from keras import ops

    for variable, average in moving:
        average.assign_add((ops.cast(variable, "float32") - average) * share)
