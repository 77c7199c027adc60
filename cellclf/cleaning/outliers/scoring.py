"""How odd a row of numbers is against the ordinary ones, on a scale that means the same for every set.

0 is the most ordinary row of the set and 1 the oddness of a row made up at random from its columns; a cut at 1 so needs
no guess of how many odd rows there are, and removes nothing from a set without any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import unknown

Array: TypeAlias = NDArray[np.float64]
Learn: TypeAlias = Callable[[Array, Array, int], Callable[[Array], Array]]
Method = Literal["forest", "mahalanobis", "neighbours"]

_ROWS = 50_000  # at most so many rows, drawn at random, are learnt from
_CROWD = 20  # so many odd rows that are as alike as ordinary ones are a population of their own
_ODD_AT_SIGHT = 8  # upper quartiles above the median of the column-wise oddness: not learnt from at first
_ODD_ALONE = 14  # the same: so odd by its columns alone that it counts like a made-up row
_COLUMNS = 64  # wider tables, such as embeddings, are learnt from by their main axes


class Oddness:
    """Learn what is ordinary, although some of the rows are not.

    Each column is put on its own robust scale; rows far out in many columns are set aside; the columns of the rest
    are decorrelated; the rest is learnt from by the method, rows odder than 1 set aside, and once more.
    Made-up rows, each column drawn by itself and stretched 1 to 8 times about its median, stand for everything
    foreign: they set the scale, and an isolation forest grows its branches around them, so that it can tell
    far from very far, which a forest grown on ordinary rows only cannot. Odd rows that lie as close together as
    ordinary ones, 20 or more, are learnt from, too. ``cut`` is where oddness begins, ``ordinary`` marks the rows
    learnt from, ``populations`` counts the odd ones among them.

    Args:
        method: ``"forest"`` (isolation forest), ``"mahalanobis"`` (distance to the centre) or ``"neighbours"``
            (distance to the tenth nearest ordinary row).
        seed: Draws the made-up rows and grows the forest.

    Raises:
        UnknownNameError: There is no such method.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> rows[0] = 30
        >>> scores = Oddness(method="mahalanobis", seed=0).fit(rows).score(rows)
        >>> int(scores.argmax()), bool(scores[0] > 1 > scores[1:].max())
        (0, True)

    Source:
        Liu, Ting, Zhou 2008, Isolation Forest, doi 10.1109/ICDM.2008.17; Ledoit, Wolf 2004, doi
        10.1016/S0047-259X(03)00096-4; made-up rows as in Hastie, Tibshirani, Friedman, The Elements of Statistical
        Learning, section 14.2.4.
    """

    def __init__(self, *, method: Method = "forest", seed: int = 0) -> None:
        if method not in get_args(Method):
            raise unknown("method", method, get_args(Method))
        self.method = method
        self.seed = seed

    def fit(self, rows: NDArray[Any]) -> Oddness:
        """Learn from rows, odd ones among them.

        Args:
            rows: (n, d) finite numbers, n at least 20.
        """
        rng = np.random.default_rng(self.seed)
        table = np.asarray(rows[np.sort(rng.permutation(len(rows))[:_ROWS])], np.float64)
        self._axes: Array | None = None
        if table.shape[1] > _COLUMNS:
            self._centre = np.median(_unit(table), axis=0)
            self._axes = _principal(_unit(table) - self._centre)
        table = self._project(table)
        self._middle = np.median(table, axis=0)
        smallest = 1e-3 * np.maximum(np.abs(self._middle), 1)
        self._below = np.maximum(self._middle - np.quantile(table, 0.1, axis=0), smallest)
        self._above = np.maximum(np.quantile(table, 0.9, axis=0) - self._middle, smallest)
        # few rows do not show how their columns hang together: the fewer, the more each column counts by itself
        self._apart = 0.5 * min(1.0, 4 * table.shape[1] / len(table))
        scaled = self._scale(table)
        self._usual = np.quantile(_far_out(scaled), (0.5, 0.75))
        excess = self._excess(scaled)
        self.populations = 0
        self.ordinary = excess <= _ODD_AT_SIGHT
        for _ in range(3):
            self._learn(scaled, rng, _forest)
            features = self._features(scaled)
            odd = self._oddness(scaled)
            ordinary = odd <= self._tail(odd, 3)
            crowd = ~ordinary & (excess <= 1.5 * _ODD_AT_SIGHT)
            crowd[crowd] = _crowd(features[crowd], features[ordinary], rng)
            self.populations += int(crowd.sum())
            ordinary |= crowd
            if np.array_equal(ordinary, self.ordinary) or ordinary.mean() < 0.5:
                break
            self.ordinary = ordinary
        if self.method != "forest":
            self._learn(scaled, rng, _LEARN[self.method])
        self.cut = self._tail(self._oddness(scaled), 3 if self.method == "forest" else 2.5)
        if self.method != "forest" and self._axes is None:
            self.cut += 0.2 * (1 - 2 * self._apart)  # distances have longer tails than the depths of a forest
        return self

    def score(self, rows: NDArray[Any]) -> Array:
        """Say how odd rows are: 0 is ordinary, 1 is as odd as made up.

        Args:
            rows: (n, d) finite numbers, the columns that were learnt from.

        Returns:
            (n,) float64.
        """
        parts = (np.asarray(rows[start : start + 8192], np.float64) for start in range(0, len(rows), 8192))
        scores = [self._oddness(self._scale(self._project(part))) for part in parts]
        return np.concatenate(scores) if scores else np.empty(0)

    def _project(self, table: Array) -> Array:
        """Turn a wide table into its main axes and what these leave over; directions count, lengths do not."""
        if self._axes is None:
            return table
        unit = _unit(table) - self._centre
        main = unit @ self._axes
        rest = np.square(unit).sum(1) - np.square(main).sum(1)
        return np.column_stack([main, np.log(np.clip(rest, 1e-9, None))])

    def _tail(self, odd: Array, widths: float) -> float:
        """Where oddness begins: at 1; for main axes, which are many and tame, where the ordinary ones end."""
        if self._axes is None:
            return 1.0
        return float(min(1.0, widths * np.quantile(odd[self.ordinary], 0.95)))

    def _scale(self, table: Array) -> Array:
        """Each column in its own typical deviations, upwards and downwards apart."""
        away = table - self._middle
        scaled: Array = np.clip(away / np.where(away < 0, self._below, self._above), -50, 50)
        return scaled

    def _features(self, scaled: Array) -> Array:
        """Beside the columns, their decorrelated combinations: what is odd by itself, and what is odd together."""
        return np.concatenate([scaled, (scaled - self._mean) @ self._turn], axis=1)

    def _excess(self, scaled: Array) -> Array:
        """How far out the columns are by themselves, in upper quartiles above the median."""
        middle, upper = self._usual
        excess: Array = (_far_out(scaled) - middle) / max(upper - middle, 1e-6)
        return excess

    def _oddness(self, scaled: Array) -> Array:
        together = (self._raw(self._features(scaled)) - self._zero) / (self._one - self._zero)
        alone = np.clip(self._excess(scaled) / _ODD_ALONE, 0, None)
        both: Array = np.where(
            together > 0, np.clip(together, 0, None) ** (1 - self._apart) * alone**self._apart, together
        )
        return both

    def _learn(self, scaled: Array, rng: np.random.Generator, learn: Learn) -> None:
        from sklearn.covariance import ledoit_wolf

        core = scaled[self.ordinary]
        self._mean = core.mean(0)
        covariance, _ = ledoit_wolf(np.clip(core - self._mean, -8, 8))
        widths, axes = np.linalg.eigh(covariance)
        self._turn = axes / np.sqrt(np.maximum(widths, 0.01 * widths.mean()))
        features = self._features(core)
        made_up = _made_up(features, rng)
        self._raw = learn(features, made_up, self.seed)
        self._zero = float(np.median(self._raw(features)))
        self._one = max(float(np.median(self._raw(made_up))), self._zero + 1e-6)


def _far_out(scaled: Array) -> Array:
    """How far out a row's columns are, each by itself; a few columns do not run away with it."""
    far: Array = np.log1p(np.clip(np.abs(scaled) - 1, 0, None)).sum(1)
    return far


