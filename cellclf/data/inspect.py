"""Looking at a data set: a summary in words, a sheet of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellclf.utils.contact_sheet import PALETTE, drawable, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

_MOST_LISTED = 10
_MOST_ROWS = 40


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
    lines += [f"note: {notice}" for notice in cells.notices]
    if cells.skipped:
        lines.append(f"skipped: {len(cells.skipped):,}")
        lines += [f"  {skipped.id}: {skipped.reason}" for skipped in cells.skipped[:_MOST_LISTED]]
        if len(cells.skipped) > _MOST_LISTED:
            lines.append(f"  ... and {len(cells.skipped) - _MOST_LISTED:,} more, all in .skipped")
    return "\n".join(lines)


def _sizes(cells: ImageSet) -> list[str]:
    if not len(cells):
        return []
    low, high = cells.sizes.min(0), cells.sizes.max(0)
    if (low == high).all():
        same = tuple(low) == cells.image_shape[:2]
        return [] if same else [f"original size: {low[0]}x{low[1]} pixels"]
    return [f"original sizes: heights {low[0]} to {high[0]}, widths {low[1]} to {high[1]} pixels"]


def _balance(counts: dict[str, int]) -> list[str]:
    if len(counts) == 1:
        return ["one class only: there is nothing to tell apart"]
    lines = []
    for times, what in ((0, "no image"), (1, "a single image, which cannot be in train and val both")):
        names = [name for name, count in counts.items() if count == times]
        if names:
            lines.append(f"{what}: {', '.join(names)}")
    present = [count for count in counts.values() if count]
    if present and max(present) >= 2 * min(present):
        times_more = max(present) / min(present)
        lines.append(f"imbalance: the largest class has {times_more:.1f} times the images of the smallest")
    return lines


def plot_counts(counts: dict[str, dict[str, int]], *, title: str) -> Figure:
    """Draw the class balance of one or more sets as bars side by side.

    Args:
        counts: For each set its images by class: ``{"before": {"round": 10, ...}, "after": ...}``.
        title: Text above.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for found in counts.values() for name in found))
    figure = Figure(figsize=(7, 0.5 + 0.3 * max(1, len(names)) * (0.6 + 0.4 * len(counts))), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / max(1, len(counts))
    for k, (kind, found) in enumerate(counts.items()):
        places = np.arange(len(names)) + (k - (len(counts) - 1) / 2) * height
        bars = axes.barh(
            places, [found.get(name, 0) for name in names], height * 0.92, color=PALETTE[k % len(PALETTE)], label=kind
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), [drawable(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("images")
    axes.set_title(drawable(title))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    if len(counts) > 1:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot(cells: ImageSet, *, per_class: int = 6, seed: int = 0) -> Figure:
    """Draw the class balance beside a sheet of images, one row a class, chosen at random.

    Args:
        cells: What to draw.
        per_class: Images drawn for each class; without labels, six times as many in all.
        seed: Chooses which.
    """
    rng = np.random.default_rng(seed)
    title = "\n".join([repr(cells), *_sizes(cells)])
    if cells.labels is None or not cells.num_classes:
        chosen = np.sort(rng.permutation(len(cells))[: 6 * per_class])
        return sheet(cells.read(chosen), title=repr(cells))
    counts = cells.counts()
    shown = sorted(counts, key=lambda name: -counts[name])[:_MOST_ROWS]
    rows = [(label, name) for label, name in enumerate(counts) if name in set(shown)]
    if len(rows) < len(counts):
        title += f"\nthe {len(rows)} largest of {len(counts):,} classes"
    return _rows_of_images(cells, rows, per_class, title, rng)


def _rows_of_images(
    cells: ImageSet, rows: list[tuple[int, str]], per_class: int, title: str, rng: np.random.Generator
) -> Figure:
    from matplotlib.figure import Figure

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
        share = f" {counts[name]:,} ({counts[name] / max(1, len(cells)):.1%})"
        bars.text(counts[name], row + 0.05, share, fontsize=7, va="center")
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
