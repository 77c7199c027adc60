"""What tells classes apart besides the cells: the size of the files, their kind, or that one class is grey."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellclf.data.opening import SUFFIXES

_INSIDE, _OUTSIDE = 0.9, 0.1
_LEAST_IMAGES = 5
_MOST_NAMED = 4
_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


class Labelled(Protocol):
    """What is read of an ``ImageSet``."""

    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    ids: NDArray[np.str_]
    sizes: NDArray[np.int64]

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Read the images at these positions."""
        ...


def shortcuts(cells: Labelled, *, limit: int = 256) -> list[str]:
    """Name the classes that nearly all, and nearly no others, have a property that is not one of cells, in a line each.

    A classifier learns what is easiest: of a class whose images are larger files, or grey, it learns that.

    Args:
        cells: The set; without labels there is nothing to find.
        limit: Most images that are read, evenly spread.

    Examples:
        >>> from cellclf.data.image_set import ImageSet
        >>> images = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)
        >>> images[6:] = images[6:, ..., :1]
        >>> shortcuts(ImageSet(images, [0] * 6 + [1] * 6))
        ['nearly all images of 0 are in colour, of 1 are grey, and nearly no others: a classifier can learn that \
instead of the cells']
    """
    if cells.labels is None or not len(cells):
        return []
    found = []
    sizes = [f"{height}x{width} pixels" for height, width in cells.sizes.tolist()]
    found.append(_told_apart(cells.labels, sizes, cells.class_names, "were {}"))
    endings = [os.path.splitext(id_.partition("#")[0])[1].lower() for id_ in cells.ids.tolist()]
    if all(ending in SUFFIXES for ending in endings):
        kinds = ["JPEG" if ending in _JPEG else ending[1:].upper().replace("TIFF", "TIF") for ending in endings]
        found.append(_told_apart(cells.labels, kinds, cells.class_names, "are {} files"))
    rows = np.unique(np.linspace(0, len(cells) - 1, min(limit, len(cells))).astype(int))
    images = cells.read(rows)
    grey = (images[..., 0] == images[..., 1]).all((1, 2)) & (images[..., 1] == images[..., 2]).all((1, 2))
    colours = ["grey" if one else "in colour" for one in grey.tolist()]
    found.append(_told_apart(cells.labels[rows], colours, cells.class_names, "are {}"))
    return [line for line in found if line]


def _told_apart(labels: NDArray[np.int64], values: Sequence[str], names: Sequence[str], words: str) -> str:
    """Say which classes have a value of their own, "" if none has."""
    named, which = np.unique(np.asarray(values), return_inverse=True)
    if len(named) < 2:
        return ""
    table = np.zeros((len(names), len(named)), np.int64)
    np.add.at(table, (labels, which.ravel()), 1)
    own = []
    for k, row in enumerate(table):
        others = table.sum(0) - row
        value = int(row.argmax())
        if row.sum() < _LEAST_IMAGES or others.sum() < _LEAST_IMAGES:
            continue
        if row[value] >= _INSIDE * row.sum() and others[value] <= _OUTSIDE * others.sum():
            own.append(f"{names[k]} {words.format(named[value])}")
    if not own:
        return ""
    some = ", of ".join(own[:_MOST_NAMED]) + (
        f" and of {len(own) - _MOST_NAMED} more" if len(own) > _MOST_NAMED else ""
    )
    return f"nearly all images of {some}, and nearly no others: a classifier can learn that instead of the cells"
