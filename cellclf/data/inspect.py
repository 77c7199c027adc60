"""Inspecting a data set: a summary in words, a figure of the class balance with images."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellclf.data.looks import odd_looks
from cellclf.data.shortcuts import shortcuts
from cellclf.data.spelling import differing
from cellclf.utils.contact_sheet import PALETTE, drawable, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LISTED = 10
_MOST_ROWS = 40


class Inspected(Sized, Protocol):
    """What is read of an ``ImageSet``, which itself calls this module."""

    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_] | None
    domains: NDArray[np.str_] | None
    clusters: NDArray[np.int64] | None
    sizes: NDArray[np.int64]
    notices: tuple[str, ...]
    skipped: tuple[Any, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        ...

    def counts(self) -> dict[str, int]:
        """Count the images of each class."""
        ...

    def read(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Read the images at these positions."""
        ...


def summary(cells: Inspected) -> str:
    """Describe in a few lines what a set holds.

    Args:
        cells: The set; some of its images are read.

    Returns:
        Counts, sizes, class balance with bars, groups, odd looks, notices and skipped files.
    """
    lines = [repr(cells)]
    if cells.groups is not None:
        lines.append(_groups(cells.groups))
    if cells.domains is not None:
        named, sizes = np.unique(cells.domains, return_counts=True)
        some = [f"{name} ({n:,})" for name, n in zip(named.tolist(), sizes.tolist(), strict=True)]
        lines.append(f"domains: {', '.join(some[:_MOST_LISTED])}{', ...' if len(some) > _MOST_LISTED else ''}")
    if cells.clusters is not None:
        copies = len(cells) - len(np.unique(cells.clusters))
        lines.append(f"clusters: {copies:,} {'image duplicates' if copies == 1 else 'images duplicate'} another one")
    lines += _sizes(cells)
    counts = cells.counts()
    if counts:
        most, width = max(counts.values()), max(len(name) for name in counts)
        for name, count in counts.items():
            bar = "█" * max(1, round(24 * count / most)) if count else ""
            lines.append(f"  {name:<{width}}  {count:>7,}  {count / max(1, len(cells)):6.1%}  {bar}".rstrip())
    lines += _balance(counts)
    noticed = (*cells.notices, *class_gaps(cells), *_looks(cells), *shortcuts(cells))
    lines += [f"note: {notice}" for notice in noticed]
    if cells.skipped:
        lines.append(f"skipped: {len(cells.skipped):,}")
        lines += [f"  {skipped.id}: {skipped.reason}" for skipped in cells.skipped[:_MOST_LISTED]]
        if len(cells.skipped) > _MOST_LISTED:
            lines.append(f"  ... and {len(cells.skipped) - _MOST_LISTED:,} more, all in .skipped")
    return "\n".join(lines)


def class_gaps(cells: Inspected) -> list[str]:
    """Name the classes that a domain lacks, in one line; nothing where a notice of the set does so already.

    Args:
        cells: The set; without domains or labels there is nothing to name.
    """
    if cells.domains is None or cells.labels is None:
        return []
    counts = {
        str(domain): np.bincount(cells.labels[cells.domains == domain], minlength=len(cells.class_names))
        for domain in dict.fromkeys(cells.domains.tolist())
    }
    text = differing(cells.class_names, counts)
    return [text] if text and text not in cells.notices else []


def _looks(cells: Inspected) -> list[str]:
    return odd_looks(cells, known=cells.notices, copies=True)


def _groups(groups: NDArray[np.str_]) -> str:
    """Count patients or slides, and say where they keep nothing together, or everything."""
    count = len(np.unique(groups))
    if count == 1 and len(groups) > 1:
        return "groups: all images are of one patient or slide, so no part can be split off"
    alone = ", each of one image: they keep nothing together" if count == len(groups) and count > 1 else ""
    return f"groups: {count:,} patients or slides{alone}"


def _sizes(cells: Inspected) -> list[str]:
    if not len(cells):
        return []
    low, high = cells.sizes.min(0), cells.sizes.max(0)
    if (low == high).all():
        same = tuple(low) == cells.image_shape[:2]
        return [] if same else [f"original size: {low[0]}x{low[1]} pixels"]
    return [f"original sizes: heights {low[0]} to {high[0]}, widths {low[1]} to {high[1]} pixels"]


