"""What ``Dedup`` gives back: groups, pairs, and which images stay."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hashes import TURNS
from cellclf.cleaning.dedup.verify import Links
from cellclf.cleaning.selection import Selection, spread
from cellclf.errors import DataError, MissingPackageError, OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

COLUMNS = ("first", "second", "kind", "turn", "similarity", "distance", "first_label", "second_label")


@dataclass(frozen=True)
class Group:
    """Images that show the same.

    Args:
        members: Their places in the set, the keeper first.
        kinds: What ties each member to the keeper: "keeper", "identical", "re-encoded", "turned", "foreground",
            "background", or the name of the hash.
        verdict: "one stays"; or why all go: "conflict" (labels disagree), "crowd" (too many copies),
            "contamination" (different cells on one foreign background).
        labels: The class names found in it, each once.
    """

    members: tuple[int, ...]
    kinds: tuple[str, ...]
    verdict: str
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, eq=False)
class DedupResult(Selection):
    """Groups of duplicates of one set, what ties them together, and what stays.

    Args:
        ids: (N,) str.
        keep: (N,) bool.
        reasons: (N,) str.
        groups: Every group of two or more; the largest first.
        pairs: Each copy with the keeper of its group.
        near: Pairs that look very much alike and are still not one image: mostly one cell photographed twice.
            Both stay, in one cluster.
        clusters: (N,) int64; images of one number must not be cut apart by a split.
        names: (N,) class name of each image, "" without labels.

    Examples:
        >>> from cellclf import Dedup, ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        >>> images[2] = images[0, :, ::-1]
        >>> found = Dedup().find(ImageSet(images))
        >>> found.keep
        array([ True,  True, False])
        >>> found.reasons[2]
        np.str_('turned: 0, mirrored')
    """

    groups: tuple[Group, ...] = field(kw_only=True)
    pairs: Links = field(kw_only=True, repr=False)
    near: Links = field(kw_only=True, repr=False)
    clusters: NDArray[np.int64] = field(kw_only=True, repr=False)
    names: NDArray[np.str_] = field(kw_only=True, repr=False)

    @property
    def conflicts(self) -> tuple[Group, ...]:
        """The groups whose members carry different labels."""
        return tuple(group for group in self.groups if group.verdict == "conflict")

    def summary(self) -> str:
        """Say in some lines how many images go and why, and what looks alike but stays."""
        lines = [super().summary()]
        verdicts = Counter(group.verdict for group in self.groups)
        if verdicts:
            lines.append(f"{len(self.groups):,} groups: " + ", ".join(f"{n:,} {v}" for v, n in verdicts.most_common()))
        if len(self.near):
            lines.append(
                f"{len(self.near)} {'pair looks' if len(self.near) == 1 else 'pairs look'} alike and "
                f"{'stays' if len(self.near) == 1 else 'stay'}: one cell photographed twice? See .near"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give groups, pairs and what goes as plain data that JSON can hold."""
        return {
            **super().to_dict(),
            "groups": [
                {
                    "members": self.ids[list(group.members)].tolist(),
                    "kinds": list(group.kinds),
                    "verdict": group.verdict,
                    "labels": list(group.labels),
                }
                for group in self.groups
            ],
            "pairs": list(self.rows()),
            "near": list(self.rows(self.near)),
        }

    def rows(self, links: Links | None = None) -> Iterator[dict[str, Any]]:
        """Give the pairs, or other links of this result, one dict each, with ids and labels."""
        yield from _rows(self.pairs if links is None else links, self.ids, self.ids, self.names, self.names)

    def save_pairs(self, path: str | Path) -> Path:
        """Write the pairs as a table: CSV, or Parquet where pyarrow is installed.

        Args:
            path: Ends in ".csv" or ".parquet".

        Raises:
            OptionError: Another ending.
            MissingPackageError: Parquet without pyarrow.
        """
        return save_rows(self.rows(), Path(path))

    def apply(self, cells: ImageSet) -> ImageSet:
        """Return the set without what goes, and with the clusters written into it.

        Args:
            cells: The set that was searched, or one with the same ids in the same order.

        Raises:
            DataError: ``cells`` has other ids.
        """
        self.check(cells)
        return cells.replace(clusters=self.clusters).subset(self.keep)

    def plot(self, limit: int = 8) -> Figure:
        """Show the largest groups, one a row, the keeper first.

        Args:
            limit: At most so many groups.

        Raises:
            DataError: The result does not know its images (it comes from an index).
        """
        return _rows_of_images(self, limit)


