"""Confidence intervals: an estimate with its interval, and the bootstrap of a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellclf.evaluation.groups import degrees_of_freedom, resample_groups, stretch

Floats = NDArray[np.float64]


class Estimate(float):
    """A float with the ends of its confidence interval.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.

    Examples:
        >>> f1 = Estimate(0.951, 0.942, 0.959)
        >>> f1 > 0.95, f1.low
        (True, 0.942)
        >>> print(f1)
        95.1 % (94.2-95.9)
    """

    low: float
    high: float

    def __new__(cls, value: float, low: float, high: float) -> Estimate:
        """Make the float and attach the interval to it.

        Args:
            value: The estimate; NaN when there is nothing to estimate from.
            low: Lower end of the interval.
            high: Upper end of the interval.
        """
        made = super().__new__(cls, value)
        made.low, made.high = float(low), float(high)
        return made

    def __getnewargs__(self) -> tuple[float, float, float]:  # type: ignore[override]  # float's own type is (float,)
        return float(self), self.low, self.high

    def __str__(self) -> str:
        if self != self:
            return "no images"
        return f"{100 * float(self):.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f})"

    def to_dict(self) -> dict[str, float | None]:
        """Give value, low and high as fractions; None where there is no number."""
        numbers = {"value": float(self), "low": self.low, "high": self.high}
        return {name: number if np.isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of one confusion matrix, or of many at once (leading axes ``...``), that scores are computed from.

    The same functions of these counts give the value and every bootstrap resample, so that the two cannot disagree;
    the tests hold them equal to scikit-learn's with ``zero_division=0``.

    Args:
        hits: (..., C) images of the class that were predicted so.
        support: (C,) images of the class.
        predicted: (..., C) images that were predicted as the class.
        averaged: (C,) bool, classes that averages over classes include.

    Examples:
        >>> counts = Counts(np.array([3, 1]), np.array([4, 1]), np.array([3, 2]), np.array([True, True]))
        >>> counts.recall.tolist(), counts.precision.tolist()
        ([0.75, 1.0], [1.0, 0.5])
    """

    hits: NDArray[Any]
    support: NDArray[Any]
    predicted: NDArray[Any]
    averaged: NDArray[np.bool_]

    @cached_property
    def precision(self) -> Floats:
        """(..., C) share of what was predicted as the class that is the class; 0 if nothing was."""
        return _ratio(self.hits, self.predicted)

    @cached_property
    def recall(self) -> Floats:
        """(..., C) share of the class that was predicted so; 0 for a class without images."""
        return _ratio(self.hits, self.support)

    @cached_property
    def f1(self) -> Floats:
        """(..., C) harmonic mean of the two."""
        return _ratio(2 * self.hits, self.support + self.predicted)


def count(confusion: NDArray[np.int64], averaged: NDArray[np.bool_]) -> Counts:
    """Give the counts of a confusion matrix.

    Args:
        confusion: (C, C) counts, rows the truth, columns the prediction.
        averaged: (C,) bool, classes that averages over classes include.
    """
    return Counts(confusion.diagonal(), confusion.sum(1), confusion.sum(0), averaged)


