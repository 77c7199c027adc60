"""What some labels of another laboratory would bring, scored on cells whose labels no model has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_NORMAL = 1.96
_LEAST = 0.015  # standard deviation between models that a few of them cannot show to be smaller


@dataclass(frozen=True)
class LabelGain:
    """What labels of suggested cells would bring in a laboratory; made by ``Run.external``.

    Args:
        count: How many cells would be labelled.
        n: Cells on which it was measured.
        draws: How often they were cut in halves anew; each half has a model of its own.
        balanced_accuracy: That of one adaptation with so many labels, with an interval that holds the choice of the
            cells.
        gain: What it has more than the run as it is on the same cells.
    """

    count: int
    n: int
    draws: int
    balanced_accuracy: Estimate
    gain: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "count": self.count,
            "n": self.n,
            "draws": self.draws,
            "balanced_accuracy": self.balanced_accuracy.to_dict(),
            "gain": self.gain.to_dict(),
        }


def label_gain(
    labels: Labels,
    before: Labels,
    after: Labels,
    halves: NDArray[np.bool_],
    count: int,
    *,
    classes: Labels | None = None,
    groups: NDArray[np.int64] | None = None,
) -> LabelGain:
    """Estimate the balanced accuracy after a number of labels, and what that is more than before.

    The interval is for one adaptation: it adds how much one model differs from the other (which cells happened to be
    labelled) to how much the score depends on the cells that it was counted on.

    Args:
        labels: (N,) true classes.
        before: (N,) predicted by the run as it is.
        after: (D, N) predicted in each draw by models that had not seen the label of the cell.
        halves: (D, N) the half of each cell in each draw: one model predicted those of one half.
        count: Labels of each model.
        classes: Those that the averages include; None takes all that occur.
        groups: (N,) numbers of slides or patients, which the interval then counts in place of cells.

    Raises:
        DataError: Arrays that do not fit together, or none of the classes.

    Examples:
        >>> truth = np.array([0, 0, 0, 1, 1, 1])
        >>> halves = np.array([[True, False] * 3] * 2)
        >>> found = label_gain(truth, np.zeros(6, np.int64), np.stack([truth, truth]), halves, 25)
        >>> float(found.balanced_accuracy), float(found.gain)
        (1.0, 0.5)
    """
    counted = np.unique(labels) if classes is None else np.intersect1d(classes, labels)
    fits = after.ndim == 2 and after.shape[1:] == labels.shape == before.shape and halves.shape == after.shape
    if not fits or not len(after):
        raise DataError(
            f"labels {labels.shape}, before {before.shape}, after {after.shape} and halves {halves.shape} do not fit "
            "together; expected (N,), (N,), (D, N), (D, N)"
        )
    if not len(counted):
        raise DataError("none of the classes has a cell; expected at least one to measure on")
    units = np.arange(len(labels)) if groups is None else groups
    hits, missed = (after == labels).astype(np.float64), (before == labels).astype(np.float64)
    return LabelGain(
        count,
        int(np.isin(labels, counted).sum()),
        len(after),
        _estimate(hits, labels, halves, counted, units, 0.0),
        _estimate(hits - missed, labels, halves, counted, units, -1.0),
    )


def _estimate(
    values: Floats,
    labels: Labels,
    halves: NDArray[np.bool_],
    classes: Labels,
    units: NDArray[np.int64],
    least: float,
) -> Estimate:
    """Give the mean over classes of (D, N) values, with an interval for one model."""
    from scipy import stats

    means = values.mean(0)
    influence, value, floor = np.zeros(len(labels)), 0.0, 0.0
    for one in classes:
        rows = np.flatnonzero(labels == one)
        value += float(means[rows].mean()) / len(classes)
        influence[rows] = (means[rows] - means[rows].mean()) / (len(rows) * len(classes))
        floor += 0.01 / ((len(rows) + 1) * len(classes) ** 2)  # a class without a mistake is not certain
    sums = np.bincount(np.unique(units, return_inverse=True)[1], weights=influence)
    of_cells = max(floor, float(np.square(sums).sum()) * len(sums) / max(1, len(sums) - 1))
    # the scores of models differ, too, because each is counted on half of the cells: that is no difference of theirs
    scores = [
        _balanced(one[side], labels[side], classes)
        for one, half in zip(values, halves, strict=True)
        for side in (half, ~half)
        if np.isin(labels[side], classes).any()
    ]
    spread = max(_LEAST**2, float(np.var(scores, ddof=1)) - 2 * of_cells) if len(scores) > 1 else _LEAST**2
    # another model is as far from the mean of these few as Student's t says
    reach = float(stats.t.ppf(0.975, max(1, len(scores) - 1)))
    half = float(np.sqrt(_NORMAL**2 * of_cells + reach**2 * spread * (1 + 1 / max(1, len(scores)))))
    return Estimate(value, max(least, value - half), min(1.0, value + half))


def _balanced(values: Floats, labels: Labels, classes: Labels) -> float:
    return float(np.mean([values[labels == one].mean() for one in classes if (labels == one).any()]))
