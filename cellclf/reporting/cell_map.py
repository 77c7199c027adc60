"""A map of cells: pooled features in two dimensions, where what a network sees as alike lies together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, MissingPackageError, OptionError
from cellclf.pages.template import plain
from cellclf.utils.contact_sheet import INK, PALETTE, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

Floats = NDArray[np.float64]

COLOURS = (*PALETTE[:6], "#882255", "#999933", "#6A5ACD", "#A0522D", "#708090", "#D4A017")
"""One for each class; from the 13th on they repeat, and the names on the map tell."""

GREY = "#9aa1aa"
"""What a set that the training used has where sets are compared."""

_MOST_LEARNT = 3_000  # rows from which the axes are learnt
_KEPT = 50  # main axes that UMAP sees
_DRAWN = 4_000  # points of a static image

Method = Literal["auto", "pca", "umap"]


@dataclass(frozen=True, eq=False)
class CellMap:
    """Cells in two dimensions; made by ``cell_map``.

    Args:
        points: (N, 2), each axis within 0 and 1.
        method: How they were made, in words.
        cells: N images, with labels where they are known.
        sets: (N,) the name of the set that each cell is from.
        predicted: (N,) index into ``cells.class_names``; None where nothing was predicted.
    """

    points: Floats
    method: str
    cells: ImageSet
    sets: NDArray[np.str_]
    predicted: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def set_names(self) -> list[str]:
        """The sets, in the order in which they come."""
        return list(dict.fromkeys(self.sets.tolist()))

    def plot(self, own: Sequence[str] = ("train", "val")) -> Figure:
        """Draw the cells by class and, where there are several sets, by set.

        Args:
            own: Sets that the training used: drawn in grey where sets are compared, and by class beside it, unless
                there are no others.
        """
        from matplotlib.figure import Figure

        names = self.set_names
        further = [name for name in names if name not in own]
        by_set = bool(further) and len(names) > 1
        figure = Figure(figsize=(9.6 if by_set else 5.6, 4.6), dpi=150, layout="constrained")
        axes = figure.subplots(1, 2 if by_set else 1, squeeze=False)[0]
        mine = np.isin(self.sets, own) if by_set and np.isin(self.sets, own).any() else np.ones(len(self), bool)
        self._by_class(axes[0], np.flatnonzero(mine), "By class" + (f" ({' and '.join(_in(names, own))})" * by_set))
        if by_set:
            self._by_set(axes[1], names, own)
        for one in axes:
            one.set_xlim(-0.03, 1.03)
            one.set_ylim(-0.03, 1.03)
            one.set_xticks([])
            one.set_yticks([])
            one.set_aspect("equal")
            one.spines[:].set_color(INK)
            one.spines[:].set_alpha(0.25)
        return figure

    def _by_class(self, axes: Axes, rows: NDArray[np.int64], title: str) -> None:
        labels = self.cells.labels
        axes.set_title(title if labels is not None else "Cells", fontsize=10, color=INK)
        if labels is None:
            self._dots(axes, rows, COLOURS[0])
            return
        drawn = rows[_spread(len(rows), _DRAWN)]
        colours = np.asarray([COLOURS[label % len(COLOURS)] for label in labels[drawn]])
        # in a fixed random order, so that no class lies above all others
        order = np.random.default_rng(0).permutation(len(drawn))
        self._dots(axes, drawn[order], colours[order])
        for label, name in enumerate(self.cells.class_names):
            inside = rows[labels[rows] == label]
            if len(inside):
                x, y = np.median(self.points[inside], axis=0)
                axes.text(
                    x,
                    y,
                    drawable(plain(name)),
                    fontsize=8,
                    color=INK,
                    ha="center",
                    va="center",
                    bbox={"boxstyle": "round,pad=0.2", "facecolor": COLOURS[label % len(COLOURS)], "alpha": 0.22},
                )

    def _by_set(self, axes: Axes, names: Sequence[str], own: Sequence[str]) -> None:
        axes.set_title("By set", fontsize=10, color=INK)
        place = 0
        for name in sorted(names, key=lambda one: one not in own):
            rows = np.flatnonzero(self.sets == name)
            colour = GREY if name in own else COLOURS[(place + 1) % len(COLOURS)]
            place += name not in own
            shown = rows[_spread(len(rows), _DRAWN // max(1, len(names)))]
            self._dots(axes, shown, colour)
            axes.plot([], [], "o", color=colour, markersize=5, label=drawable(name))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3)

    def _dots(self, axes: Axes, rows: NDArray[np.int64], colour: Any) -> None:
        # points become pixels inside the vector figure: thousands of them would be some hundred bytes each
        axes.scatter(*self.points[rows].T, s=7, c=colour, alpha=0.75, linewidths=0, rasterized=True)


def cell_map(
    features: NDArray[np.floating],
    cells: ImageSet,
    *,
    sets: Sequence[str] | NDArray[np.str_] | None = None,
    predicted: NDArray[np.integer] | None = None,
    widths: Sequence[int] | None = None,
    method: Method = "auto",
    seed: int = 0,
) -> CellMap:
    """Put cells on a map: near means that the network sees them as alike.

    Args:
        features: (N, D) pooled features.
        cells: The N images.
        sets: (N,) the set that each is from; None calls all "cells".
        predicted: (N,) predicted classes, index into ``cells.class_names``.
        widths: Of the layers, which sum to D: each layer then counts the same; None takes D as one layer.
        method: ``"pca"`` shows the two directions in which the cells differ most, ``"umap"`` which cells are
            neighbours (needs ``pip install umap-learn``); ``"auto"`` takes UMAP where it is installed.
        seed: Of UMAP.

    Raises:
        DataError: Arrays that do not fit together, or fewer than two cells.
        OptionError: Another method.
        MissingPackageError: UMAP is asked for and not installed.

    Examples:
        >>> from cellclf import ImageSet
        >>> features = np.random.default_rng(0).normal(size=(20, 5))
        >>> found = cell_map(features, ImageSet(np.zeros((20, 8, 8, 3), np.uint8)), method="pca")
        >>> found.points.shape, float(found.points.min()), float(found.points.max())
        ((20, 2), 0.0, 1.0)
    """
    rows = np.asarray(features, np.float64)
    parts = [rows.shape[-1]] if widths is None else [int(width) for width in widths]
    if rows.ndim != 2 or len(rows) != len(cells) or rows.shape[1] != sum(parts):
        raise DataError(
            f"features have shape {rows.shape}; expected ({len(cells)}, {sum(parts)}): one row for each of "
            f"{len(cells)} cells"
        )
    if len(rows) < 2:
        raise DataError(f"{len(rows)} cells; expected two or more to draw a map of")
    if not np.isfinite(rows).all():
        raise DataError("features hold NaN or infinity; expected numbers")
    for what, given in (("sets", sets), ("predicted", predicted)):
        if given is not None and len(given) != len(rows):
            raise DataError(f"{len(given)} {what} for {len(rows)} cells; expected one for each")
    if method not in ("auto", "pca", "umap"):
        raise OptionError(f"method={method!r}; expected 'auto', 'pca' or 'umap'")
    points, words = _project(_scaled(rows, parts), method, seed)
    low, high = points.min(0), points.max(0)
    points = (points - low) / np.maximum(high - low, 1e-12)
    names = np.asarray(["cells"] * len(rows) if sets is None else [str(one) for one in sets], np.str_)
    called = None if predicted is None else np.asarray(predicted, np.int64)
    return CellMap(points, words, cells, names, called)


def _scaled(rows: Floats, widths: Sequence[int]) -> Floats:
    """Centre the layers and bring each to the same mean length."""
    centred = rows - rows.mean(0)
    start = 0
    for width in widths:
        part = slice(start, start + width)
        length = float(np.sqrt(np.square(centred[:, part]).sum(1).mean()))
        centred[:, part] /= max(length, 1e-12)
        start += width
    return centred


def _project(rows: Floats, method: Method, seed: int) -> tuple[Floats, str]:
    axes, shares = _main_axes(rows[_spread(len(rows), _MOST_LEARNT)])
    if method != "pca" and len(rows) >= 10:
        reducer = _umap(seed, required=method == "umap")
        if reducer is not None:
            found: Floats = np.asarray(reducer.fit_transform(rows @ axes), np.float64)
            return found, "UMAP of pooled features: neighbours lie together, distances between groups mean little"
    points = np.zeros((len(rows), 2))
    two = axes[:, :2]
    points[:, : two.shape[1]] = rows @ two
    shown = f"{100 * float(shares[:2].sum()):.0f} % of the differences"
    return points, f"PCA of pooled features: the two main directions, which hold {shown}"


def _main_axes(rows: Floats) -> tuple[Floats, Floats]:
    """Give the main axes (D, r) and the share of the variance along each; the same signs every time."""
    _, lengths, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    kept = max(1, min(_KEPT, int((lengths > 1e-9 * max(float(lengths[0]), 1e-12)).sum())))
    axes = directions[:kept].T
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(kept)] < 0, -1.0, 1.0)
    total = float(np.square(lengths).sum())
    return axes, np.square(lengths[:kept]) / max(total, 1e-12)


def _umap(seed: int, *, required: bool) -> Any:
    try:
        from umap import UMAP
    except ImportError:
        if required:
            raise MissingPackageError("method='umap' needs umap-learn: pip install umap-learn, or take 'pca'") from None
        return None
    return UMAP(n_components=2, random_state=seed, n_jobs=1)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Give at most so many positions, drawn at random but always the same ones, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _in(names: Sequence[str], own: Sequence[str]) -> list[str]:
    return [name for name in names if name in own]
