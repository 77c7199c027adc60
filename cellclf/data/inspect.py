"""Looking at a data set: a summary in words, a sheet of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellclf.sheet import PALETTE, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

_MOST_LISTED = 10


def summary(cells: ImageSet) -> str:
    """Tell in lines what a set holds.

    Args:
        cells: The set; nothing is decoded.

    Returns:
        Counts, sizes, class balance with bars, groups, notices and skipped files.
    """
    lines = [repr(cells)]
    if cells.groups is not None:
        lines.append(f"groups: {len(np.unique(cells.groups)):,} patients or slides")
    if len(cells):
        low, high = cells.sizes.min(0), cells.sizes.max(0)
        if not (low == high).all() or tuple(low) != cells.image_shape[:2]:
            lines.append(f"original sizes: {low[0]}x{low[1]} to {high[0]}x{high[1]} pixels")
    counts = cells.counts()
    if counts:
        most, width = max(counts.values()), max(len(name) for name in counts)
        for name, count in counts.items():
            bar = "█" * max(1, round(24 * count / most)) if count else ""
            lines.append(f"  {name:<{width}}  {count:>7,}  {count / max(1, len(cells)):6.1%}  {bar}")
        fewest = min(counts.values())
        if fewest and most >= 2 * fewest:
            lines.append(f"imbalance: the largest class has {most / fewest:.1f} times the pictures of the smallest")
    lines += [f"note: {notice}" for notice in cells.notices]
    if cells.skipped:
        lines.append(f"skipped: {len(cells.skipped)} files")
        lines += [f"  {skipped.id}: {skipped.reason}" for skipped in cells.skipped[:_MOST_LISTED]]
        if len(cells.skipped) > _MOST_LISTED:
            lines.append(f"  ... and {len(cells.skipped) - _MOST_LISTED} more, all in .skipped")
    return "\n".join(lines)


def plot_counts(counts: dict[str, dict[str, int]], *, title: str) -> Figure:
    """Draw the class balance of one or more sets as bars side by side.

    Args:
        counts: For each set its pictures by class: ``{"before": {"round": 10, ...}, "after": ...}``.
        title: Text above.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for found in counts.values() for name in found))
    figure = Figure(figsize=(7, 0.5 + 0.3 * max(1, len(names)) * (0.6 + 0.4 * len(counts))), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / max(1, len(counts))
    for k, (kind, found) in enumerate(counts.items()):
        places = np.arange(len(names)) + (k - (len(counts) - 1) / 2) * height
        bars = axes.barh(places, [found.get(name, 0) for name in names], height * 0.92, color=PALETTE[k], label=kind)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("pictures")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    if len(counts) > 1:
        axes.legend(frameon=False)
    return figure


def plot(cells: ImageSet, *, per_class: int = 6, seed: int = 0) -> Figure:
    """Draw a sheet of pictures, one row a class, chosen at random.

    Args:
        cells: What to draw.
        per_class: Pictures drawn for each class; without labels, six times as many in all.
        seed: Chooses which.
    """
    rng = np.random.default_rng(seed)
    if cells.labels is None:
        chosen = np.sort(rng.permutation(len(cells))[: 6 * per_class])
        return sheet(cells.read(chosen), title=repr(cells))
    rows, captions = [], []
    pictures = np.full((cells.num_classes * per_class, *cells.image_shape), 255, np.uint8)
    for label, (name, count) in enumerate(cells.counts().items()):
        found = rng.permutation(np.flatnonzero(cells.labels == label))[:per_class]
        rows.append(found)
        pictures[label * per_class : label * per_class + len(found)] = cells.read(found)
        captions += [f"{name} ({count:,})" if k == 0 else "" for k in range(per_class)]
    return sheet(pictures, captions=captions, columns=per_class, title=repr(cells))
