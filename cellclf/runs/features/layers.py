"""Read pooled features of named layers of a trained network, batch by batch, in one or several views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError, unknown
from cellclf.runs.forward import forward
from cellclf.runs.predict import padded, step_size
from cellclf.runs.tta import VIEWS
from cellclf.utils.progress import track

Floats = NDArray[np.float32]

_PADDING = ("ZeroPadding2D", "Cropping2D", "Resizing", "Rescaling", "InputLayer", "Normalization")


def feature_layers(model: Any, count: int = 2) -> tuple[str, ...]:
    """Name the layers whose pooled outputs describe an image best: the last of each of the coarsest resolutions.

    A network that was trained on one laboratory keeps in its middle layers what its last layer no longer tells apart,
    so that a head for another laboratory reads both.

    Args:
        model: Functional keras.Model that ends in pooling and Dense layers; channels last.
        count: How many resolutions, counted from the coarsest one.

    Maps that finer ones follow are none of these: the gates of squeeze-and-excitation have one pixel.

    Returns:
        Names from the input on. A network without feature maps gives the layer that its last layer reads.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> import keras
        >>> net = Backbone("residual").build((32, 32, 3))
        >>> feature_layers(net)
        ('block2_out', 'block3_out')
    """
    import keras

    last: dict[int, str] = {}
    for layer in model.layers:
        shape: tuple[int | None, ...] = tuple(getattr(layer.output, "shape", ()))
        if type(layer).__name__ in _PADDING or isinstance(layer, keras.Model):
            continue
        if len(shape) == 4 and shape[1] is not None and shape[2] is not None:
            size = shape[1] * shape[2]
            last = {coarser: name for coarser, name in last.items() if coarser >= size} | {size: layer.name}
    coarsest = sorted(last)[:count]
    if not coarsest:
        names = [layer.name for layer in model.layers if layer.output is model.layers[-1].input]
        if not names:
            raise OptionError(
                f"the network {model.name!r} has no feature maps and its last layer reads no single layer; "
                "name the layers that features are read from"
            )
        return tuple(names[:1])
    return tuple(last[size] for size in reversed(coarsest))


def stored_layers(model: Any) -> tuple[str, ...]:
    """Name the layers whose pooled outputs a run stores, and an adaptation reads: ``feature_layers(model, 3)``.

    Returns:
        Names from the input on; none for an ensemble, or another network without layers that can be pooled.
    """
    try:
        names = feature_layers(model, 3)
    except OptionError:
        return ()
    return names if all(len(model.get_layer(name).output.shape) in (2, 4) for name in names) else ()


def pooled(model: Any, layers: Sequence[str]) -> list[Any]:
    """Give the pooled output of each layer as symbolic (batch, channels) tensors of the same graph.

    Args:
        model: Functional keras.Model.
        layers: Names; the output is a map (pooled by its mean) or a row a cell (taken as it is).

    Raises:
        UnknownNameError: No layer of that name.
        OptionError: A layer whose output is neither a map nor a row.
    """
    import keras

    names = [layer.name for layer in model.layers]
    found = []
    for name in layers:
        if name not in names:
            raise unknown("layer of the run", name, names)
        output = model.get_layer(name).output
        rank = len(output.shape)
        if rank == 4:
            # a pooling that reads the same map already is used, so that nothing is computed twice
            same = [
                layer.output
                for layer in model.layers
                if type(layer).__name__ == "GlobalAveragePooling2D" and layer.input is output
            ]
            pool = same[0] if same else keras.layers.GlobalAveragePooling2D(name=f"pooled_{name}")(output)
            found.append(pool)
        elif rank == 2:
            found.append(output)
        else:
            raise OptionError(
                f"layer {name!r} gives an output of shape {tuple(output.shape)}; expected a map (n, h, w, c) or a row "
                "(n, c) for each image"
            )
    return found


class LayerReader:
    """Runs images through a network once and gives the pooled features of some layers beside the probabilities.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities; not changed.
        layers: Names of the layers; None takes ``feature_layers(model)``.
        batch_size: Images at a time; the last batch is filled up, so that the step is compiled once.

    Examples:
        >>> import keras
        >>> x = keras.Input((8, 8, 3))
        >>> y = keras.layers.Conv2D(4, 3, name="map")(x)
        >>> y = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(y))
        >>> reader = LayerReader(keras.Model(x, y))
        >>> features, probabilities = reader.read(ImageSet(np.zeros((5, 8, 8, 3), np.uint8)))
        >>> reader.layers, features.shape, probabilities.shape
        (('map',), (1, 5, 4), (1, 5, 2))
    """

    def __init__(self, model: Any, layers: Sequence[str] | None = None, *, batch_size: int = 256) -> None:
        import keras

        self.layers = feature_layers(model) if layers is None else tuple(layers)
        if not self.layers:
            raise OptionError("layers is empty; expected at least one name of a layer")
        self.batch_size = batch_size
        parts = pooled(model, self.layers)
        self.widths = tuple(int(part.shape[-1]) for part in parts)
        self._model = keras.Model(model.inputs, [*parts, model.output])

    def batches(
        self,
        cells: ImageSet,
        rows: NDArray[np.int64] | None = None,
        *,
        views: Sequence[str] = ("as_is",),
        show: bool = False,
    ) -> Iterator[tuple[Floats, Floats]]:
        """Give features (V, n, D) and probabilities (V, n, K) of some images at a time, in order.

        Args:
            cells: Images of the network's size.
            rows: Positions of those that are read; None for all.
            views: Names out of ``VIEWS``: each image is read in each of them.
            show: True draws a progress bar.
        """
        rows = np.arange(len(cells)) if rows is None else rows
        size = step_size(max(1, len(rows)), self.batch_size)
        starts = range(0, len(rows), size)
        for start in track(starts, total=len(starts), label="reading features", unit="batch", show=show):
            images = cells.read(rows[start : start + size])
            features, probabilities = [], []
            for name in views:
                seen = np.ascontiguousarray(VIEWS[name](images))
                *parts, given = forward(self._model)(padded(seen, size))
                rows_of = [np.asarray(part, np.float32)[: len(images)] for part in parts]
                features.append(np.concatenate(rows_of, axis=1))
                probabilities.append(np.asarray(given, np.float32)[: len(images)])
            yield np.stack(features), np.stack(probabilities)

    def read(
        self,
        cells: ImageSet,
        rows: NDArray[np.int64] | None = None,
        *,
        views: Sequence[str] = ("as_is",),
        show: bool = False,
    ) -> tuple[Floats, Floats]:
        """Give features (V, N, D) and probabilities (V, N, K) of all images; arguments as for ``batches``."""
        count = len(cells) if rows is None else len(rows)
        if not count:
            classes = int(self._model.outputs[-1].shape[-1])
            return (
                np.empty((len(views), 0, sum(self.widths)), np.float32),
                np.empty((len(views), 0, classes), np.float32),
            )
        features, probabilities = zip(*self.batches(cells, rows, views=views, show=show), strict=True)
        return np.concatenate(features, axis=1), np.concatenate(probabilities, axis=1)