@dataclass(frozen=True, eq=False)
class LeakResult(Selection):
    """Images of a training set that are in a test set, too; ``apply`` takes them out of the training set.

    Args:
        ids: (N,) str of the training set.
        keep: (N,) bool, False for what is also in the test set.
        reasons: (N,) str.
        pairs: ``first`` is a place in the training set, ``second`` one in the test set.
        near: Pairs that look very much alike and are still not one image.
        names: (N,) class name of each training image, "" without labels.
        other_ids: (M,) str of the test set.
        other_names: (M,) class name of each test image.

    Examples:
        >>> from cellclf import Dedup, ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> train, test = ImageSet(images[:3]), ImageSet(images[2:])
        >>> print(Dedup().find(train, against=test).summary())
        1 of 3 training images is also among the 2 test images: 1 pair
          1  identical
    """

    pairs: Links = field(kw_only=True, repr=False)
    near: Links = field(kw_only=True, repr=False)
    names: NDArray[np.str_] = field(kw_only=True, repr=False)
    other_ids: NDArray[np.str_] = field(kw_only=True, repr=False)
    other_names: NDArray[np.str_] = field(kw_only=True, repr=False)

    @property
    def conflicts(self) -> Links:
        """The pairs whose two images carry different labels."""
        one, two = self.names[self.pairs.first], self.other_names[self.pairs.second]
        return self.pairs[(one != two) & (one != "") & (two != "")]

    def summary(self) -> str:
        """Say in some lines how many images leak, and how."""
        gone, count = self.dropped, len(self.pairs)
        lines = [
            f"{gone} of {len(self)} training images {'is' if gone == 1 else 'are'} also among the "
            f"{len(self.other_ids)} test images: {count} {'pair' if count == 1 else 'pairs'}"
        ]
        kinds = Counter(self.pairs.kind.tolist())
        lines += [f"  {n}  {kind}" for kind, n in kinds.most_common()]
        if len(self.conflicts):
            lines.append(f"{len(self.conflicts)} of them under another label")
        if len(self.near):
            lines.append(f"{len(self.near)} more look alike: one cell photographed twice? See .near")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give the pairs as plain data that JSON can hold."""
        return {
            **super().to_dict(),
            "against": len(self.other_ids),
            "pairs": list(self.rows()),
            "near": list(self.rows(self.near)),
        }

    def rows(self, links: Links | None = None) -> Iterator[dict[str, Any]]:
        """Give the pairs, or other links of this result, one dict each, with ids and labels."""
        links = self.pairs if links is None else links
        yield from _rows(links, self.ids, self.other_ids, self.names, self.other_names)

    def save_pairs(self, path: str | Path) -> Path:
        """Write the pairs as CSV or Parquet; see ``DedupResult.save_pairs``."""
        return save_rows(self.rows(), Path(path))


def _rows(
    links: Links,
    ids: NDArray[np.str_],
    other_ids: NDArray[np.str_],
    names: NDArray[np.str_],
    other_names: NDArray[np.str_],
) -> Iterator[dict[str, Any]]:
    columns = (
        ids[links.first],
        other_ids[links.second],
        links.kind,
        np.array(TURNS)[links.turn],
        links.similarity.astype(float).round(4),
        links.distance,
        names[links.first],
        other_names[links.second],
    )
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield dict(zip(COLUMNS, values, strict=True))


def check_table(path: Path) -> None:
    """Refuse a table that cannot be written, before any image is read.

    Args:
        path: Where pairs shall go.

    Raises:
        OptionError: The name ends neither in ".csv" nor in ".parquet".
        MissingPackageError: Parquet without pyarrow.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise OptionError(f"pairs cannot be written to {path.name!r}; expected a name ending in .csv or .parquet")
    if path.suffix.lower() == ".parquet":
        try:
            importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise MissingPackageError(
                f"writing {path.name} needs pyarrow: pip install pyarrow, or write .csv"
            ) from None


def save_rows(rows: Iterator[dict[str, Any]], path: Path) -> Path:
    """Write pairs as a table, whole or not at all.

    Args:
        rows: Dicts with the names of ``COLUMNS``.
        path: Ends in ".csv" or ".parquet".
    """
    from cellclf.utils.atomic import replacing

    check_table(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        numbers = {"similarity": pa.float64(), "distance": pa.int64()}
        schema = pa.schema([(name, numbers.get(name, pa.string())) for name in COLUMNS])
        with replacing(path) as new:
            pq.write_table(pa.Table.from_pylist(list(rows), schema), new)
        return path
    import csv

    with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _rows_of_images(found: DedupResult, limit: int) -> Figure:
    from cellclf.utils.contact_sheet import sheet

    if found.cells is None:
        raise DataError("this result does not know its images; call find on the set to look at them")
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
        captions[row * width] = f"{len(group)} x {group.verdict}"
    title = f"{len(found.groups)} groups of copies" + (
        f"; the {len(shown)} largest" if len(shown) < len(found.groups) else ""
    )
    return sheet(images, captions=captions, columns=width, title=title)
