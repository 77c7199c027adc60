"""Write augmented data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError
from cellclf.utils.progress import track

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter
    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True, kw_only=True)
class Expand:
    """Write an augmented training set; the arguments of ``Augmenter.expand``.

    Args:
        preset: Name of the augmenter.
        copies: Copies of each image; None makes one for each strength.
        strengths: The first copy has the first strength, and so on.
        per_class: Instead of copies: fill every class up to this many images, or ``"max"``.
        seed: Of the augmentation.
    """

    preset: str = "report"
    copies: int | None = None
    strengths: tuple[float, ...] = (1.0,)
    per_class: int | str | None = None
    seed: int = 0

    def augmenter(self) -> Augmenter:
        """Make the augmenter that is used."""
        from cellclf.augmentation.augmenter import Augmenter

        return Augmenter.preset(self.preset, seed=self.seed)

    def check(self, cells: ImageSet) -> None:
        """Raise UnknownNameError or OptionError for values that cannot be used, without augmenting anything."""
        self.apply(cells.subset([]))

    def apply(self, cells: ImageSet) -> ImageSet:
        """Give the images and their augmented copies."""
        return self.augmenter().expand(cells, copies=self.copies, strengths=self.strengths, per_class=self.per_class)


def expand(
    augmenter: Augmenter,
    cells: ImageSet,
    *,
    copies: int | None,
    strengths: Sequence[float],
    per_class: int | str | None,
) -> ImageSet:
    """Do what `Augmenter.expand` says."""
    from cellclf.data.image_set import ImageSet

    strengths = tuple(strengths)
    if not strengths or any(isinstance(s, bool) or not isinstance(s, int | float) or s < 0 for s in strengths):
        raise OptionError(f"strengths is {strengths!r}; expected one or more numbers from 0 up")
    augmenter.check(cells.image_shape)
    wanted = _copies(cells, copies, len(strengths), per_class)
    parents = np.repeat(np.arange(len(cells)), wanted)
    # the how-manieth copy of its original each one is
    turn = np.arange(len(parents)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    images = np.empty((len(cells) + len(parents), *cells.image_shape), np.uint8)
    at = 0
    for batch in cells.batches(1024, show=False):
        images[at : at + len(batch)] = batch
        at += len(batch)
    ids = np.char.add(np.char.add(cells.ids[parents], "@aug"), (turn + 1).astype(str))
    size = 1024
    work = [
        (number, rows[start : start + size])
        for number in range(len(strengths))
        for rows in [np.flatnonzero(turn % len(strengths) == number)]
        for start in range(0, len(rows), size)
    ]
    for number, rows in track(work, label="augmenting", unit="batch"):
        stronger = augmenter.replace(strength=augmenter.strength * strengths[number])
        images[len(cells) + rows] = stronger(images[parents[rows]], ids[rows])
    everyone = np.concatenate([np.arange(len(cells)), parents])

    def inherited(column: NDArray[np.generic] | None) -> NDArray[np.generic] | None:
        return None if column is None else column[everyone]

    return ImageSet(
        images,
        inherited(cells.labels),
        class_names=cells.class_names,
        ids=np.concatenate([cells.ids, ids]),
        groups=inherited(cells.groups),
        clusters=everyone if cells.clusters is None else inherited(cells.clusters),
        sizes=inherited(cells.sizes),
        notices=(*cells.notices, f"{len(parents):,} augmented copies of {len(cells):,} images were added"),
        skipped=cells.skipped,
    )


def _copies(cells: ImageSet, copies: int | None, default: int, per_class: int | str | None) -> NDArray[np.int64]:
    """Give how many copies each image gets."""
    if per_class is None:
        count = default if copies is None else copies
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise OptionError(f"copies is {count!r}; expected a whole number from 0 up")
        return np.full(len(cells), count, np.int64)
    if copies is not None:
        raise OptionError("copies and per_class are both given; expected one of them")
    if cells.labels is None:
        raise DataError("per_class needs labels, and this set has none; give copies instead")
    counts = np.bincount(cells.labels, minlength=cells.num_classes)
    target = int(counts.max()) if per_class == "max" else per_class
    if isinstance(target, bool) or not isinstance(target, int) or target < 1:
        raise OptionError(f"per_class is {per_class!r}; expected a whole number from 1 up, or 'max'")
    wanted = np.zeros(len(cells), np.int64)
    for label, count in enumerate(counts):
        if count and target > count:
            rows = np.flatnonzero(cells.labels == label)
            wanted[rows] = (target - count) // count
            wanted[rows[: (target - count) % count]] += 1
    return wanted
