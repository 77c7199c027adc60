"""Losses: cross-entropy, focal loss, and consistency between views of one image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-7
"""Below this and that close to 1, Keras's losses take no probability."""


def make_loss(
    label_smoothing: float,
    consistency: float = 0.0,
    focal: float = 0.0,
    *,
    reduction: str | None = "sum_over_batch_size",
) -> Any:
    """Make the Keras loss of a training.

    Args:
        label_smoothing: Fraction of each target that is spread over all classes.
        consistency: Weight of the Jensen-Shannon divergence between an image and two augmented views; a batch then
            holds the images, the first views and the second views, in this order. 0 for cross-entropy alone.
        focal: Exponent gamma of the focal loss: each class's cross-entropy times (1 - its probability) ** gamma, so
            that images with a high probability of their class count little; 2 in the paper, 0 for plain cross-entropy.
            There is no weight of each class (alpha): ``class_weight`` is that.
        reduction: Of Keras; None gives the loss of each image. Not with ``consistency``.

    Source: Hendrycks et al. 2020, arXiv 1912.02781; Lin et al. 2017, arXiv 1708.02002.
    """
    import keras

    def entropy(**how: Any) -> Any:
        if focal:
            return keras.losses.CategoricalFocalCrossentropy(
                alpha=1.0, gamma=focal, label_smoothing=label_smoothing, **how
            )
        return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing, **how)

    if not consistency:
        return entropy(reduction=reduction)
    plain = entropy(reduction=None)
    from keras import ops

    class Consistency(keras.losses.Loss):  # type: ignore[misc]  # keras ships no types
        def call(self, targets: Any, probabilities: Any) -> Any:
            first, *views = ops.split(ops.clip(probabilities, 1e-7, 1.0), 3)
            middle = (first + views[0] + views[1]) / 3
            divergence = sum(ops.sum(p * (ops.log(p) - ops.log(middle)), axis=-1) for p in (first, *views)) / 3
            loss = plain(ops.split(targets, 3)[0], first) + consistency * divergence
            return ops.tile(loss, (3,))  # one for each row, so that weights and the mean count as usual

    return Consistency()


def validation_loss(
    labels: NDArray[np.int64], probabilities: NDArray[Any], *, label_smoothing: float = 0.0, focal: float = 0.0
) -> float:
    """Compute the mean loss of Keras on images that are not trained on, without penalties of weights.

    Args:
        labels: (N,) whole numbers.
        probabilities: (N, K) 0-1.
        label_smoothing: As for ``make_loss``.
        focal: As for ``make_loss``.

    Examples:
        >>> round(validation_loss(np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]])), 4)
        0.3081
    """
    given = np.asarray(probabilities, np.float64)
    given = np.clip(given / given.sum(1, keepdims=True), _EPSILON, 1 - _EPSILON)
    if not label_smoothing:  # the other classes count nothing
        given, targets = given[np.arange(len(labels)), labels][:, None], np.ones((len(labels), 1))
    else:
        targets = np.full(given.shape, label_smoothing / given.shape[1])
        targets[np.arange(len(labels)), labels] += 1 - label_smoothing
    losses = -targets * np.log(given)
    if focal:
        losses *= (1 - given) ** focal
    return float(losses.sum(1).mean())


def penalties(model: Any) -> float:
    """Sum the penalties of a model's trained weights, such as L2, which Keras adds to every loss."""
    from keras.ops import convert_to_numpy

    trained = [v for v in model.trainable_variables if v.regularizer is not None]
    return float(sum(float(convert_to_numpy(v.regularizer(v))) for v in trained))
