"""Precision, recall and F1 from counts, with bootstrap intervals; no images, no probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Estimate(float):
    """A number that knows how sure it is: a float with the ends of its interval.

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
        """Make the float and hang the interval on it.

        Args:
            value: The estimate; NaN when there is nothing to estimate from.
            low: Lower end of the interval.
            high: Upper end of the interval.
        """
        made = super().__new__(cls, value)
        made.low, made.high = float(low), float(high)
        return made

    def __getnewargs__(self) -> tuple[float, float, float]:  # type: ignore[override]  # float's own says (float,)
        return float(self), self.low, self.high

    def __str__(self) -> str:
        if self != self:
            return "no images"
        return f"{100 * float(self):.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f})"

    def to_dict(self) -> dict[str, float | None]:
        """Give value, low and high as fractions; None where there is no number."""
        numbers = {"value": float(self), "low": self.low, "high": self.high}
        return {name: number if np.isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix, or of many at once (leading axes ``...``).

    Args:
        precision: (..., C) share of what was called the class that is the class; 0 if nothing was.
        recall: (..., C) share of the class that was called so.
        f1: (..., C) harmonic mean of the two.
        macro: (3, ...) plain means of precision, recall and F1 over the averaged classes.
        weighted: (3, ...) the same, weighted by images, over all classes.
        accuracy: (...) share of all images that were called right.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    macro: Floats
    weighted: Floats
    accuracy: Floats


def score(hits: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any], averaged: NDArray[np.bool_]) -> Scores:
    """Compute all scores from three counts of each class.

    The same few lines serve the point values and every bootstrap resample, so that the two cannot disagree;
    the tests hold them equal to scikit-learn's with ``zero_division=0``.

    Args:
        hits: (..., C) images of the class that were called so.
        support: (C,) images of the class.
        predicted: (..., C) images that were called so.
        averaged: (C,) bool, classes that the macro averages run over.

    Examples:
        >>> s = score(np.array([3, 1]), np.array([4, 1]), np.array([3, 2]), np.array([True, True]))
        >>> s.recall.tolist(), s.precision.tolist(), float(s.accuracy)
        ([0.75, 1.0], [1.0, 0.5], 0.8)
    """
    hits = np.asarray(hits, np.float64)
    support = np.broadcast_to(np.asarray(support, np.float64), hits.shape)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    total = support.sum(-1)
    three = np.stack([precision, recall, f1])
    return Scores(
        precision=precision,
        recall=recall,
        f1=f1,
        macro=three[..., averaged].mean(-1),
        weighted=(three * support).sum(-1) / total,
        accuracy=hits.sum(-1) / total,
    )