def rare_classes(counts: dict[str, int], *, least: int = 1) -> list[str]:
    """Name the classes of one image, or of none, in one line each.

    Args:
        counts: Class -> images.
        least: 1 names those of one image; 0 those of none, too.

    Examples:
        >>> rare_classes({"band": 1, "blast": 7})
        ['a single image, which cannot be in both train and val: band']
    """
    lines = []
    for times, what in ((0, "no image"), (1, "a single image, which cannot be in both train and val")):
        names = [name for name, count in counts.items() if count == times and times >= least]
        if names:
            some = ", ".join(names[:_MOST_LISTED]) + (
                f" and {len(names) - _MOST_LISTED:,} more" * (len(names) > _MOST_LISTED)
            )
            lines.append(f"{what}: {some}")
    return lines


def _balance(counts: dict[str, int]) -> list[str]:
    if len(counts) == 1:
        return ["one class only: there is nothing to classify"]
    lines = rare_classes(counts, least=0)
    present = [count for count in counts.values() if count]
    if present and max(present) >= 2 * min(present):
        times_more = max(present) / min(present)
        lines.append(f"imbalance: the largest class has {times_more:.1f} times the images of the smallest")
    return lines


def plot(cells: Inspected, *, per_class: int = 6, seed: int = 0) -> Figure:
    """Draw the class balance beside a sheet of images, one row a class, chosen at random.

    Args:
        cells: What to draw.
        per_class: Images drawn for each class; without labels, six times as many in all.
        seed: Chooses which.
    """
    rng = np.random.default_rng(seed)
    title = "\n".join([repr(cells), *_sizes(cells)])
    if cells.labels is None or not cells.class_names:
        chosen = np.sort(rng.permutation(len(cells))[: 6 * per_class])
        return sheet(cells.read(chosen), title=repr(cells))
    counts = cells.counts()
    shown = sorted(counts, key=lambda name: -counts[name])[:_MOST_ROWS]
    rows = [(label, name) for label, name in enumerate(counts) if name in set(shown)]
    if len(rows) < len(counts):
        title += f"\nthe {len(rows)} largest of {len(counts):,} classes"
    return _rows_of_images(cells, rows, per_class, title, rng)


def _rows_of_images(
    cells: Inspected, rows: list[tuple[int, str]], per_class: int, title: str, rng: np.random.Generator
) -> Figure:
    from cellclf.utils.figure import Figure

    counts = cells.counts()
    longest = max(len(name) for _, name in rows)
    left, side, head = min(4.0, max(2.1, 0.08 * longest + 0.3)), 1.0, 0.2 + 0.2 * (title.count("\n") + 1)
    width, height = left + per_class * side, len(rows) * side + head
    figure = Figure(figsize=(width, height), dpi=110)
    bars = figure.add_axes((0.1 / width, 0, (left - 0.3) / width, len(rows) * side / height))
    bars.set_axis_off()
    bars.set_xlim(0, max(1, *counts.values()) * (left - 0.3) / (left - 1.2))  # 0.9 inches for the number beside
    bars.set_ylim(len(rows) - 0.5, -0.5)
    for row, (label, name) in enumerate(rows):
        bars.text(0, row - 0.08, drawable(name), fontsize=9, va="bottom")
        bars.barh(row + 0.05, counts[name], 0.16, color=PALETTE[0])
        text = f" {counts[name]:,} ({counts[name] / max(1, len(cells)):.1%})"
        bars.text(counts[name], row + 0.05, text, fontsize=7, va="center")
        found = rng.permutation(np.flatnonzero(cells.labels == label))[:per_class]
        for column, image in enumerate(cells.read(found)):
            place = (left + column * side, height - head - (row + 1) * side)
            axes = figure.add_axes(
                ((place[0] + 0.03) / width, (place[1] + 0.03) / height, 0.94 * side / width, 0.94 * side / height)
            )
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
    figure.suptitle(drawable(title), fontsize=10, y=1 - 0.1 / height, va="top")
    return figure
