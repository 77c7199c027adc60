"""BatchNorm adaptation: the statistics of a trained network, adapted to images without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellclf.backbones.graph import batch_norms, copied
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError
from cellclf.runs.predict import probabilities
from cellclf.utils.backend import float32
from cellclf.utils.progress import track

Floats = NDArray[np.float64]

_BATCH = 64
_KEPT_BYTES = 2**28
"""Bytes of feature maps that are kept, so that the layers before them need not run again."""
_FEW = 4
"""Images that a class needs to count in full."""


@float32()
def adapt_batch_norm(
    model: Any,
    cells: ImageSet,
    *,
    prior: int = 16,
    limit: int = 512,
    balance: bool = True,
    mix: ArrayLike | None = None,
    seed: int = 0,
    show: bool | None = None,
) -> Any:
    """Give a copy of a model whose BatchNorm statistics are mixed with those of a target set (AdaBN).

    Layer by layer from the input on, each one's mean and variance become
    ``l * source + (1 - l) * target`` with ``l = prior / (prior + n)``, the target's measured over all n images
    with the layers before it already adapted; so neither order nor batches matter. Labels are not used.

    The statistics of 64 platelets are not those of a laboratory: they would ruin the network for every other class. So
    each image is weighted by its predicted class, which brings the classes to the shares that they had in training, and
    n is the number of images of equal weight that would measure as much. A set that holds too few of the classes for
    that is refused.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities; it is not changed.
        cells: The target images.
        prior: How many images the source statistics count as, 0 or more; 0 forgets them.
        limit: Most images that are used; of more, a sample is taken.
        balance: False takes every image alike, whatever its class: for sets that have the mix of the training.
        mix: (K,) share or count of each class in training; None takes all alike.
        seed: Of the sample.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        The adapted copy.

    Raises:
        OptionError: The network has no BatchNorm, or a number that cannot be used.
        DataError: No images, or images of too few classes.

    Source: Li et al. 2016, arXiv 1603.04779; the prior as in Schneider et al. 2020, arXiv 2006.16971.
    """
    if prior < 0 or limit < 2:
        raise OptionError(f"prior={prior}, limit={limit}; expected a prior of 0 or more and a limit of 2 or more")
    if not len(cells):
        raise DataError("there are no images to adapt to")
    source, model = model, copied(model)
    layers = batch_norms(model)
    if not layers:
        raise OptionError(
            "this network has no BatchNorm, so there are no statistics to adapt; "
            "tta=8 in predict, or the preset 'stain' in training, help without it"
        )
    rows = np.arange(len(cells))
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(len(cells), limit, replace=False))
    sample = cells.subset(rows)
    weights = np.ones(len(rows))
    if balance:
        weights = class_weights(probabilities(source, sample, show=show), mix)
    images = sample.images
    count = weights.sum() ** 2 / np.square(weights).sum()
    keep = prior / (prior + count)
    edges = range(0, len(images), _BATCH)
    image_batches = [images[start : start + _BATCH] for start in edges]
    shares = [weights[start : start + _BATCH] for start in edges]
    kept: list[tuple[Any, list[Any], int]] = [(model.input, image_batches, 0)]  # inputs of the layers before this one
    flat = {id(layer) for layer in model.layers}
    for layer in track(layers, total=len(layers), label="adapting BatchNorm", show=show):
        if id(layer) in flat:
            part, batches = _from_last_kept(kept, layer.input)
            size = 4 * len(images) * math.prod(layer.input.shape[1:])
            maps: Iterable[Any] = (part(batch, training=False) for batch in batches)
            if size <= _KEPT_BYTES:
                maps = list(maps)
                kept.append((layer.input, maps, size))
        else:
            maps = _nested_inputs(model, layer, image_batches)
        mean, variance = _moments(maps, shares)
        while sum(taken for *_, taken in kept) > _KEPT_BYTES:
            del kept[1]
        layer.moving_mean.assign(keep * np.asarray(layer.moving_mean) + (1 - keep) * mean)
        layer.moving_variance.assign(keep * np.asarray(layer.moving_variance) + (1 - keep) * variance)
    return model


def class_weights(probabilities: NDArray[Any], mix: ArrayLike | None = None) -> Floats:
    """Weigh images by their predicted class, so that the classes have the shares that they had in training.

    A class of fewer than 4 images gets less than its share, since the statistics of so few are rough.

    Args:
        probabilities: (N, K) of the images.
        mix: (K,) share or count of each class in training; None takes all alike.

    Returns:
        (N,) weights.

    Raises:
        DataError: The images are predicted as one class only, or as classes that made up half of the training or less.

    Examples:
        >>> class_weights(np.eye(2)[[0] * 12 + [1] * 4])[[0, 15]].round(3).tolist()
        [0.042, 0.125]
    """
    predicted = probabilities.argmax(1)
    counts = np.bincount(predicted, minlength=probabilities.shape[1])
    share = np.ones(len(counts)) if mix is None else np.asarray(mix, np.float64)
    share = share / share.sum()
    seen = counts >= _FEW
    covered = float(share[seen].sum())
    if seen.sum() < 2 or covered <= 0.5:
        part = f", which were {100 * covered:.0f} % of the training" if seen.sum() > 1 else ""
        raise DataError(
            f"the images are predicted as {int(seen.sum())} of {len(counts)} classes ({_FEW} images or more of "
            f"each){part}: the BatchNorm statistics of so few would ruin the others; expected images of two classes or "
            "more that were more than half of the training, or no adaptation"
        )
    weights: Floats = (share / np.maximum(counts, _FEW))[predicted]
    return weights


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


def _nested_inputs(model: Any, layer: Any, batches: Iterable[Any]) -> Iterator[Any]:
    """Give what reaches a layer that is inside of another one, whose graph cannot be cut there."""
    for batch in batches:
        with _noted(layer) as found:
            model(batch, training=False)
        yield found


@contextmanager
def _noted(layer: Any) -> Iterator[list[Any]]:
    """Note what a layer is called with."""
    call, found = layer.call, []

    def noting(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(inputs)
        return call(inputs, *args, **kwargs)

    layer.call = noting
    try:
        yield found
    finally:
        del layer.call  # what lies under it is the method of the class


def _moments(maps: Iterable[Any], weights: Iterable[Floats]) -> tuple[Floats, Floats]:
    """Measure mean and variance of each channel over all images and positions; a map may be several of one batch."""
    total, mean, square = 0.0, np.zeros(()), np.zeros(())
    for found, shares in zip(maps, weights, strict=True):
        for one in found if isinstance(found, list) else [found]:
            values = np.asarray(one, np.float64)
            values = values.reshape(len(shares), -1, values.shape[-1])
            total += shares.sum() * values.shape[1]
            mean = mean + shares @ values.sum(1)
            square = square + shares @ np.square(values).sum(1)
    mean = mean / total
    return mean, np.maximum(square / total - mean**2, 0)