def resample(confusion: NDArray[np.int64], resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw images with replacement, each class separately, and count hits and predictions again.

    Drawing n_c images of a class with replacement changes its row of the confusion matrix like one draw of
    a multinomial, so no image is touched and 100,000 of them cost no more than 100. The classes keep their
    sizes because those depend on how the set was collected, not on how good the classifier is; and a rare class
    cannot vanish from a resample, which would leave its recall undefined.

    Args:
        confusion: (C, C) counts, rows the truth.
        resamples: How many times.
        seed: Of the random numbers.

    Returns:
        Hits and predicted counts, both (resamples, C).

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993): chapter 8 for samples of several groups.
    """
    rng = np.random.default_rng(seed)
    hits = np.zeros((resamples, len(confusion)), np.int64)
    predicted = np.zeros_like(hits)
    for k, row in enumerate(confusion):
        if count := int(row.sum()):
            drawn = rng.multinomial(count, row / count, size=resamples)
            hits[:, k] = drawn[:, k]
            predicted += drawn
    return hits, predicted


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A confusion matrix and its bootstrap resamples; made by ``bootstrap``.

    Args:
        found: The counts as they are.
        resampled: The counts of all resamples, (resamples, C).
        confidence: 0-1, the share of intervals that hold the true value.
        grouped: The counts of all resamples of groups; None where there are none. An interval then holds both.
        groups: (C,) in how many groups each class is; last, how many there are.
    """

    found: Counts
    resampled: Counts
    confidence: float
    grouped: Counts | None = None
    groups: NDArray[np.int64] | None = None

    def estimate(
        self, function: Callable[[Counts], Floats], *, averages: Literal["classes", "images"] = "classes"
    ) -> Estimate:
        """Compute one score, with a percentile interval.

        A score that is the same in every resample is widened by the exact binomial bound, see ``widened``; an average
        over classes assumes that the mistakes not seen are in the rarest class.

        Args:
            function: From counts with leading axes ``...`` to scores of shape (...).
            averages: What the score averages over.
        """
        tail = (1 - self.confidence) / 2
        support, averaged = self.found.support, self.found.averaged
        if averages == "images":
            reach = 1 - tail ** (1 / int(support.sum()))
        else:
            reach = (1 - tail ** (1 / int(support[averaged].min()))) / int(averaged.sum())
        low, high = np.quantile(function(self.resampled), [tail, 1 - tail])
        value = float(function(self.found))
        one = widened(value, low, high, reach)
        if self.grouped is None or self.groups is None:
            return one
        groups = float(self.groups[-1])
        if averages == "classes":
            spread = np.where(averaged, self.grouped.recall.var(0), 0.0)
            groups = min(groups, 1 + degrees_of_freedom(spread, self.groups[:-1]))
        return around_groups(one, function(self.grouped), groups, self.confidence)

    def precision(self) -> tuple[Estimate, ...]:
        """Compute the precision of each class; NaN for a class without images."""
        return self._each("precision", (self.found.predicted,))

    def recall(self) -> tuple[Estimate, ...]:
        """Compute the recall of each class; NaN for a class without images."""
        return self._each("recall", (self.found.support,))

    def f1(self) -> tuple[Estimate, ...]:
        """Compute the F1 of each class; NaN for a class without images."""
        return self._each("f1", (self.found.support, self.found.predicted))

    def _each(
        self, name: Literal["precision", "recall", "f1"], trials: tuple[NDArray[Any], ...]
    ) -> tuple[Estimate, ...]:
        """Put an interval around the score of each class; ``trials`` are the counts that bound a score of 0 or 1."""
        tail = (1 - self.confidence) / 2
        values: Floats = getattr(self.found, name)
        resampled: Floats = getattr(self.resampled, name)
        lows, highs = np.quantile(resampled, [tail, 1 - tail], axis=0)
        found = []
        for k, (value, low, high) in enumerate(zip(values.tolist(), lows, highs, strict=True)):
            estimate = widened(value, low, high, _reach(name, value, [int(counts[k]) for counts in trials], tail))
            if self.grouped is not None and self.groups is not None and self.groups[k] > 1:
                again: Floats = getattr(self.grouped, name)[:, k]
                estimate = around_groups(estimate, again, float(self.groups[k]), self.confidence)
            found.append(estimate if self.found.support[k] else Estimate(np.nan, np.nan, np.nan))
        return tuple(found)


def bootstrap(
    confusion: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    images: Grouped | None = None,
) -> Bootstrap:
    """Resample a confusion matrix, so that every score of it gets an interval.

    Args:
        confusion: (C, C) counts, rows the truth, columns the prediction.
        averaged: (C,) bool, classes that averages over classes include.
        confidence: 0-1, the share of such intervals that hold the true value.
        resamples: How many bootstrap resamples.
        seed: Chooses them.
        images: Labels, predictions and groups behind the matrix; None resamples images only.

    Examples:
        >>> found = bootstrap(
        ...     np.array([[8, 2], [1, 9]]), np.array([True, True]), confidence=0.95, resamples=200, seed=0
        ... )
        >>> float(found.recall()[0]), float(found.estimate(lambda counts: counts.recall.min(-1)))
        (0.8, 0.8)

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile intervals);
        Clopper & Pearson, Biometrika 26 (1934) 404-413 (the exact binomial bound).
    """
    found = count(confusion, averaged)
    hits, predicted = resample(confusion, resamples, seed)
    resampled = Counts(hits, found.support, predicted, averaged)
    if images is None or images.number < 2:
        return Bootstrap(found, resampled, confidence)
    again = resample_groups(*images, len(confusion), resamples=resamples, seed=seed)
    grouped = Counts(again[0], found.support, again[1], averaged)
    return Bootstrap(found, resampled, confidence, grouped, images.counts(len(confusion)))


