"""Rows beside the rows of their class: what is rare in a set may be ordinary for its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.outliers.scoring import Array, extremeness

_LIMIT = 0.4  # mean column-wise score of a row that is ordinary for its class: real cells of rare classes reach .38
_PRIOR = 20  # rows that the spread pooled over all classes counts as, beside a class's own
_FEW = 20  # in a smaller class, a row is compared with the others and not with itself
_RARE = (0.1, 200)  # of all rows, and rows: those of a larger class are well represented among all
_CENTRE = 1.57  # variance of a median, in variances of a mean
_QUARTILES = 1.9  # half the range of 80 % of a normal distribution, in halves of the range of 50 %


class ClassScorer:
    """Fit on the rows of all classes, and score rows by how unlike the others of their class they are.

    A row is measured from the median of its class, in the class's own spread, which is drawn towards the spread of all
    classes where the class is small. Medians and quartiles do not move for some wrong rows, so a few non-cell images
    among the cells of a class do not pass for cells. Of a class that is large, and of which the set as a whole is
    therefore representative, less is tolerated, unless the set is a narrow one.

    Args:
        narrow: ``OutlierScorer.narrow`` of the whole set, 0-1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.normal(size=(212, 3))
        >>> rows[200:] += 40
        >>> model = ClassScorer().fit(rows, np.repeat([0, 1], [200, 12]))
        >>> bool(model.score(rows[200:], np.ones(12)).max() < 1 < model.score(np.full((1, 3), 20.0), np.ones(1))[0])
        True
    """

    def __init__(self, *, narrow: float = 0.0) -> None:
        self.narrow = narrow

    def fit(
        self, rows: NDArray[Any], labels: NDArray[np.int64], tolerances: Sequence[float] | None = None
    ) -> ClassScorer:
        """Fit on rows, outliers among them.

        Args:
            rows: (n, d) finite numbers; no two equal.
            labels: (n,) whole numbers.
            tolerances: As for ``OutlierScorer.fit``.
        """
        table = np.asarray(rows, np.float64)
        members = {int(label): table[labels == label] for label in np.unique(labels)}
        smallest = 1e-3 * np.maximum(np.abs(np.median(table, axis=0)), 1)
        least = smallest if tolerances is None else np.asarray(tolerances, np.float64)
        away = [own - np.median(own, axis=0) for own in members.values() if len(own) > 1]
        pooled = np.maximum(_spread(np.concatenate(away)), least) if away else least
        self._classes = {label: _Class(own, pooled, least) for label, own in members.items()}
        rare = {label: len(own) <= min(_RARE[0] * len(table), _RARE[1]) for label, own in members.items()}
        limit = _LIMIT * table.shape[1]
        self._limits = {label: limit * (1 if rare[label] else min(1, 3 * self.narrow)) for label in members}
        return self

    def score(self, rows: NDArray[Any], labels: NDArray[Any]) -> Array:
        """Score rows, each beside the class of its label.

        Args:
            rows: (n, d) finite numbers, the columns that were fitted on.
            labels: (n,) whole numbers; -1 without a label: beside the class that it is most like.

        Returns:
            (n,) float64: up to 1 for a row that is ordinary for its class; infinite where its class was not fitted on,
            or has no other row.
        """
        scores = np.full(len(rows), np.inf)
        table = np.asarray(rows, np.float64)
        for label, one in self._classes.items():
            here = np.flatnonzero((labels == label) | (labels == -1))
            measured, usable = one.measured(table[here])
            far = extremeness(measured[usable]) / max(self._limits[label], 1e-6)
            scores[here[usable]] = np.minimum(scores[here[usable]], far)
        return scores


class _Class:
    """Where the rows of one class lie, and how far they spread; of a small class, the rows themselves."""

    def __init__(self, rows: Array, pooled: Array, least: Array) -> None:
        self._pooled, self._least = pooled, least
        self._rows = rows if len(rows) < _FEW else None
        if self._rows is None:
            self._at = self._place(rows)

    def measured(self, table: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Measure rows from this class, and say which could be: a row that is the class's only one cannot."""
        usable = np.ones(len(table), bool)
        if self._rows is None:
            middle, spread = self._at
            return (table - middle) / spread, usable
        measured = np.zeros_like(table)
        for number, row in enumerate(table):
            others = self._rows[(self._rows != row).any(1)]
            usable[number] = len(others) > 0
            if len(others):
                middle, spread = self._place(others)
                measured[number] = (row - middle) / spread
        return measured, usable

    def _place(self, others: Array) -> tuple[Array, Array]:
        weight = len(others) / (len(others) + _PRIOR)
        own = np.maximum(_spread(others), self._least)
        spread = np.sqrt(weight * np.square(own) + (1 - weight) * np.square(self._pooled))
        return np.median(others, axis=0), spread * np.sqrt(1 + _CENTRE / len(others))


def _spread(rows: Array) -> Array:
    """Half the range of 80 % of the rows in each column, as the quartiles give it: wrong rows hardly move them."""
    low, high = np.quantile(rows, (0.25, 0.75), axis=0)
    half: Array = _QUARTILES * (high - low) / 2
    return half
