"""Pooled features and probabilities of images, in one pass through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import POOL
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError
from cellclf.runs.features.layers import pooled
from cellclf.runs.forward import forward
from cellclf.runs.predict import padded, step_size
from cellclf.runs.tta import VIEWS
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import naming_batch_size
from cellclf.utils.progress import track

Floats = NDArray[np.float32]

_WIDEST = 4_096
"""Most features: a flattened map has more, too many to estimate their distribution from some thousand images."""


class FeatureReader:
    """Gives features and probabilities of images in one pass through a model.

    The features are the pooled feature map that the head takes; if the head flattens it instead, the input of the last
    layer; of an ensemble, those of its members, concatenated.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities.
        layers: Names of layers whose pooled outputs are read in the same pass, see ``read_layers``, ``read_views``.
        batch_size: Images at a time; the last batch is padded, so that the step is compiled once.

    Examples:
        >>> import keras
        >>> x = keras.Input((8, 8, 3))
        >>> y = keras.layers.Conv2D(4, 3, name="map")(x)
        >>> y = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(y))
        >>> reader = FeatureReader(keras.Model(x, y), layers=("map",))
        >>> features, probabilities = reader.read_views(ImageSet(np.zeros((5, 8, 8, 3), np.uint8)), views=["flip"])
        >>> features.shape, probabilities.shape
        ((1, 5, 4), (1, 5, 2))
    """

    @float32()
    def __init__(self, model: Any, *, layers: Sequence[str] = (), batch_size: int = 256) -> None:
        import keras

        self.batch_size = batch_size
        inputs, features = model.inputs, _features(model)
        if features is inputs:  # a Keras model cannot return its own input
            features = keras.layers.Identity()(features)
        self.model, self.layers = model, tuple(layers)
        parts = pooled(model, self.layers)
        self.width = int(features.shape[-1])
        self.widths = tuple(int(part.shape[-1]) for part in parts)
        self.network = keras.Model(inputs, [features, model.outputs[0], *parts])

    def batches(
        self,
        cells: ImageSet,
        rows: NDArray[np.int64] | None = None,
        *,
        predict: Callable[[NDArray[Any]], Any] | None = None,
        show: bool | None = None,
    ) -> Iterator[tuple[Floats, Floats]]:
        """Give (features, probabilities) of some images at a time, in order.

        Args:
            cells: The images.
            rows: Positions of those to read; None for all.
            predict: From some images to their features and probabilities; None computes the network in Keras.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
        """
        for features, found, _ in self._outputs(cells, rows, predict=predict, show=show):
            yield features, found

    def read(
        self, cells: ImageSet, rows: NDArray[np.int64] | None = None, *, show: bool | None = None
    ) -> tuple[Floats, Floats]:
        """Give features (N, d) and probabilities (N, K) of images, at least one; arguments as for ``batches``."""
        features, found = _joined(self.batches(cells, rows, show=show), len(cells) if rows is None else len(rows))
        return features, found

    def read_layers(
        self, cells: ImageSet, rows: NDArray[np.int64] | None = None, *, show: bool | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Give what ``read`` gives, and the pooled outputs of ``layers`` side by side: (N, D)."""
        count = len(cells) if rows is None else len(rows)
        features, found, beside = _joined(self._outputs(cells, rows, show=show), count)
        return features, found, beside

    def read_views(
        self,
        cells: ImageSet,
        rows: NDArray[np.int64] | None = None,
        *,
        views: Sequence[str] = ("as_is",),
        show: bool | None = False,
    ) -> tuple[Floats, Floats]:
        """Give the pooled outputs of ``layers`` (V, N, D) and probabilities (V, N, K), each image read once.

        Args:
            cells: Images of the network's size; there may be none.
            rows: Positions of those to read; None for all.
            views: Names out of ``VIEWS``.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
        """
        rows = np.arange(len(cells)) if rows is None else rows
        beside = np.empty((len(views), len(rows), sum(self.widths)), np.float32)
        found = np.empty((len(views), len(rows), int(self.model.outputs[0].shape[-1])), np.float32)
        size = step_size(max(1, len(rows)), self.batch_size)
        starts = range(0, len(rows), size)
        for start in track(starts, total=len(starts), label="reading features", unit="batch", show=show):
            images = cells.read(rows[start : start + size])
            for place, name in enumerate(views):
                part = slice(start, start + len(images))
                _, found[place, part], beside[place, part] = self.run(np.ascontiguousarray(VIEWS[name](images)), size)
        return beside, found

    def run(
        self, images: NDArray[np.uint8], size: int, predict: Callable[[NDArray[Any]], Any] | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Give features, probabilities and outputs of ``layers`` of one batch, padded to ``size`` images."""
        with naming_batch_size(size, training=False):
            given = forward(self.network)(padded(images, size)) if predict is None else predict(images)
        found = [np.asarray(one, np.float32)[: len(images)] for one in given]
        beside = np.concatenate(found[2:], axis=1) if found[2:] else np.empty((len(images), 0), np.float32)
        return found[0], found[1], beside

    def _outputs(
        self,
        cells: ImageSet,
        rows: NDArray[np.int64] | None,
        *,
        predict: Callable[[NDArray[Any]], Any] | None = None,
        show: bool | None,
    ) -> Iterator[tuple[Floats, Floats, Floats]]:
        rows = np.arange(len(cells)) if rows is None else rows
        size = step_size(max(1, len(rows)), self.batch_size)
        starts = range(0, len(rows), size)
        for start in track(starts, total=len(starts), label="predicting", unit="batch", show=show):
            yield self.run(cells.read(rows[start : start + size]), size, predict)


def _joined(batches: Iterable[tuple[Floats, ...]], count: int) -> list[Floats]:
    """Put batches into one array for each of their parts: concatenating them would need the memory twice."""
    made: list[Floats] = []
    start = 0
    for parts in batches:
        made = made or [np.empty((count, part.shape[1]), np.float32) for part in parts]
        for whole, part in zip(made, parts, strict=True):
            whole[start : start + len(part)] = part
        start += len(parts[0])
    return made


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
