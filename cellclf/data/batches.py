"""Batches of images: a tf.data.Dataset, a keras.utils.PyDataset, a list, a generator."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.arrays import IMAGE_KEYS, LABEL_KEYS
from cellclf.data.image_set import ImageSet
from cellclf.data.sources import as_source, check_images
from cellclf.errors import DataError


def from_batches(batches: Any) -> ImageSet:
    """Read all batches, once, into memory.

    Args:
        batches: An iterable, or an indexable with a length, of images, of pairs (images, labels), or of
            dicts with ``image`` and ``label``; each one image or a batch of them.
    """
    count = getattr(batches, "cardinality", None)
    if callable(count) and int(count()) == -1:
        raise DataError("this dataset never ends, so it cannot be loaded; remove .repeat()")
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    notices: dict[str, None] = {}
    brightest = 0.0
    for batch in _elements(batches):
        batch_images, found = _pair(batch)
        if images and batch_images.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"batches hold images of several shapes ({images[0].shape[1:]}, {batch_images.shape[1:]}, ...); "
                "resize them to one first"
            )
        if (
            batch_images.dtype.kind == "f"
            and batch_images.size
            and batch_images.min() >= 0
            and batch_images.max() <= 255
        ):
            notices[f"{batch_images.dtype} images were rounded to whole numbers 0-255"] = None
            brightest = max(brightest, float(batch_images.max()))
            batch_images = batch_images.round().astype(np.uint8)
        elif batch_images.dtype.kind == "f":
            check_images(batch_images)
        images.append(batch_images)
        if found is not None:
            labels.append(found)
    if not images:
        raise DataError(
            "the iterable gave no batch; expected batches of (images, labels): an iterator can be read only once"
        )
    if notices and brightest <= 1:
        raise DataError(f"images are floats within 0-{brightest:g}; expected values 0-255: multiply by 255 first")
    if len({(column.ndim, column.dtype.kind) for column in labels}) > 1:
        raise DataError("batches hold labels of several kinds; expected whole numbers (n,) in every batch")
    source, converted = as_source(np.concatenate(images))
    column = np.concatenate(labels) if labels else None
    names = _class_names(batches) if column is not None and column.ndim == 1 and column.dtype.kind in "iuf" else None
    if names is not None and column is not None and column.max(initial=0) >= len(names):
        names = None
    return ImageSet(source, column, class_names=names, notices=[*notices, *converted])


def _elements(batches: Any) -> Iterator[Any]:
    """Give each batch once; an iterator with a length that begins again at its end is stopped there."""
    if isinstance(batches, Iterable):
        yield from batches if (count := _length(batches)) is None else itertools.islice(batches, count)
    else:
        yield from (batches[k] for k in range(len(batches)))  # keras.utils.PyDataset


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:  # a generator, or a dataset that does not know its length
        return None


def _class_names(batches: Any) -> list[str] | None:
    """Give the class names that Keras keeps beside its batches: a list, or a dict of name -> number."""
    numbers = getattr(batches, "class_indices", None)
    if isinstance(numbers, Mapping) and sorted(numbers.values()) == list(range(len(numbers))):
        return [str(name) for name in sorted(numbers, key=lambda name: numbers[name])]
    names = getattr(batches, "class_names", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _pair(batch: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Take images and labels out of one element; a single image becomes a batch of one."""
    labels: Any = None
    if isinstance(batch, Mapping):
        image_key = next((key for key in IMAGE_KEYS if key in batch), None)
        if image_key is None:
            raise DataError(f"batches hold {', '.join(map(str, batch)) or 'nothing'}; expected 'image' and 'label'")
        images = batch[image_key]
        labels = next((batch[key] for key in LABEL_KEYS if key in batch), None)
    elif isinstance(batch, tuple | list) and len(batch) in (2, 3):  # a third one weighs the images
        images, labels = batch[0], batch[1]
    else:
        images = batch[0] if isinstance(batch, tuple | list) and len(batch) == 1 else batch
    array = np.asarray(images)
    single = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    if array.ndim not in (3, 4):
        raise DataError(
            f"batches hold arrays of shape {array.shape} and dtype {array.dtype}; expected images "
            "(n, height, width, 3), alone or first in a pair with the labels"
        )
    array = array[None] if single else array
    if labels is None:
        return array, None
    column = np.atleast_1d(np.asarray(labels))
    if single and column.shape != (1,):  # one-hot: refused later, with the fix
        column = column[None]
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if len(column) != len(array):
        raise DataError(f"a batch holds {len(column)} labels for {len(array)} images; expected one for each image")
    return array, column
