"""Whether two scores differ: of two classifiers on the same images, or of one classifier on two sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate, Scores, score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]


def mcnemar(only_first: int, only_second: int) -> float:
    """Test whether two classifiers make equally many mistakes on the same images (exact, two-sided).

    Images that both call right, or both wrong, say nothing about which is better; of the others, each classifier
    gets half if they are equally good.

    Args:
        only_first: Images that only the first calls right.
        only_second: Images that only the second calls right.

    Returns:
        The probability of so uneven a share, or a more uneven one, between equally good classifiers; 0-1.

    Examples:
        >>> round(mcnemar(1, 9), 4), mcnemar(4, 4), mcnemar(0, 0)
        (0.0215, 1.0, 1.0)

    Source:
        McNemar, Psychometrika 12 (1947) 153-157; Dietterich, Neural Computation 10 (1998) 1895-1923 (for classifiers).
    """
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for how many comparisons were made, so that any one below 0.05 is no luck of the many.

    Args:
        p_values: One for each comparison, 0-1.

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Source:
        Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(corrected), 1)
    return [float(p) for p in found]


@dataclass(frozen=True)
class Paired:
    """How two classifiers differ on the same images; made by ``compare_paired``.

    Args:
        n: How many images.
        macro_f1: First minus second, as a fraction, with the interval of the paired bootstrap.
        balanced_accuracy: The same.
        accuracy: The same.
        only_first: Images that only the first calls right.
        only_second: Images that only the second calls right.
        p_value: McNemar's exact test of those two numbers.
    """

    n: int
    macro_f1: Estimate
    balanced_accuracy: Estimate
    accuracy: Estimate
    only_first: int
    only_second: int
    p_value: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the macro F1 leaves out zero."""
        return not self.macro_f1.low <= 0 <= self.macro_f1.high

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "n": self.n,
            "macro_f1": self.macro_f1.to_dict(),
            "balanced_accuracy": self.balanced_accuracy.to_dict(),
            "accuracy": self.accuracy.to_dict(),
            "only_first": self.only_first,
            "only_second": self.only_second,
            "p_value": self.p_value,
        }


