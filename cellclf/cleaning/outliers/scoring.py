"""Outlier scores of rows of numbers, on a scale that means the same for every set.

0 is the median of the inliers and 1 the score of a synthetic row, drawn at random from the columns. So a threshold of 1
needs no guess of how many outliers there are, and removes nothing from a set without any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import unknown

Array: TypeAlias = NDArray[np.float64]
Fit: TypeAlias = Callable[[Array, Array, int], Callable[[Array], Array]]
Method = Literal["forest", "mahalanobis", "neighbours"]

_ROWS = 50_000  # most rows to fit on, drawn at random
_POPULATION = 20  # fewest outliers that, as close to each other as inliers are, make a population of their own
_SET_ASIDE = 8  # upper quartiles above the median of the column-wise score: not fitted on at first
_CLEAR_OUTLIER = 14  # the same: an outlier by its columns alone, as much as a synthetic row
_FAR = 0.38  # mean column-wise score up to which a row may be tolerated: of real cells under a rare stain it is .35
_NARROW = 0.2  # of what is tolerated: columns that lack more are narrow
_COLUMNS = 64  # wider tables, such as embeddings, are reduced to their principal axes


class OutlierScorer:
    """Fit on rows of which some are outliers, and score rows by how unlike the inliers they are.

    Each column is put on its own robust scale; rows that are extreme in many columns are set aside; the columns of
    the rest are decorrelated; the method is fitted on the rest, rows that score above 1 are set aside, and so on.
    Synthetic rows, each column drawn by itself and stretched 1 to 8 times about its median, represent every kind of
    outlier: they set the scale, and an isolation forest is grown on them, too, so that it can distinguish far from
    very far, which a forest grown on inliers only cannot. Outliers that are as close together as inliers, 20 or more,
    are fitted on, too. ``threshold`` is the score from which on rows are outliers, ``inliers`` marks the rows that
    were fitted on, ``populations`` counts the former outliers among them. Where it is known how much columns usually
    vary, and these rows vary less (``narrow`` is the share of such columns), rows that are unlike the others and still
    within what is usual are no outliers.

    Args:
        method: ``"forest"`` (isolation forest), ``"mahalanobis"`` (distance to the centre) or ``"neighbours"``
            (distance to the tenth nearest inlier).
        seed: Of the synthetic rows and the forest.

    Raises:
        UnknownNameError: There is no such method.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> rows[0] = 30
        >>> scores = OutlierScorer(method="mahalanobis", seed=0).fit(rows).score(rows)
        >>> int(scores.argmax()), bool(scores[0] > 1 > scores[1:].max())
        (0, True)

    Source:
        Liu, Ting, Zhou 2008, Isolation Forest, doi 10.1109/ICDM.2008.17; Ledoit, Wolf 2004, doi
        10.1016/S0047-259X(03)00096-4; synthetic rows as in Hastie, Tibshirani, Friedman, The Elements of Statistical
        Learning, section 14.2.4.
    """

    def __init__(self, *, method: Method = "forest", seed: int = 0) -> None:
        if method not in get_args(Method):
            raise unknown("method", method, get_args(Method))
        self.method = method
        self.seed = seed

    def fit(self, rows: NDArray[Any], tolerances: Sequence[float] | None = None) -> OutlierScorer:
        """Fit on rows, outliers among them.

        Args:
            rows: (n, d) finite numbers, n at least 20.
            tolerances: d numbers, half the range in which 80 % of the rows of a varied set lie; None if unknown.
        """
        rng = np.random.default_rng(self.seed)
        table = np.asarray(rows[np.sort(rng.permutation(len(rows))[:_ROWS])], np.float64)
        self._axes: Array | None = None
        if table.shape[1] > _COLUMNS:
            self._centre = np.median(_unit(table), axis=0)
            self._axes = _principal(_unit(table) - self._centre)
        table = self.project(table)
        self._middle = np.median(table, axis=0)
        smallest = 1e-3 * np.maximum(np.abs(self._middle), 1)
        self._below = np.maximum(self._middle - np.quantile(table, 0.1, axis=0), smallest)
        self._above = np.maximum(np.quantile(table, 0.9, axis=0) - self._middle, smallest)
        self._tolerate(table, tolerances)
        # few rows do not show how their columns are correlated: the fewer, the more each column counts by itself
        self._column_weight = 0.5 * min(1.0, 4 * table.shape[1] / len(table))
        scaled = self._scale(table)
        self._usual = np.quantile(extremeness(scaled), (0.5, 0.75))
        excess = self._excess(scaled)
        self.populations = 0
        self.inliers = excess <= _SET_ASIDE
        for _ in range(3):
            self._fit_method(scaled, rng, _forest)
            features = self._features(scaled)
            scores = self._scores(scaled)
            inliers = scores <= self._tail(scores, 3)
            population = ~inliers & (excess <= 1.5 * _SET_ASIDE)
            population[population] = _dense(features[population], features[inliers], rng)
            self.populations += int(population.sum())
            inliers |= population
            # stop when nothing changes, and before most rows are called outliers: then the fit is not to be trusted
            if np.array_equal(inliers, self.inliers) or inliers.mean() < 0.5:
                break
            self.inliers = inliers
        if self.method != "forest":
            self._fit_method(scaled, rng, _METHODS[self.method])
        self.threshold = self._tail(self._scores(scaled), 3 if self.method == "forest" else 2.5)
        if self.method != "forest" and self._axes is None:
            # distances have longer tails than the depths of a forest
            self.threshold += 0.2 * (1 - 2 * self._column_weight)
        return self

    def score(self, rows: NDArray[Any]) -> Array:
        """Score rows: 0 is ordinary, 1 is as unlike the inliers as a synthetic row.

        Args:
            rows: (n, d) finite numbers, the columns that were fitted on.

        Returns:
            (n,) float64.
        """
        parts = (np.asarray(rows[start : start + 8192], np.float64) for start in range(0, len(rows), 8192))
        scores = [self._tolerant(self.project(part)) for part in parts]
        return np.concatenate(scores) if scores else np.empty(0)

    def _tolerate(self, table: Array, tolerances: Sequence[float] | None) -> None:
        """Learn how narrow the columns are beside what is tolerated."""
        self.narrow, self._wide = 0.0, (self._below, self._above)
        if tolerances is None or self._axes is not None:
            return
        usual = np.asarray(tolerances, np.float64)
        lacking = np.clip(usual - (self._below + self._above) / 2, 0, None)
        self.narrow = float((lacking > _NARROW * usual).mean())
        self._wide = self._below + lacking, self._above + lacking

    def _tolerant(self, table: Array) -> Array:
        scores = self._scores(self._scale(table))
        limit = _FAR * table.shape[1] * min(1.0, 2 * self.narrow)
        unlike = np.flatnonzero(scores > self.threshold)
        if limit > 0 and len(unlike):
            away, (below, above) = table[unlike] - self._middle, self._wide
            far = extremeness(away / np.where(away < 0, below, above))
            scores[unlike] = np.minimum(scores[unlike], self.threshold * far / limit)
        return scores

    def project(self, table: Array) -> Array:
        """Reduce a wide table to its principal axes and the rest that they leave; directions count, lengths do not."""
        if self._axes is None:
            return table
        unit = _unit(table) - self._centre
        main = unit @ self._axes
        rest = np.square(unit).sum(1) - np.square(main).sum(1)
        return np.column_stack([main, np.log(np.clip(rest, 1e-9, None))])

    def _tail(self, scores: Array, widths: float) -> float:
        """The threshold: 1; for principal axes, on which inliers end well below 1, the end of their tail."""
        if self._axes is None:
            return 1.0
        return float(min(1.0, widths * np.quantile(scores[self.inliers], 0.95)))

    def _scale(self, table: Array) -> Array:
        """Each column in its own typical deviations, upwards and downwards separately."""
        away = table - self._middle
        scaled: Array = np.clip(away / np.where(away < 0, self._below, self._above), -50, 50)
        return scaled

    def _features(self, scaled: Array) -> Array:
        """The columns and their decorrelated combinations: an outlier shows in one column or in several together."""
        return np.concatenate([scaled, (scaled - self._mean) @ self._decorrelate], axis=1)

    def _excess(self, scaled: Array) -> Array:
        """How extreme the columns are by themselves, in upper quartiles above the median."""
        middle, upper = self._usual
        excess: Array = (extremeness(scaled) - middle) / max(upper - middle, 1e-6)
        return excess

    def _scores(self, scaled: Array) -> Array:
        together = (self._raw(self._features(scaled)) - self._zero) / (self._one - self._zero)
        alone = np.clip(self._excess(scaled) / _CLEAR_OUTLIER, 0, None)
        both: Array = np.where(
            together > 0, np.clip(together, 0, None) ** (1 - self._column_weight) * alone**self._column_weight, together
        )
        return both

    def _fit_method(self, scaled: Array, rng: np.random.Generator, fit: Fit) -> None:
        from sklearn.covariance import ledoit_wolf

        core = scaled[self.inliers]
        self._mean = core.mean(0)
        covariance, _ = ledoit_wolf(np.clip(core - self._mean, -8, 8))
        widths, axes = np.linalg.eigh(covariance)
        self._decorrelate = axes / np.sqrt(np.maximum(widths, 0.01 * widths.mean()))
        features = self._features(core)
        synthetic = _synthetic(features, rng)
        self._raw = fit(features, synthetic, self.seed)
        self._zero = float(np.median(self._raw(features)))
        self._one = max(float(np.median(self._raw(synthetic))), self._zero + 1e-6)


def extremeness(scaled: Array) -> Array:
    """Sum how extreme a row's columns are, each by itself; by the logarithm, a few columns do not decide alone.

    Args:
        scaled: (n, d) in typical deviations.
    """
    far: Array = np.log1p(np.clip(np.abs(scaled) - 1, 0, None)).sum(1)
    return far


def _unit(table: Array) -> Array:
    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit: Array = table / np.maximum(length, 1e-12)
    return unit


def _principal(unit: Array) -> Array:
    """Principal axes of rows about zero, clipped so that single extreme rows weigh little: (d, 64 or less)."""
    limit = 5 * unit.std(0)
    _, axes = np.linalg.eigh(np.cov(np.clip(unit, -limit, limit), rowvar=False))
    return axes[:, ::-1][:, : min(_COLUMNS, len(unit) // 4)]


def _synthetic(features: Array, rng: np.random.Generator) -> Array:
    """Rows whose columns are independent of each other, stretched 1 to 8 times about their medians."""
    count, columns = max(len(features) // 5, 20), features.shape[1]
    middle = np.median(features, axis=0)
    mixed = np.take_along_axis(features, rng.integers(len(features), size=(count, columns)), axis=0)
    rows: Array = middle + (mixed - middle) * 8 ** rng.random((count, columns))
    return rows


def _dense(outliers: Array, inliers: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Find outliers that are as close to each other as inliers: another stain or microscope, not single strays."""
    from sklearn.neighbors import NearestNeighbors

    if len(outliers) < _POPULATION or len(inliers) < _POPULATION:
        return np.zeros(len(outliers), bool)
    peers = inliers[rng.permutation(len(inliers))[: len(outliers)]]  # as many, so that gaps compare
    outlier_gap, gap = (
        NearestNeighbors(n_neighbors=6).fit(rows).kneighbors(rows)[0][:, -1]
        for rows in (_decorrelated(outliers), _decorrelated(peers))
    )
    close: NDArray[np.bool_] = outlier_gap <= 2 * np.median(gap)
    return close if close.sum() >= _POPULATION else np.zeros_like(close)


