"""The results of ``Dedup``: groups, pairs, and which images are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hashes import TURNS
from cellclf.cleaning.dedup.verify import Pairs
from cellclf.cleaning.selection import Selection, spread
from cellclf.errors import DataError
from cellclf.utils.csv_tables import write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

COLUMNS = {
    "first": "text",
    "second": "text",
    "kind": "text",
    "turn": "text",
    "change": "text",
    "similarity": "number",
    "distance": "whole",
    "first_label": "text",
    "second_label": "text",
}
"""Columns of a table of pairs, and what they hold."""

ONE_KEPT, CONFLICT, TOO_MANY = "one kept", "conflicting labels", "too many copies"
SHARED_BACKGROUND = "shared background"


@dataclass(frozen=True)
class Group:
    """Images that show the same.

    Args:
        members: Their positions in the set, the keeper first.
        kinds: How each member is a copy of the keeper: "keeper", "identical", "re-encoded", "turned", "augmented",
            "foreground", "background", or the name of the hash.
        decision: "one kept"; or why all are removed: "conflicting labels", "too many copies", "shared background"
            (different cells on one background).
        labels: The class names found in it, each once.
    """

    members: tuple[int, ...]
    kinds: tuple[str, ...]
    decision: str
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, eq=False, repr=False)
class DedupResult(Selection):
    """Groups of duplicates of one set, their pairs, and which images are kept.

    Args:
        ids: (N,) str.
        keep: (N,) bool.
        reasons: (N,) str.
        groups: Every group of two or more; the largest first.
        pairs: Each copy with the keeper of its group.
        near: Pairs that look very much alike and are still not one image: mostly one cell photographed twice; and, with
            ``Dedup(augmented="cluster")``, augmented copies. Both are kept, in one cluster.
        clusters: (N,) int64; images of one number must not be split across parts.
        names: (N,) class name of each image, "" without labels.

    Examples:
        >>> from cellclf import Dedup, ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        >>> images[2] = images[0, :, ::-1]
        >>> found = Dedup().find(ImageSet(images))
        >>> found.keep
        array([ True,  True, False])
        >>> found.reasons[2]
        np.str_('turned: copy of 0, mirrored')
    """

    groups: tuple[Group, ...] = field(kw_only=True)
    pairs: Pairs = field(kw_only=True, repr=False)
    near: Pairs = field(kw_only=True, repr=False)
    clusters: NDArray[np.int64] = field(kw_only=True, repr=False)
    names: NDArray[np.str_] = field(kw_only=True, repr=False)

    @property
    def conflicts(self) -> tuple[Group, ...]:
        """The groups whose members carry different labels."""
        return tuple(group for group in self.groups if group.decision == CONFLICT)

    def summary(self) -> str:
        """Give in a few lines how many images are removed and why, and which look alike but are kept."""
        lines = [super().summary()]
        decisions = Counter(group.decision for group in self.groups)
        if decisions:
            counts = ", ".join(f"{decision} ({n:,})" for decision, n in decisions.most_common())
            lines.append(f"{len(self.groups):,} groups: {counts}")
        tied = int(np.count_nonzero(self.near.kind == "augmented"))
        alike = len(self.near) - tied
        if alike:
            lines.append(
                f"{alike:,} {'pair looks' if alike == 1 else 'pairs look'} alike and "
                f"{'is' if alike == 1 else 'are'} kept: one cell photographed twice? See .near"
            )
        if tied:
            one, two = self.names[self.near.first], self.names[self.near.second]
            torn = int(np.count_nonzero((self.near.kind == "augmented") & (one != two)))
            lines.append(
                f"{tied:,} {'pair is' if tied == 1 else 'pairs are'} augmented copies and kept in one cluster, which "
                "is never split across parts" + (f"; {torn:,} of them with different labels" if torn else "")
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give groups, pairs and removed images as plain data that JSON can hold."""
        return {
            **super().to_dict(),
            "groups": [
                {
                    "members": self.ids[list(group.members)].tolist(),
                    "kinds": list(group.kinds),
                    "decision": group.decision,
                    "labels": list(group.labels),
                }
                for group in self.groups
            ],
            "pairs": list(self.rows()),
            "near": list(self.rows(self.near)),
        }

    def rows(self, pairs: Pairs | None = None) -> Iterator[dict[str, Any]]:
        """Give the pairs, or others of this result such as ``near``, one dict each, with ids and labels."""
        yield from _rows(self.pairs if pairs is None else pairs, self.ids, self.ids, self.names, self.names)

    def save_pairs(self, path: str | Path) -> Path:
        """Write the pairs as a table: CSV, or Parquet where pyarrow is installed.

        Args:
            path: Ends in ".csv" or ".parquet".

        Raises:
            OptionError: Another ending.
            MissingPackageError: Parquet without pyarrow.
        """
        return write_table(path, COLUMNS, self.rows(), what="pairs")

    def apply(self, cells: ImageSet) -> ImageSet:
        """Return the set without the removed images, and with the clusters written into it.

        Args:
            cells: The set that was searched, or one with the same ids in the same order.

        Raises:
            DataError: ``cells`` has other ids, or a class would lose more than its limit allows.
        """
        return super().apply(cells.replace(clusters=self.clusters) if len(cells) == len(self) else cells)

    def plot(self, limit: int = 8) -> Figure:
        """Show the largest groups, one a row, the keeper first.

        Args:
            limit: Most groups shown.

        Raises:
            DataError: The result has no images (it comes from an index).
        """
        return _rows_of_images(self, limit)