def _unit(table: Array) -> Array:
    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit: Array = table / np.maximum(length, 1e-12)
    return unit


def _principal(unit: Array) -> Array:
    """Main axes of rows about zero, in which single far rows weigh little: (d, 64 or less)."""
    limit = 5 * unit.std(0)
    _, axes = np.linalg.eigh(np.cov(np.clip(unit, -limit, limit), rowvar=False))
    return axes[:, ::-1][:, : min(_COLUMNS, len(unit) // 4)]


def _made_up(features: Array, rng: np.random.Generator) -> Array:
    """Rows whose columns have nothing to do with each other, stretched 1 to 8 times about their medians."""
    count, columns = max(len(features) // 5, 20), features.shape[1]
    middle = np.median(features, axis=0)
    mixed = np.take_along_axis(features, rng.integers(len(features), size=(count, columns)), axis=0)
    rows: Array = middle + (mixed - middle) * 8 ** rng.random((count, columns))
    return rows


def _crowd(odd: Array, ordinary: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Tell which odd rows lie as close together as ordinary ones: another stain or microscope, not foreign."""
    from sklearn.neighbors import NearestNeighbors

    if len(odd) < _CROWD or len(ordinary) < _CROWD:
        return np.zeros(len(odd), bool)
    peers = ordinary[rng.permutation(len(ordinary))[: len(odd)]]
    odd_gap, gap = (
        NearestNeighbors(n_neighbors=6).fit(rows).kneighbors(rows)[0][:, -1]
        for rows in (_decorrelated(odd), _decorrelated(peers))
    )
    close: NDArray[np.bool_] = odd_gap <= 2 * np.median(gap)
    return close if close.sum() >= _CROWD else np.zeros_like(close)


def _forest(ordinary: Array, made_up: Array, seed: int) -> Callable[[Array], Array]:
    from sklearn.ensemble import IsolationForest

    table = np.concatenate([ordinary, made_up]).astype(np.float32)
    forest = IsolationForest(n_estimators=200, max_samples=min(1024, len(table)), random_state=seed).fit(table)
    return functools.partial(_shortness, forest)


def _shortness(forest: Any, features: Array) -> Array:
    """How soon the forest's branches part a row from all others."""
    score: Array = -forest.score_samples(features.astype(np.float32))
    return score


def _mahalanobis(ordinary: Array, made_up: Array, seed: int) -> Callable[[Array], Array]:
    return _from_centre


def _from_centre(features: Array) -> Array:
    score: Array = np.log(np.square(_decorrelated(features)).mean(1) + 1e-12)
    return score


def _decorrelated(features: Array) -> Array:
    return features[:, features.shape[1] // 2 :]


def _neighbours(ordinary: Array, made_up: Array, seed: int) -> Callable[[Array], Array]:
    from sklearn.neighbors import NearestNeighbors

    chosen = np.random.default_rng(seed).permutation(len(ordinary))[:5000]
    search = NearestNeighbors(n_neighbors=min(10, len(chosen)), algorithm="brute")
    search.fit(_decorrelated(ordinary)[chosen].astype(np.float32))
    return functools.partial(_loneliness, search)


def _loneliness(search: Any, features: Array) -> Array:
    """Distance to the tenth nearest ordinary row."""
    score: Array = np.log(search.kneighbors(_decorrelated(features).astype(np.float32))[0][:, -1] + 1e-6)
    return score


_LEARN: dict[str, Learn] = {
    "forest": _forest,
    "mahalanobis": _mahalanobis,
    "neighbours": _neighbours,
}
