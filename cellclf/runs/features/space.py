"""The space in which a few labelled cells of another laboratory are compared: linear, learnt without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.utils.threads import one_blas_thread

Floats = NDArray[np.float64]

_SEEN = 500  # cells that the main axes are taken from; more change the space little and cost most of the time


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """A linear map of pooled features that makes distances mean something in a laboratory.

    Args:
        mean: (D,) of the laboratory's features.
        axes: (D, r) from centred features to coordinates.
    """

    mean: Floats
    axes: Floats

    def apply(self, features: NDArray[np.floating]) -> Floats:
        """Give the coordinates (..., r) of features (..., D)."""
        found: Floats = (np.asarray(features, np.float64) - self.mean) @ self.axes
        return found


def learn_space(
    features: NDArray[np.floating],
    views: NDArray[np.floating],
    widths: Sequence[int],
    *,
    columns: Sequence[bool] | None = None,
    dimensions: int = 200,
) -> FeatureSpace:
    """Learn a space from a laboratory's unlabelled cells.

    Each layer is centred on the laboratory (which takes away a common tint or scale) and brought to the same mean
    length, then the main axes of all are taken. Directions in which the views of the same cell differ (its flips and
    turns: nothing that a class could depend on) are shortened: the square root of the inverse scatter of views,
    shrunk halfway to a sphere, is applied, as linear discriminant analysis does with the scatter within classes.

    Args:
        features: (N, D) of the laboratory's cells, one view.
        views: (V, S, D) of some cells in several views; with one view only the last step is left out.
        widths: Width of each layer's part of D.
        columns: Which layers are used; None for all.
        dimensions: Most axes that are kept.

    Raises:
        DataError: Arrays that do not fit together, or fewer than two cells.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> cells = rng.normal(5, 1, (40, 6))
        >>> space = learn_space(cells, cells[None], (4, 2), dimensions=3)
        >>> space.apply(cells).shape, bool(abs(space.apply(cells).mean()) < 1e-9)
        ((40, 3), True)
    """
    rows = np.asarray(features, np.float64)
    seen = np.asarray(views, np.float32)
    if rows.ndim != 2 or seen.ndim != 3 or rows.shape[1] != sum(widths) or seen.shape[2] != rows.shape[1]:
        raise DataError(
            f"features have shape {rows.shape} and views {seen.shape}; expected (N, D) and (V, S, D) with "
            f"D = {sum(widths)}"
        )
    if len(rows) < 2:
        raise DataError(f"{len(rows)} cells; expected two or more to learn a space from")
    mean = rows.mean(0)
    scale = np.zeros(rows.shape[1])
    start = 0
    for place, width in enumerate(widths):
        part = slice(start, start + width)
        start += width
        if columns is None or columns[place]:
            length = np.sqrt(np.square(rows[:, part] - mean[part]).sum(1).mean())
            scale[part] = 1 / max(length, 1e-12)
    used = np.flatnonzero(scale)
    scaled = (rows[:, used] - mean[used]) * scale[used]
    seen = seen[:, spread(seen.shape[1], _SEEN // 4)][:, :, used]
    noise = ((seen - seen.mean(0)) * scale[used]).reshape(-1, len(used))
    turned = (seen.reshape(-1, len(used)) - mean[used]) * scale[used]
    some = [scaled[spread(len(scaled), _SEEN)], turned[spread(len(turned), _SEEN // 2)]]
    axes = _main_axes(np.concatenate(some), dimensions)
    if len(seen) > 1 and axes.shape[1]:  # none where all cells are alike
        moved = noise @ axes
        scatter = moved.T @ moved / max(1, len(moved))
        size = np.trace(scatter) / len(scatter)
        if size > 0:
            values, vectors = np.linalg.eigh(scatter + size * np.eye(len(scatter)))
            axes = axes @ (vectors * values**-0.5) @ vectors.T
    length = np.sqrt(np.square(scaled @ axes).sum(1).mean())
    whole = np.zeros((rows.shape[1], axes.shape[1]))
    whole[used] = scale[used, None] * axes / max(length, 1e-12)
    return FeatureSpace(mean=np.where(scale > 0, mean, 0.0), axes=whole)


def _main_axes(rows: Floats, most: int) -> Floats:
    """Give the (D, r) main axes of centred rows, by whichever of the two small matrices is smaller."""
    from scipy.linalg import eigh

    count, width = rows.shape
    with one_blas_thread():
        square = rows.T @ rows if width <= count else rows @ rows.T
        values, vectors = eigh(square, subset_by_index=(max(0, len(square) - most), len(square) - 1))
    kept = np.flatnonzero(values > 1e-9 * values.max())[::-1]
    if width <= count:
        found: Floats = vectors[:, kept]
        return found
    axes: Floats = (rows.T @ vectors[:, kept]) / np.sqrt(values[kept])
    return axes


def spread(count: int, most: int = 1_000) -> NDArray[np.int64]:
    """Give at most so many positions, evenly over all: sets often come in the order of their classes."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