def compare_paired(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: int,
    *,
    min_count: int = 1,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """Compare what two classifiers call the same images.

    Whole images are drawn again, each class for itself, with what both call them: an image that is hard for both
    then weighs nothing in the difference, which makes this sharper than two intervals side by side.

    Args:
        labels: (N,) whole numbers from 0 to below ``classes``.
        first: (N,) the classes that the first calls.
        second: (N,) the classes that the second calls.
        classes: How many classes there are.
        min_count: Classes with fewer images stay out of macro F1 and balanced accuracy.
        confidence: 0-1, the share of such intervals that hold the true difference.
        resamples: How many bootstrap resamples.
        seed: Chooses them.

    Raises:
        DataError: Arrays of different lengths, no images, or no class with ``min_count`` of them.

    Examples:
        >>> found = compare_paired([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0], 2)
        >>> found.only_first, found.only_second, float(found.accuracy)
        (1, 0, 0.25)

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8; ``mcnemar``.
    """
    truth, one, two = (np.asarray(array, np.int64) for array in (labels, first, second))
    if not len(truth) or truth.ndim != 1 or not truth.shape == one.shape == two.shape:
        raise DataError(f"{truth.shape} labels, {one.shape} and {two.shape} calls; expected one of each for an image")
    support = np.bincount(truth, minlength=classes)
    averaged = support >= min_count
    if not averaged.any():
        raise DataError(f"no class has min_count = {min_count} images, the largest has {support.max()}; lower it")
    rng = np.random.default_rng(seed)
    hits = np.zeros((2, 1 + resamples, classes))  # the first row holds what was found, the others what was drawn
    predicted = np.zeros_like(hits)
    for k in np.flatnonzero(support):
        both, counts = np.unique(np.stack([one, two])[:, truth == k], axis=1, return_counts=True)
        drawn = np.vstack([counts, rng.multinomial(support[k], counts / support[k], size=resamples)])
        for place in (0, 1):
            called = drawn @ (both[place][:, None] == np.arange(classes))
            hits[place, :, k] = called[:, k]
            predicted[place] += called
    a, b = (score(hits[place], support, predicted[place], averaged) for place in (0, 1))

    def between(x: Floats, y: Floats) -> Estimate:
        difference = x - y
        return Estimate(difference[0], *np.quantile(difference[1:], _tails(confidence)).tolist())

    only = [int(((x == truth) & (y != truth)).sum()) for x, y in ((one, two), (two, one))]
    return Paired(
        n=len(truth),
        macro_f1=between(a.macro[2], b.macro[2]),
        balanced_accuracy=between(a.macro[1], b.macro[1]),
        accuracy=between(a.accuracy, b.accuracy),
        only_first=only[0],
        only_second=only[1],
        p_value=mcnemar(*only),
    )


@dataclass(frozen=True)
class Change:
    """One score on two sets.

    Args:
        name: The score, or the class whose recall it is.
        before: On the first set.
        after: On the second.
        difference: After minus before, as a fraction, with its interval.
    """

    name: str
    before: Estimate
    after: Estimate
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        parts = {"before": self.before, "after": self.after, "difference": self.difference}
        return {"name": self.name} | {name: value.to_dict() for name, value in parts.items()}


def compare_sets(
    before: ArrayLike,
    after: ArrayLike,
    class_names: Sequence[str],
    *,
    min_count: int = 1,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Compare the scores of one classifier on two sets of other images.

    Both sets count the classes that both have, each class with the weight that the second set gives it: a set of
    mostly neutrophils has another accuracy and another F1 than one of mostly platelets, though the classifier be the
    same, and that is no change of the classifier.

    Args:
        before: (C, C) counts of the first set; rows the truth, columns the prediction.
        after: The same of the second set.
        class_names: C names.
        min_count: Classes with fewer images in the second set stay out of the averages.
        confidence: 0-1, the share of such intervals that hold the true difference.
        resamples: How many bootstrap resamples of each set, drawn independently.
        seed: Chooses them.

    Returns:
        The changes of balanced accuracy, macro F1 and accuracy; and that of the recall of each class that both have.

    Raises:
        DataError: The sets have no class in common that can be averaged.

    Examples:
        >>> averages, recalls = compare_sets([[90, 10], [0, 100]], [[5, 5], [0, 10]], ["round", "lobed"])
        >>> [(one.name, round(one.difference, 3)) for one in averages]
        [('balanced accuracy', -0.2), ('macro F1', -0.217), ('accuracy', -0.2)]

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8 (two samples); Zou & Donner, Statistics
        in Medicine 27 (2008) 1693-1702 (a difference from two intervals, where a sample without any mistake, or
        without any hit, draws itself).
    """
    one, two = np.array(before, np.int64), np.array(after, np.int64)
    shared = (one.sum(1) > 0) & (two.sum(1) > 0)
    averaged = shared & (two.sum(1) >= min_count)
    if not averaged.any():
        raise DataError(f"the sets share no class with {min_count} or more images in the second; lower min_count")
    two[~shared] = 0
    support = two.sum(1)
    rng = np.random.default_rng(seed)
    drawn = [_drawn(counts, support, averaged, resamples, rng) for counts in (two, one)][::-1]  # as ``resample`` does
    tail = (1 - confidence) / 2
    unseen = [1 - tail ** (1 / np.maximum(np.where(shared, counts.sum(1), 1), 1)) for counts in (one, two)]
    averages = averaged.sum()

    def change(name: str, values: Sequence[Floats], reach: Sequence[float]) -> Change:
        ends = [_around(x, tail, widest) for x, widest in zip(values, reach, strict=True)]
        difference = values[1] - values[0]
        low, high = np.quantile(difference[1:], [tail, 1 - tail])
        if any(x[1:].min() == x[1:].max() for x in values):
            low = difference[0] - np.hypot(ends[1] - ends[1].low, ends[0].high - ends[0])
            high = difference[0] + np.hypot(ends[1].high - ends[1], ends[0] - ends[0].low)
        return Change(name, ends[0], ends[1], Estimate(difference[0], low, high))

    mean_reach = [float(reach[averaged].max() / averages) for reach in unseen]
    weight = support / support.sum()  # the unseen mistakes may all be in one class that weighs more here than there
    whole_reach = [
        max(1 - tail ** (1 / counts[shared].sum()), float((reach * weight).max()))
        for counts, reach in zip((one, two), unseen, strict=True)
    ]
    return (
        change("balanced accuracy", [s.macro[1] for s in drawn], mean_reach),
        change("macro F1", [s.macro[2] for s in drawn], mean_reach),
        change("accuracy", [s.accuracy for s in drawn], whole_reach),
    ), tuple(
        change(name, [s.recall[:, k] for s in drawn], [float(reach[k]) for reach in unseen])
        for k, name in enumerate(class_names)
        if shared[k]
    )


def points(difference: Estimate) -> str:
    """Write a difference of shares in percentage points.

    Examples:
        >>> points(Estimate(-0.0213, -0.0351, 0.0))
        '-2.1 points (-3.5 to +0.0)'
    """
    value, low, high = (f"{round(100 * x, 1) + 0.0:+.1f}" for x in (float(difference), difference.low, difference.high))
    return f"{value} points ({low} to {high})"


def _drawn(
    counts: NDArray[np.int64],
    support: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    resamples: int,
    rng: np.random.Generator,
) -> Scores:
    """Score what was found (first) and what was drawn, every class weighted to its ``support``."""
    hits = np.zeros((1 + resamples, len(support)))
    predicted = np.zeros_like(hits)
    for k in np.flatnonzero(support):
        row, own = counts[k], counts[k].sum()
        drawn = np.vstack([row, rng.multinomial(own, row / own, size=resamples)]) * (support[k] / own)
        hits[:, k] = drawn[:, k]
        predicted += drawn
    return score(hits, support, predicted, averaged)


def _around(values: Floats, tail: float, reach: float) -> Estimate:
    low, high = np.quantile(values[1:], [tail, 1 - tail])
    if low == high:
        low, high = max(0.0, low - reach), min(1.0, high + reach)
    return Estimate(values[0], low, high)


def _tails(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]
