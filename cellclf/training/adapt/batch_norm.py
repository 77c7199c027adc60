"""BatchNorm adaptation: the statistics of a trained network, adapted to images without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import batch_norms, copied
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError
from cellclf.utils.backend import float32
from cellclf.utils.progress import track

_BATCH = 64
_KEPT_BYTES = 2**28
"""Bytes of feature maps that are kept, so that the layers before them need not run again."""


@float32()
def adapt_batch_norm(
    model: Any, cells: ImageSet, *, prior: int = 16, limit: int = 512, seed: int = 0, show: bool | None = None
) -> Any:
    """Give a copy of a model whose BatchNorm statistics are mixed with those of a target set (AdaBN).

    Layer by layer from the input on, each one's mean and variance become
    ``l * source + (1 - l) * target`` with ``l = prior / (prior + n)``, the target's measured over all n images
    with the layers before it already adapted; so neither order nor batches matter. Labels are not used.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images; it is not changed.
        cells: The target images.
        prior: How many images the source statistics count as, 0 or more; 0 forgets them.
        limit: Most images that are used; of more, a sample is taken.
        seed: Of the sample.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        The adapted copy.

    Raises:
        OptionError: The network has no BatchNorm, or a number that cannot be used.
        DataError: No images.

    Source: Li et al. 2016, arXiv 1603.04779; the prior as in Schneider et al. 2020, arXiv 2006.16971.
    """
    if prior < 0 or limit < 2:
        raise OptionError(f"prior={prior}, limit={limit}; expected a prior of 0 or more and a limit of 2 or more")
    if not len(cells):
        raise DataError("there are no images to adapt to")
    model = copied(model)
    layers = batch_norms(model)
    if not layers:
        raise OptionError(
            "this network has no BatchNorm, so there are no statistics to adapt; "
            "tta=8 in predict, or the preset 'stain' in training, help without it"
        )
    rows = np.arange(len(cells))
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(len(cells), limit, replace=False))
    images = cells.read(rows)
    keep = prior / (prior + len(rows))
    image_batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    kept: list[tuple[Any, list[Any], int]] = [(model.input, image_batches, 0)]  # inputs of the layers before this one
    for layer in track(layers, total=len(layers), label="adapting BatchNorm", show=show):
        part, batches = _from_last_kept(kept, layer.input)
        size = 4 * len(images) * math.prod(layer.input.shape[1:])
        maps: Iterable[Any] = (part(batch, training=False) for batch in batches)
        if size <= _KEPT_BYTES:
            maps = list(maps)
            kept.append((layer.input, maps, size))
        mean, variance = _moments(maps)
        while sum(taken for *_, taken in kept) > _KEPT_BYTES:
            del kept[1]
        layer.moving_mean.assign(keep * np.asarray(layer.moving_mean) + (1 - keep) * mean)
        layer.moving_variance.assign(keep * np.asarray(layer.moving_variance) + (1 - keep) * variance)
    return model


def _from_last_kept(kept: list[tuple[Any, list[Any], int]], end: Any) -> tuple[Any, list[Any]]:
    """Take the graph from the last kept tensor that is on all paths to ``end``; later ones are dropped."""
    import keras

    while True:
        start, batches, _ = kept[-1]
        try:
            return keras.Model(start, end), batches
        except ValueError:
            if len(kept) == 1:  # the images are on all paths
                raise
            kept.pop()


def _moments(maps: Iterable[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure mean and variance of each channel over all images and positions."""
    count, total, square = 0, np.zeros(()), np.zeros(())
    for found in maps:
        values = np.asarray(found, np.float64)
        values = values.reshape(-1, values.shape[-1])
        count, total, square = count + len(values), total + values.sum(0), square + np.square(values).sum(0)
    mean = total / count
    return mean, np.maximum(square / count - mean**2, 0)
