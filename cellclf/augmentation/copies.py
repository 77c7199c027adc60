"""A set with augmented copies of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, Len
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError
from cellclf.utils.progress import track

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

MOST = 10
Strength = Annotated[float, Interval(ge=0, le=MOST)]
Strengths = Annotated[Sequence[Strength], Len(1)]
Copies = Annotated[int, Interval(ge=0, le=1000)]
PerClass = Annotated[int, Interval(ge=1, le=10**7)] | Literal["max"]

BATCH = 1024
"""Images that are read or augmented at a time."""


def with_copies(
    cells: ImageSet,
    augment: Callable[[NDArray[np.uint8], NDArray[Any], float], NDArray[np.uint8]],
    *,
    copies: Copies | None,
    strengths: Strengths,
    per_class: PerClass | None,
) -> ImageSet:
    """Give the images and augmented copies of them.

    Args:
        cells: The images.
        augment: From images, the ids of the copies and one of the strengths to the copies.
        copies: See ``Augmenter.expand``.
        strengths: See ``Augmenter.expand``.
        per_class: See ``Augmenter.expand``.

    Raises:
        OptionError: Both ``copies`` and ``per_class``, or values that cannot be used.
        DataError: ``per_class`` for a set without labels.
    """
    from cellclf.data.image_set import ImageSet

    counts = _counts(cells, copies, len(strengths), per_class)
    parents = np.repeat(np.arange(len(cells)), counts)
    # the number of each copy among those of its original: 0, 1, ... where parents are 0, 0, ..., 1, 1, ...
    number = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
    images = np.empty((len(cells) + len(parents), *cells.image_shape), np.uint8)
    read = 0
    for batch in cells.batches(BATCH):
        images[read : read + len(batch)] = batch
        read += len(batch)
    ids = np.char.add(np.char.add(cells.ids[parents], "@aug"), (number + 1).astype(str))
    work = [
        (strength, rows[start : start + BATCH])
        for place, strength in enumerate(strengths)
        for rows in [np.flatnonzero(number % len(strengths) == place)]
        for start in range(0, len(rows), BATCH)
    ]
    for strength, rows in track(work, label="augmenting", unit="batch"):
        images[len(cells) + rows] = augment(images[parents[rows]], ids[rows], strength)
    everyone = np.concatenate([np.arange(len(cells)), parents])

    def inherited(column: NDArray[np.generic] | None) -> NDArray[np.generic] | None:
        return None if column is None else column[everyone]

    return ImageSet(
        images,
        inherited(cells.labels),
        class_names=cells.class_names,
        ids=np.concatenate([cells.ids, ids]),
        groups=inherited(cells.groups),
        domains=inherited(cells.domains),
        # an original and its copies are duplicates of each other: no split may put them on both sides
        clusters=everyone if cells.clusters is None else inherited(cells.clusters),
        sizes=inherited(cells.sizes),
        notices=(*cells.notices, f"{len(parents):,} augmented copies of {len(cells):,} images were added"),
        skipped=cells.skipped,
    )


def _counts(cells: ImageSet, copies: Copies | None, default: int, per_class: PerClass | None) -> NDArray[np.int64]:
    """Give the number of copies of each image."""
    if per_class is None:
        return np.full(len(cells), default if copies is None else copies, np.int64)
    if copies is not None:
        raise OptionError("copies and per_class are both given; expected one of them")
    if cells.labels is None:
        raise DataError("per_class needs labels, and this set has none; give copies instead")
    sizes = np.bincount(cells.labels, minlength=cells.num_classes)
    target = int(sizes.max()) if per_class == "max" else per_class
    counts = np.zeros(len(cells), np.int64)
    for label, size in enumerate(sizes):
        if size and target > size:
            rows = np.flatnonzero(cells.labels == label)
            counts[rows] = (target - size) // size
            counts[rows[: (target - size) % size]] += 1
    return counts
