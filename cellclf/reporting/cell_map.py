"""A map of cells: pooled features in two dimensions, where what a network sees as alike lies together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, MissingPackageError, OptionError
from cellclf.pages.template import plain
from cellclf.utils.contact_sheet import INK, PALETTE, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

COLOURS = (*PALETTE[:6], "#882255", "#999933", "#6A5ACD", "#A0522D", "#708090", "#D4A017")
"""One for each class; from the 13th on they repeat, and the names on the map tell."""

GREY = "#9aa1aa"
"""What a set that the training used has where sets are compared."""

_MOST_LEARNT = 3_000  # rows from which the axes are learnt
_KEPT = 50  # main axes that UMAP sees
_DRAWN = 4_000  # points of a static image
_APART = (0.24, 0.05)  # names nearer than this would hide each other: the legend has the second one

Method = Literal["auto", "pca", "umap"]


@dataclass(frozen=True, eq=False)
class CellMap:
    """Cells in two dimensions; made by ``cell_map``.

    Args:
        points: (N, 2), each axis within 0 and 1.
        method: How they were made, in words.
        parts: Name of a set -> its images; their cells come one set after the other.
        class_names: Of all sets.
        labels: (N,) index into ``class_names``, -1 where a cell has none.
        predicted: (N,) index into ``class_names``; None where nothing was predicted.
    """

    points: Floats
    method: str
    parts: dict[str, ImageSet]
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def set_names(self) -> list[str]:
        """The sets, in their order."""
        return list(self.parts)

    @cached_property
    def sets(self) -> NDArray[np.int64]:
        """(N,) the set of each cell, index into ``set_names``."""
        return np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts.values()])

    @property
    def labelled(self) -> bool:
        """Whether any cell has a label."""
        return bool((self.labels >= 0).any())

    def read(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Read the images of some cells; sets may hold images of other sizes."""
        starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts.values()])])
        found: list[NDArray[np.uint8]] = [np.empty((0, 0, 3), np.uint8)] * len(rows)
        for number, part in enumerate(self.parts.values()):
            places = np.flatnonzero(self.sets[rows] == number)
            for place, image in zip(places, part.read(rows[places] - starts[number]), strict=True):
                found[place] = image
        return found

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Give the ids of some cells."""
        every = np.concatenate([part.ids.astype(object) for part in self.parts.values()])
        return [str(id_) for id_ in every[rows]]

    def figures(self, own: Sequence[str] = ("train", "val")) -> list[Figure]:
        """Draw the cells by class and, where there are sets that the training did not use, by set.

        Args:
            own: Sets that the training used: where there are others, only these are drawn by class, and they are grey
                where sets are compared.
        """
        names = self.set_names
        used = [name for name in names if name in own]
        further = len(names) > len(used)
        mine = np.isin(self.sets, [names.index(name) for name in used])
        figure, axes = _blank()
        if further and used:
            self._by_class(axes, np.flatnonzero(mine), f"By class ({' and '.join(used)})")
        else:
            self._by_class(axes, np.arange(len(self)), "By class")
        if not further or len(names) < 2:
            return [figure]
        second, axes = _blank()
        self._by_set(axes, names, own)
        return [figure, second]

    def _by_class(self, axes: Axes, rows: NDArray[np.int64], title: str) -> None:
        labels = self.labels
        axes.set_title(title if self.labelled else "Cells", fontsize=10, color=INK)
        drawn = rows[_spread(len(rows), _DRAWN)]
        colours = np.asarray([GREY if label < 0 else COLOURS[label % len(COLOURS)] for label in labels[drawn]])
        # in a fixed random order, so that no class lies above all others
        order = np.random.default_rng(0).permutation(len(drawn))
        self._dots(axes, drawn[order], colours[order])
        written: list[NDArray[np.float64]] = []
        for label, name in enumerate(self.class_names):
            inside = rows[labels[rows] == label]
            if not len(inside):
                continue
            colour, words = COLOURS[label % len(COLOURS)], drawable(plain(name))
            axes.plot([], [], "o", color=colour, markersize=5, label=words)
            middle = np.median(self.points[inside], axis=0)
            if all((np.abs(middle - other) > _APART).any() for other in written):
                written.append(middle)
                box = {"boxstyle": "round,pad=0.2", "facecolor": colour, "alpha": 0.22}
                axes.text(
                    float(middle[0]), float(middle[1]), words, fontsize=8, color=INK, ha="center", va="center", bbox=box
                )
        if self.labelled:
            _legend(axes)

    def _by_set(self, axes: Axes, names: Sequence[str], own: Sequence[str]) -> None:
        axes.set_title("By set", fontsize=10, color=INK)
        place = 0
        for name in sorted(names, key=lambda one: one not in own):
            rows = np.flatnonzero(self.sets == names.index(name))
            colour = GREY if name in own else COLOURS[(place + 1) % len(COLOURS)]
            place += name not in own
            shown = rows[_spread(len(rows), _DRAWN // max(1, len(names)))]
            self._dots(axes, shown, colour)
            axes.plot([], [], "o", color=colour, markersize=5, label=drawable(name))
        _legend(axes)

    def _dots(self, axes: Axes, rows: NDArray[np.int64], colour: Any) -> None:
        # points become pixels inside the vector figure: thousands of them would be some hundred bytes each
        x, y = self.points[rows].T
        axes.scatter(x, y, s=7, c=colour, alpha=0.75, linewidths=0, rasterized=True)


def _blank() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 4.9), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    axes.spines[:].set_color(INK)
    axes.spines[:].set_alpha(0.25)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        ncols=3,
        handletextpad=0.1,
        columnspacing=1.0,
    )


def cell_map(
    features: NDArray[np.floating],
    cells: Cells | Mapping[str, ImageSet],
    *,
    predicted: NDArray[Any] | Sequence[str] | None = None,
    widths: Sequence[int] | None = None,
    method: Method = "auto",
    seed: int = 0,
) -> CellMap:
    """Put cells on a map: near means that the network sees them as alike.

    Args:
        features: (N, D) pooled features.
        cells: The N images: one set, or several by name, whose cells come one set after the other.
        predicted: (N,) predicted classes: names, or an index into the class names of the first set.
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
    parts = _parts(cells)
    count = sum(len(part) for part in parts.values())
    layers = [rows.shape[-1]] if widths is None else [int(width) for width in widths]
    if rows.ndim != 2 or len(rows) != count or rows.shape[1] != sum(layers):
        raise DataError(
            f"features have shape {rows.shape}; expected ({count}, {sum(layers)}): one row for each of {count} cells"
        )
    if len(rows) < 2:
        raise DataError(f"{len(rows)} cells; expected two or more to draw a map of")
    if not np.isfinite(rows).all():
        raise DataError("features hold NaN or infinity; expected numbers")
    if predicted is not None and len(predicted) != len(rows):
        raise DataError(f"{len(predicted)} predicted classes for {len(rows)} cells; expected one for each")
    if method not in ("auto", "pca", "umap"):
        raise OptionError(f"method={method!r}; expected 'auto', 'pca' or 'umap'")
    points, words = _project(_scaled(rows, layers), method, seed)
    low, high = points.min(0), points.max(0)
    points = (points - low) / np.maximum(high - low, 1e-12)
    called = None if predicted is None else np.asarray(predicted)
    named = [] if called is None or called.dtype.kind in "iu" else [str(one) for one in called.tolist()]
    names = tuple(dict.fromkeys([*(name for part in parts.values() for name in part.class_names), *sorted(set(named))]))
    labels = [
        np.full(len(part), -1)
        if part.labels is None
        else np.asarray([names.index(name) for name in part.class_names], np.int64)[part.labels]
        for part in parts.values()
    ]
    if called is not None:
        called = np.asarray([names.index(one) for one in named] if named else called, np.int64)
        if called.min() < 0 or called.max() >= len(names):
            raise DataError(f"a predicted class is outside 0 to {len(names) - 1}; expected an index, or names")
    return CellMap(points, words, parts, names, np.concatenate(labels), called)


def _parts(cells: Cells | Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """Give the sets by name; a mapping of arrays is one set, as everywhere."""
    if isinstance(cells, Mapping) and cells and all(isinstance(part, ImageSet) for part in cells.values()):
        return {str(name): part for name, part in cells.items()}
    return {"cells": as_cells(cells)}


def _scaled(rows: Floats, widths: Sequence[int]) -> Floats:
    """Centre the layers and bring each to the same mean length."""
    centred: Floats = rows - rows.mean(0)
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