class Grouped(NamedTuple):
    """Images with their groups.

    Args:
        labels: (N,) classes.
        predicted: (N,) predicted classes.
        groups: (N,) numbers from 0, see ``number_groups``.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def number(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Give in how many groups each class is, (C,), and last how many there are."""
        pairs = np.unique(self.labels * self.number + self.groups)
        return np.append(np.bincount(pairs // self.number, minlength=classes), self.number)


def around_groups(one: Estimate, resampled: Floats, groups: float, confidence: float) -> Estimate:
    """Widen an interval of images by that of groups: images of one slide are alike, and slides differ.

    It is stretched on the scale of log odds: near 100 % slides scatter more to the one side than to the other.

    Args:
        one: The score, 0-1, with its interval from images.
        resampled: The score in resamples of groups.
        groups: How many there are, see ``stretch``.
        confidence: Of the interval, 0-1.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]).tolist()
    value, wider = float(one), stretch(groups, confidence)

    def end_at(percentile: float) -> float:
        far = _log_odds(value) + wider * (_log_odds(percentile) - _log_odds(value))
        return float(1 / (1 + np.exp(np.clip(-far, -700, 700))))

    ends = (end_at(low) if low < value else value, end_at(high) if high > value else value)
    return Estimate(value, min(one.low, ends[0]), max(one.high, ends[1]))


def _reach(name: str, value: float, trials: Sequence[int], tail: float) -> float:
    """Say how far from 0 or 1 the true score may be where no resample differs, by the exact binomial bound.

    Args:
        name: Of the score.
        value: The score that all resamples give.
        trials: Of how many images it is the share: those of the class, those that were predicted as it.
        tail: Probability of a true value beyond.
    """
    counts = [count for count in trials if count] or [1]
    if name == "f1" and value == 0:  # with a recall of at most r, F1 is at most 2r / (1 + r); so with the precision
        bound = 1 - tail ** (1 / max(counts))
        return float(2 * bound / (1 + bound))
    return float(1 - tail ** (1 / min(counts)))


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return float(np.log(share / (1 - share)))


def widened(value: float, low: float, high: float, reach: float) -> Estimate:
    """Widen an interval of no width: without a single mistake, every resample gives the same score.

    "100 % (100-100)" from three images would be too optimistic: another three images may well contain a mistake.

    Args:
        value: The score, 0-1.
        low: Lower end of its percentile interval.
        high: Upper end.
        reach: How far the true value may be, by the exact binomial bound.

    Examples:
        >>> one = widened(1.0, 1.0, 1.0, 0.3)
        >>> one.low, one.high
        (0.7, 1.0)
    """
    if low == high:
        low, high = max(0.0, low - reach), min(1.0, high + reach)
    return Estimate(value, min(low, value), max(high, value))


def binomial_interval(hits: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Give the exact interval of a proportion (Clopper and Pearson).

    Args:
        hits: 0 to ``trials``; may lie between whole numbers.
        trials: 1 or more.
        confidence: 0-1, the share of such intervals that hold the true value.

    Examples:
        >>> [round(end, 3) for end in binomial_interval(9, 10)]
        [0.555, 0.997]

    Source:
        Clopper & Pearson, Biometrika 26 (1934) 404-413.
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits >= trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def estimate_shares(
    shares: Floats,
    labels: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """Average how often each image was classified correctly under several conditions, with bootstrap intervals.

    Every condition has the same images, so whole images are resampled, each class separately as in ``resample``;
    images of a class that were correct equally often are interchangeable, so one multinomial draw is enough.

    Args:
        shares: (N,) share of the conditions in which an image was classified correctly, 0-1.
        labels: (N,) classes.
        averaged: (C,) bool, classes that the balanced accuracy includes.
        confidence: 0-1, the share of such intervals that hold the true value.
        resamples: How many bootstrap resamples.
        seed: Chooses them.

    Returns:
        Balanced accuracy and accuracy, each the mean over the conditions.

    Examples:
        >>> labels, both = np.array([0, 0, 0, 1]), np.array([True, True])
        >>> balanced, plain = estimate_shares(
        ...     np.array([1, 1, 1, 0.5]), labels, both, confidence=0.95, resamples=100, seed=0
        ... )
        >>> float(balanced), float(plain)
        (0.75, 0.875)
    """
    rng = np.random.default_rng(seed)
    tail = (1 - confidence) / 2
    support = np.bincount(labels, minlength=len(averaged))
    point, again = np.zeros(len(averaged)), np.zeros((resamples, len(averaged)))
    for k in np.flatnonzero(support):
        values, counts = np.unique(shares[labels == k], return_counts=True)
        point[k] = values @ counts / support[k]
        again[:, k] = rng.multinomial(support[k], counts / support[k], size=resamples) @ values / support[k]

    def around(value: float, draws: Floats, reach: float) -> Estimate:
        low, high = np.quantile(draws, [tail, 1 - tail])
        return widened(value, low, high, reach)

    rarest, classes, total = int(support[averaged].min()), int(averaged.sum()), int(support.sum())
    balanced = around(float(point[averaged].mean()), again[:, averaged].mean(1), (1 - tail ** (1 / rarest)) / classes)
    plain = around(float(point @ support) / total, again @ support / total, 1 - tail ** (1 / total))
    return balanced, plain


def _ratio(upper: NDArray[Any], lower: NDArray[Any]) -> Floats:
    lower = np.asarray(lower, np.float64)
    ratio: Floats = np.zeros(np.broadcast_shapes(upper.shape, lower.shape))
    np.divide(upper, lower, out=ratio, where=lower > 0)
    return ratio
