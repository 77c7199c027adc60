"""BatchNorm adaptation: the statistics of a trained network moved towards pictures without labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cellclf.backbones.graph import copied
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError
from cellclf.progress import track

_BATCH = 64


def adapt_batch_norm(
    model: Any, cells: ImageSet, *, prior: int = 16, limit: int = 512, seed: int = 0, show: bool = False
) -> Any:
    """Give a copy of a model whose BatchNorm statistics are mixed with those of a target set (AdaBN).

    Layer by layer from the input on, each one's mean and variance become
    ``l * source + (1 - l) * target`` with ``l = prior / (prior + n)``, the target's measured over all n pictures
    with the layers before it already adapted; so neither order nor batches matter. Labels are not looked at.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 pictures; it is not changed.
        cells: The target pictures.
        prior: How many pictures the source statistics count as, 0 or more; 0 forgets them.
        limit: Most pictures that are looked at; more are sampled.
        seed: Of the sample.
        show: True draws a progress bar.

    Returns:
        The adapted copy.

    Raises:
        OptionError: The network has no BatchNorm, or a number that cannot be used.
        DataError: No pictures.

    Source: Li et al. 2016, arXiv 1603.04779; the prior as in Schneider et al. 2020, arXiv 2006.16971.
    """
    import keras

    if prior < 0 or limit < 2:
        raise OptionError(f"prior={prior}, limit={limit}; wanted a prior of 0 or more and a limit of 2 or more")
    if not len(cells):
        raise DataError("there are no pictures to adapt to")
    model = copied(model)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        raise OptionError(
            "this network has no BatchNorm, so there are no statistics to adapt; "
            "views=8 in predict, or the preset 'stain' in training, help without it"
        )
    rows = np.arange(len(cells))
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(len(cells), limit, replace=False))
    pictures = cells.read(rows)
    keep = prior / (prior + len(rows))
    for layer in track(layers, total=len(layers), label="adapting BatchNorm", show=show):
        mean, variance = _moments(keras.Model(model.input, layer.input), pictures)
        layer.moving_mean.assign(keep * np.asarray(layer.moving_mean) + (1 - keep) * mean)
        layer.moving_variance.assign(keep * np.asarray(layer.moving_variance) + (1 - keep) * variance)
    return model


def _moments(part: Any, pictures: Any) -> tuple[Any, Any]:
    """Measure mean and variance of each channel over all pictures and places."""
    count, total, square = 0, np.zeros(()), np.zeros(())
    for start in range(0, len(pictures), _BATCH):
        found = np.asarray(part(pictures[start : start + _BATCH], training=False), np.float64)
        found = found.reshape(-1, found.shape[-1])
        count, total, square = count + len(found), total + found.sum(0), square + np.square(found).sum(0)
    mean = total / count
    return mean, np.maximum(square / count - mean**2, 0)
