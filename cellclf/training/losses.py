"""What a training makes small: cross-entropy, and consistency between views of one image."""

from __future__ import annotations

from typing import Any


def make_loss(label_smoothing: float, consistency: float = 0.0, focal: float = 0.0) -> Any:
    """Make the Keras loss of a training.

    Args:
        label_smoothing: Share of each target that is spread over all classes.
        consistency: Weight of the Jensen-Shannon divergence between an image and two augmented views; a batch then
            holds the images, the first views and the second views, in this order. 0 for cross-entropy alone.
        focal: Exponent gamma of the focal loss: each class's cross-entropy times (1 - its probability) ** gamma, so
            that what is known well counts little; 2 in the paper, 0 for plain cross-entropy. It is not divided by
            classes (alpha); that is what class weights are for.

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
        return entropy()
    plain = entropy(reduction=None)
    from keras import ops

    class Consistency(keras.losses.Loss):  # type: ignore[misc]  # keras ships no types
        def call(self, targets: Any, chances: Any) -> Any:
            first, *views = ops.split(ops.clip(chances, 1e-7, 1.0), 3)
            middle = (first + views[0] + views[1]) / 3
            away = sum(ops.sum(p * (ops.log(p) - ops.log(middle)), axis=-1) for p in (first, *views)) / 3
            loss = plain(ops.split(targets, 3)[0], first) + consistency * away
            return ops.tile(loss, (3,))  # one for each row, so that weights and the mean count as usual

    return Consistency()
