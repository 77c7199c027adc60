"""What a training makes small: cross-entropy, and consistency between views of one picture."""

from __future__ import annotations

from typing import Any


def make_loss(label_smoothing: float, consistency: float) -> Any:
    """Make the Keras loss of a training.

    Args:
        label_smoothing: Share of each target that is spread over all classes.
        consistency: Weight of the Jensen-Shannon divergence between a picture and two augmented views; a batch then
            holds the pictures, the first views and the second views, in this order. 0 for cross-entropy alone.

    Source: Hendrycks et al. 2020, arXiv 1912.02781.
    """
    import keras

    plain = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing, reduction=None)
    if not consistency:
        return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    from keras import ops

    class Consistency(keras.losses.Loss):  # type: ignore[misc]  # keras ships no types
        def call(self, targets: Any, chances: Any) -> Any:
            first, *views = ops.split(ops.clip(chances, 1e-7, 1.0), 3)
            middle = (first + views[0] + views[1]) / 3
            away = sum(ops.sum(p * (ops.log(p) - ops.log(middle)), axis=-1) for p in (first, *views)) / 3
            loss = plain(ops.split(targets, 3)[0], first) + consistency * away
            return ops.tile(loss, (3,))  # one for each row, so that weights and the mean count as usual

    return Consistency()