def _forest(inliers: Array, synthetic: Array, seed: int) -> Callable[[Array], Array]:
    from sklearn.ensemble import IsolationForest

    table = np.concatenate([inliers, synthetic]).astype(np.float32)
    forest = IsolationForest(n_estimators=200, max_samples=min(1024, len(table)), random_state=seed).fit(table)
    return functools.partial(_isolation, forest)


def _isolation(forest: Any, features: Array) -> Array:
    """How few branches of the forest isolate a row."""
    score: Array = -forest.score_samples(features.astype(np.float32))
    return score


def _mahalanobis(inliers: Array, synthetic: Array, seed: int) -> Callable[[Array], Array]:
    return _from_centre


def _from_centre(features: Array) -> Array:
    score: Array = np.log(np.square(_decorrelated(features)).mean(1) + 1e-12)
    return score


def _decorrelated(features: Array) -> Array:
    return features[:, features.shape[1] // 2 :]


def _neighbours(inliers: Array, synthetic: Array, seed: int) -> Callable[[Array], Array]:
    from sklearn.neighbors import NearestNeighbors

    chosen = np.random.default_rng(seed).permutation(len(inliers))[:5000]
    search = NearestNeighbors(n_neighbors=min(10, len(chosen)), algorithm="brute")
    search.fit(_decorrelated(inliers)[chosen].astype(np.float32))
    return functools.partial(_neighbour_distance, search)


def _neighbour_distance(search: Any, features: Array) -> Array:
    """Log distance to the tenth nearest inlier."""
    score: Array = np.log(search.kneighbors(_decorrelated(features).astype(np.float32))[0][:, -1] + 1e-6)
    return score


_METHODS: dict[str, Fit] = {
    "forest": _forest,
    "mahalanobis": _mahalanobis,
    "neighbours": _neighbours,
}