def resample(confusion: NDArray[np.int64], resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw images with replacement, each class for itself, and count hits and predictions again.

    Drawing n_c images of a class with replacement changes its row of the confusion matrix like one draw of
    a multinomial, so no image is touched and 100,000 of them cost no more than 100. The classes keep their
    sizes because those say how the set was collected, not how good the classifier is; and a rare class cannot
    vanish from a resample and leave its recall undefined.

    Args:
        confusion: (C, C) counts, rows the truth.
        resamples: How many times.
        seed: Chooses the draws.

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


@dataclass(frozen=True)
class Estimates:
    """All scores of one confusion matrix with intervals: what ``estimate`` gives.

    Args:
        precision: One for each class; NaN for a class without images.
        recall: The same.
        f1: The same.
        macro: Precision, recall, F1.
        weighted: Precision, recall, F1.
        accuracy: Of all images.
    """

    precision: tuple[Estimate, ...]
    recall: tuple[Estimate, ...]
    f1: tuple[Estimate, ...]
    macro: tuple[Estimate, Estimate, Estimate]
    weighted: tuple[Estimate, Estimate, Estimate]
    accuracy: Estimate


def estimate(
    confusion: NDArray[np.int64], averaged: NDArray[np.bool_], *, confidence: float, resamples: int, seed: int
) -> Estimates:
    """Score a confusion matrix and put a percentile bootstrap interval around every score.

    A class (or a whole set) without a single mistake, or without a single hit, gives the same score in every
    resample, and "100 % (100-100)" from three images would promise too much. There the exact binomial bound
    takes over; an average over classes without any mistake assumes the unseen mistakes in the rarest class.

    Args:
        confusion: (C, C) counts, rows the truth, columns the prediction.
        averaged: (C,) bool, classes that the macro averages run over.
        confidence: 0-1, the share of such intervals that hold the true value.
        resamples: How many bootstrap resamples.
        seed: Chooses them.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile intervals);
        Clopper & Pearson, Biometrika 26 (1934) 404-413 (the exact binomial bound).
    """
    hits, support, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    point = score(hits, support, predicted, averaged)
    again = score(*_with_support(resample(confusion, resamples, seed), support), averaged)
    tail = (1 - confidence) / 2

    def around(value: Floats, draws: Floats) -> Iterator[Estimate]:
        low, high = np.quantile(draws, [tail, 1 - tail], axis=-1)
        for v, a, b in zip(np.atleast_1d(value), np.atleast_1d(low), np.atleast_1d(high), strict=True):
            yield Estimate(v, a, b)

    def each(value: Floats, draws: Floats, counts: tuple[NDArray[Any], ...]) -> tuple[Estimate, ...]:
        made = []
        for k, found in enumerate(around(value, draws.T)):
            if not support[k]:
                made.append(Estimate(np.nan, np.nan, np.nan))
            elif found.low == found.high and found in (0.0, 1.0):
                made.append(_bounded(float(found), [int(count[k]) for count in counts], tail))
            else:
                made.append(found)
        return tuple(made)

    def average(values: Floats, draws: Floats, bound: float) -> tuple[Estimate, Estimate, Estimate]:
        a, b, c = (Estimate(1.0, bound, 1.0) if x.low == 1.0 else x for x in around(values, draws))
        return a, b, c

    rarest, classes, total = int(support[averaged].min()), int(averaged.sum()), int(support.sum())
    (accuracy,) = around(point.accuracy, again.accuracy[None])
    if accuracy.low == accuracy.high:
        accuracy = _bounded(float(accuracy), [total], tail)
    return Estimates(
        precision=each(point.precision, again.precision, (predicted,)),
        recall=each(point.recall, again.recall, (support,)),
        f1=each(point.f1, again.f1, (support, predicted)),
        macro=average(point.macro, again.macro, 1 - (1 - tail ** (1 / rarest)) / classes),
        weighted=average(point.weighted, again.weighted, tail ** (1 / total)),
        accuracy=accuracy,
    )


def estimate_shares(
    shares: Floats,
    labels: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """Average how often each image was called right under several conditions, with bootstrap intervals.

    The same images stand in every condition, so whole images are drawn again, each class for itself as in
    ``resample``; images of a class that were right equally often are alike, so that a multinomial draw does.

    Args:
        shares: (N,) share of the conditions in which an image was called right, 0-1.
        labels: (N,) classes.
        averaged: (C,) bool, classes that the balanced accuracy runs over.
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

    def around(value: float, draws: Floats, bound: float) -> Estimate:
        low, high = np.quantile(draws, [tail, 1 - tail])
        return Estimate(value, bound if low == high == 1.0 else low, high)

    rarest, classes, total = int(support[averaged].min()), int(averaged.sum()), int(support.sum())
    balanced = around(point[averaged].mean(), again[:, averaged].mean(1), 1 - (1 - tail ** (1 / rarest)) / classes)
    plain = around(float(point @ support) / total, again @ support / total, tail ** (1 / total))
    return balanced, plain


def _with_support(
    drawn: tuple[NDArray[np.int64], NDArray[np.int64]], support: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return drawn[0], support, drawn[1]


def _bounded(value: float, counts: list[int], tail: float) -> Estimate:
    """Bound a proportion of 0 or 1 seen in so many trials (the fewest of them for an F1)."""
    trials = min(count for count in counts if count) if any(counts) else 1
    reach = 1 - tail ** (1 / trials)
    return Estimate(value, value - reach, value) if value else Estimate(value, value, reach)


def _ratio(upper: NDArray[Any], lower: NDArray[Any]) -> Floats:
    lower = np.asarray(lower, np.float64)
    ratio: Floats = np.zeros(np.broadcast_shapes(upper.shape, lower.shape))
    np.divide(upper, lower, out=ratio, where=lower > 0)
    return ratio