@dataclass(frozen=True, eq=False, repr=False)
class LeakResult(Selection):
    """Images of a training set that are in a test set, too; ``apply`` removes them from the training set.

    Args:
        ids: (N,) str of the training set.
        keep: (N,) bool, False for images that are also in the test set.
        reasons: (N,) str.
        pairs: ``first`` is a position in the training set, ``second`` one in the test set.
        near: Pairs that look very much alike and are still not one image.
        names: (N,) class name of each training image, "" without labels.
        other_ids: (M,) str of the test set.
        other_names: (M,) class name of each test image.
        searched: Which copies the search finds, and which it does not; "" for a hash.

    Examples:
        >>> from cellclf import Dedup, ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> train, test = ImageSet(images[:3]), ImageSet(images[2:])
        >>> print(Dedup().find(train, against=test).summary())  # doctest: +ELLIPSIS
        1 of 3 training images is also among the 2 test images: 1 pair
          1  identical
        searched: identical, re-encoded, ...
    """

    pairs: Pairs = field(kw_only=True, repr=False)
    near: Pairs = field(kw_only=True, repr=False)
    names: NDArray[np.str_] = field(kw_only=True, repr=False)
    other_ids: NDArray[np.str_] = field(kw_only=True, repr=False)
    other_names: NDArray[np.str_] = field(kw_only=True, repr=False)
    searched: str = field(default="", kw_only=True, repr=False)

    @property
    def conflicts(self) -> Pairs:
        """The pairs whose two images carry different labels."""
        one, two = self.names[self.pairs.first], self.other_names[self.pairs.second]
        return self.pairs[(one != two) & (one != "") & (two != "")]

    def summary(self) -> str:
        """Give in a few lines how many images leak, and how."""
        leaked, count = self.removed, len(self.pairs)
        lines = [
            f"{leaked} of {len(self)} training images {'is' if leaked == 1 else 'are'} also among the "
            f"{len(self.other_ids)} test images: {count} {'pair' if count == 1 else 'pairs'}"
        ]
        kinds = Counter(self.pairs.kind.tolist())
        lines += [f"  {n}  {kind}" for kind, n in kinds.most_common()]
        if len(self.conflicts):
            lines.append(f"{len(self.conflicts)} of them under another label")
        if len(self.near):
            lines.append(f"{len(self.near)} more look alike: one cell photographed twice? See .near")
        return "\n".join([*lines, *self.lost(), *([f"searched: {self.searched}"] if self.searched else [])])

    def to_dict(self) -> dict[str, Any]:
        """Give the pairs as plain data that JSON can hold."""
        return {
            **super().to_dict(),
            "against": len(self.other_ids),
            "searched": self.searched,
            "pairs": list(self.rows()),
            "near": list(self.rows(self.near)),
        }

    def rows(self, pairs: Pairs | None = None) -> Iterator[dict[str, Any]]:
        """Give the pairs, or others of this result such as ``near``, one dict each, with ids and labels."""
        pairs = self.pairs if pairs is None else pairs
        yield from _rows(pairs, self.ids, self.other_ids, self.names, self.other_names)

    def save_pairs(self, path: str | Path) -> Path:
        """Write the pairs as CSV or Parquet; see ``DedupResult.save_pairs``."""
        return write_table(path, COLUMNS, self.rows(), what="pairs")


def _rows(
    pairs: Pairs,
    ids: NDArray[np.str_],
    other_ids: NDArray[np.str_],
    names: NDArray[np.str_],
    other_names: NDArray[np.str_],
) -> Iterator[dict[str, Any]]:
    columns = (
        ids[pairs.first],
        other_ids[pairs.second],
        pairs.kind,
        np.array(TURNS)[pairs.turn],
        pairs.changes,
        pairs.similarity.astype(float).round(4),
        pairs.distance,
        names[pairs.first],
        other_names[pairs.second],
    )
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield dict(zip(COLUMNS, values, strict=True))


def _rows_of_images(found: DedupResult, limit: int) -> Figure:
    from cellclf.utils.contact_sheet import sheet

    if found.cells is None:
        raise DataError("this result has no images to show; call find on a set instead")
    shown = found.groups[:limit]
    width = max(2, min(6, max((len(group) for group in shown), default=2)))
    height, across, _ = found.cells.image_shape
    images = np.full((len(shown) * width, height, across, 3), 255, np.uint8)
    captions = [""] * len(images)
    for row, group in enumerate(shown):
        places = spread(len(group), width)
        members = np.array(group.members)[places]
        images[row * width : row * width + len(members)] = found.cells.read(members)
        for column, (place, member) in enumerate(zip(places, members, strict=True)):
            captions[row * width + column] = f"{group.kinds[place]} {found.names[member]}".strip()
        captions[row * width] = f"{len(group)} x {group.decision}"
    title = f"{len(found.groups)} groups of copies" + (
        f"; the {len(shown)} largest" if len(shown) < len(found.groups) else ""
    )
    return sheet(images, captions=captions, columns=width, title=title)
