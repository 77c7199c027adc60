"""Pooled features and probabilities of images, in one pass through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import POOL
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError
from cellclf.runs.features.cache import Features
from cellclf.runs.forward import forward
from cellclf.runs.predict import padded, step_size
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import naming_batch_size
from cellclf.utils.progress import track

_WIDEST = 4_096
"""Most features: a flattened map has more, too many to estimate their distribution from some thousand images."""


class FeatureReader:
    """Gives features and probabilities of images in one pass through a model.

    The features are the pooled feature map that the head takes; if the head flattens it instead, the input of the last
    layer; of an ensemble, those of its members, concatenated.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities.
        behind: Name of a layer whose output is read in place of images; None reads images.
        batch_size: Images at a time; the last batch is padded, so that the step is compiled once.
    """

    @float32()
    def __init__(self, model: Any, *, behind: str | None = None, batch_size: int = 256) -> None:
        import keras

        self.batch_size = batch_size
        inputs, features = model.inputs if behind is None else model.get_layer(behind).output, _features(model)
        if features is inputs:  # a Keras model cannot return its own input
            features = keras.layers.Identity()(features)
        self.network = keras.Model(inputs, [features, model.output])

    def batches(
        self,
        cells: ImageSet | Features,
        rows: NDArray[np.int64] | None = None,
        *,
        predict: Callable[[NDArray[Any]], Any] | None = None,
        show: bool | None = None,
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Give (features, probabilities) of some images at a time, in order.

        Args:
            cells: The images.
            rows: Positions of those to read; None for all.
            predict: From some images to their features and probabilities; None computes the network in Keras.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
        """
        rows = np.arange(len(cells)) if rows is None else rows
        size = step_size(max(1, len(rows)), self.batch_size)
        starts = range(0, len(rows), size)
        for start in track(starts, total=len(starts), label="predicting", unit="batch", show=show):
            batch = cells.read(rows[start : start + size])
            with naming_batch_size(size, training=False):
                features, found = forward(self.network)(padded(batch, size)) if predict is None else predict(batch)
            yield np.asarray(features, np.float32)[: len(batch)], np.asarray(found, np.float32)[: len(batch)]

    def read(
        self, cells: ImageSet | Features, rows: NDArray[np.int64] | None = None, *, show: bool | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give features (N, d) and probabilities (N, K) of images, at least one; arguments as for ``batches``."""
        features, found = zip(*self.batches(cells, rows, show=show), strict=True)
        return np.concatenate(features), np.concatenate(found)


def _features(model: Any) -> Any:
    import keras

    pooled = [layer.output for layer in model.layers if layer.name == POOL]
    if pooled and pooled[0].shape[-1] <= _WIDEST:
        return pooled[0]
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if members and not pooled:
        rows = [keras.Model(member.inputs, _features(member))(model.inputs) for member in members]
        return keras.layers.Concatenate(dtype="float32")(rows) if len(rows) > 1 else rows[0]
    used = model.layers[-1].input
    if isinstance(used, list) or len(used.shape) != 2:
        raise DataError(
            f"the last layer, {model.layers[-1].name}, does not take one vector of features for each image; expected a "
            "network that ends in a pooling and a Dense layer"
        )
    return used
