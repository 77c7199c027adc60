"""Predictions of a model: batch by batch, padded to one compiled shape, averaged over flips and turns (TTA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import TrainingError
from cellclf.runs.forward import forward
from cellclf.runs.tta import VIEWS, Images
from cellclf.utils.device_memory import naming_batch_size
from cellclf.utils.parameters import Count, check_value

if TYPE_CHECKING:
    from cellclf.runs.features.cache import Features


def probabilities(
    model: Any,
    images: ImageSet | Images | Features,
    *,
    batch_size: int = 256,
    tta: Sequence[str] = ("as_is",),
    predict: Callable[[Images], NDArray[np.float32]] | None = None,
    show: bool | None = False,
) -> NDArray[Any]:
    """Predict the probabilities of images.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images, or features of them, to (n, K) probabilities.
        images: What it takes; a set is read batch by batch.
        batch_size: Images at a time; the last batch is padded, so that the step is compiled once.
        tta: Flips and turns to average over, names of ``runs.tta.VIEWS``.
        predict: What computes the model for any number of images; None computes it in Keras.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        (N, K) float32.

    Raises:
        TrainingError: The device is full; a smaller ``batch_size`` needs less.
    """
    check_value(batch_size, Count, "batch_size")
    cells = ImageSet(images) if isinstance(images, np.ndarray) else images
    if not len(cells):
        return np.empty((0, int(model.output_shape[-1])), np.float32)
    size = step_size(len(cells), batch_size)
    found = []
    with naming_batch_size(size, training=False):
        for batch in cells.batches(size, label="predicting", show=show):
            if predict is None:
                found.append(average_views(forward(model), padded(batch, size), tta)[: len(batch)])
            else:
                found.append(average_views(predict, batch, tta))
    return np.concatenate(found)


def check_rows(found: NDArray[Any]) -> NDArray[Any]:
    """Refuse what a network gives if it is no probabilities.

    Args:
        found: (N, K).

    Raises:
        TrainingError: Numbers below 0, rows that do not sum to 1, or NaN.
    """
    sums = found.sum(1, dtype=np.float64)
    if np.isnan(sums).any():
        raise TrainingError(
            f"the network gives NaN for {int(np.isnan(sums).sum()):,} of {len(sums):,} images, so its weights are "
            "damaged: train it again"
        )
    if len(found) and (found.min() < 0 or np.abs(sums - 1).max() > 0.01):
        worst = float(sums[np.abs(sums - 1).argmax()])
        raise TrainingError(
            f"the network gives numbers from {found.min():.3g} on, and a row that sums to {worst:.4g}; expected "
            "probabilities, as of a network that ends in a softmax"
        )
    return found


def average_views(
    predict: Callable[[Images], NDArray[np.float32]], images: Images, tta: Sequence[str]
) -> NDArray[np.float32]:
    """Average a prediction over views of the same images.

    Args:
        predict: From (n, H, W, C) to (n, K).
        images: (n, H, W, C) uint8.
        tta: Names of `VIEWS`.

    Returns:
        (n, K) float32.

    Examples:
        >>> images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        >>> average_views(lambda x: x[:, 0, 0].astype("float32"), images, ["as_is", "turn_180"]).tolist()
        [[4.5, 5.5, 6.5]]
    """
    total = sum(predict(np.ascontiguousarray(VIEWS[name](images))) for name in tta)
    return np.asarray(total / len(tta), np.float32)


def step_size(count: int, limit: int) -> int:
    """Give how many images a model takes at a time: a power of two for few, so that few shapes are compiled."""
    return min(limit, 1 << (count - 1).bit_length())


def padded(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """Pad the last batch with copies of its last entry, so that a step is compiled for one shape only."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, 0)]) if missing else batch
