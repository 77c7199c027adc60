"""Significance of differences: of two classifiers on the same images, or of one classifier on two sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.checks import Level, Resamples, averaged_classes, check_range, class_numbers
from cellclf.evaluation.groups import number_groups, resample_groups, stretch
from cellclf.evaluation.intervals import Counts, Estimate, Grouped, around_groups, widened
from cellclf.evaluation.scores import Score, scores_in
from cellclf.utils.parameters import Count, Seed, Whole, check_arguments, shortened
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]


def mcnemar(only_first: Whole, only_second: Whole) -> float:
    """Test whether two classifiers make equally many mistakes on the same images (exact, two-sided).

    Images that both classify correctly, or both wrongly, do not show which is better; of the others, each classifier
    gets half if they are equally good.

    Args:
        only_first: Images that only the first classifies correctly.
        only_second: Images that only the second classifies correctly.

    Returns:
        The probability of a difference at least as large between equally good classifiers; 0-1.

    Examples:
        >>> round(mcnemar(1, 9), 4), mcnemar(4, 4), mcnemar(0, 0)
        (0.0215, 1.0, 1.0)

    Source:
        McNemar, Psychometrika 12 (1947) 153-157; Dietterich, Neural Computation 10 (1998) 1895-1923 (for classifiers).
    """
    from scipy.stats import binom

    check_arguments(mcnemar, only_first=only_first, only_second=only_second)
    return min(1.0, 2 * float(binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons: the probability of any false positive at 0.05 is at most 5 %.

    Args:
        p_values: One for each comparison, 0-1.

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Source:
        Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    given = np.asarray(p_values, np.float64)
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise DataError(f"p_values={shortened(p_values)}; expected a list of numbers from 0 to 1")
    order = np.argsort(given, kind="stable")
    corrected = given[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(corrected), 1)
    return [float(p) for p in found]


@dataclass(frozen=True, eq=False, repr=False)
class Paired(Result):
    """The difference between two classifiers on the same images; made by ``compare_paired``.

    Args:
        n: How many images.
        differences: Name of a score -> first minus second, as a fraction, with the interval of the paired bootstrap.
        only_first: Images that only the first classifies correctly.
        only_second: Images that only the second classifies correctly.
        p_value: McNemar's exact test of those two numbers.
    """

    n: int
    differences: Mapping[str, Estimate]
    only_first: int
    only_second: int
    p_value: float

    @property
    def macro_f1(self) -> Estimate:
        """The difference in macro F1."""
        return self.differences["macro_f1"]

    @property
    def balanced_accuracy(self) -> Estimate:
        """The difference in balanced accuracy."""
        return self.differences["balanced_accuracy"]

    @property
    def accuracy(self) -> Estimate:
        """The difference in accuracy."""
        return self.differences["accuracy"]

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference in macro F1 excludes zero."""
        return not self.macro_f1.low <= 0 <= self.macro_f1.high

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "n": self.n,
            **{name: value.to_dict() for name, value in self.differences.items()},
            "only_first": self.only_first,
            "only_second": self.only_second,
            "p_value": self.p_value,
        }

    def summary(self) -> str:
        """Give the difference of each score with its interval, and McNemar's test."""
        lines = [
            f"{name}: {100 * value:+.1f} points ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
            for name, value in self.differences.items()
        ]
        test = f"right where the other is wrong: {self.only_first:,} and {self.only_second:,} of {self.n:,} images"
        return "\n".join([*lines, f"{test}; McNemar's exact test: p = {self.p_value:.3g}"])


def compare_paired(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: Count,
    *,
    min_count: Count | None = None,
    confidence: Level = 0.95,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    groups: ArrayLike | None = None,
) -> Paired:
    """Compare two classifiers on the same images.

    Whole images are resampled, each class separately, with the predictions of both classifiers: an image that is hard
    for both does not count in the difference, so this is more sensitive than two separate intervals.

    Args:
        labels: (N,) whole numbers from 0 to below ``classes``.
        first: (N,) classes predicted by the first.
        second: (N,) classes predicted by the second.
        classes: How many classes there are.
        min_count: Classes with fewer images are left out of macro F1 and balanced accuracy; None as by ``evaluate``.
        confidence: 0-1, the share of such intervals that hold the true difference.
        resamples: How many bootstrap resamples.
        seed: Of the resamples.
        groups: (N,) slide or patient of each image, which are then resampled, as by ``evaluate``. McNemar's test takes
            the images as independent all the same.

    Raises:
        DataError: Arrays of different lengths, no images, or no class with ``min_count`` of them.

    Examples:
        >>> found = compare_paired([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0], 2)
        >>> found.only_first, found.only_second, float(found.accuracy)
        (1, 0, 0.25)

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8; ``mcnemar``.
    """
    check_arguments(
        compare_paired, classes=classes, min_count=min_count, confidence=confidence, resamples=resamples, seed=seed
    )
    given = {"labels": labels, "first": first, "second": second}
    truth, one, two = (class_numbers(array, name) for name, array in given.items())
    for name, numbers_of in zip(given, (truth, one, two), strict=True):
        check_range(numbers_of, classes, name)
    if not truth.shape == one.shape == two.shape:
        raise DataError(f"{truth.shape} labels, {one.shape} and {two.shape} predictions; expected one of each an image")
    support = np.bincount(truth, minlength=classes)
    averaged = averaged_classes(support, min_count)
    rng = np.random.default_rng(seed)
    hits = np.zeros((2, 1 + resamples, classes))  # row 0 holds the counts as they are, the others are resampled
    predicted = np.zeros_like(hits)
    for k in np.flatnonzero(support):
        # images of a class with the same two predictions are interchangeable: a multinomial draws how many of each
        both, counts = np.unique(np.stack([one, two])[:, truth == k], axis=1, return_counts=True)
        drawn = np.vstack([counts, rng.multinomial(support[k], counts / support[k], size=resamples)])
        for which in (0, 1):
            found = drawn @ (both[which][:, None] == np.arange(classes))
            hits[which, :, k] = found[:, k]
            predicted[which] += found
    counted = [Counts(hits[which], support, predicted[which], averaged) for which in (0, 1)]
    tail = (1 - confidence) / 2
    numbers = number_groups(groups, len(truth))
    grouped: list[Counts] = []
    if numbers is not None and numbers.max() > 0:
        for called in (one, two):  # the same groups are drawn for both
            again = resample_groups(truth, called, numbers, classes, resamples=resamples, seed=seed)
            grouped.append(Counts(again[0], support, again[1], averaged))

    def difference(score: Score) -> Estimate:
        assert score.of_counts is not None
        values = score.of_counts(counted[0]) - score.of_counts(counted[1])
        low, high = np.quantile(values[1:], [tail, 1 - tail]).tolist()
        if grouped and numbers is not None:
            again = score.of_counts(grouped[0]) - score.of_counts(grouped[1])
            wider = stretch(int(numbers.max()) + 1, confidence)
            ends = values[0] + wider * (np.quantile(again, [tail, 1 - tail]) - values[0])
            low, high = max(-1.0, min(low, ends[0])), min(1.0, max(high, ends[1]))
        return Estimate(values[0], low, high)

    only = [int(((x == truth) & (y != truth)).sum()) for x, y in ((one, two), (two, one))]
    return Paired(
        n=len(truth),
        differences={score.name: difference(score) for score in scores_in("difference")},
        only_first=only[0],
        only_second=only[1],
        p_value=mcnemar(*only),
    )


@dataclass(frozen=True, repr=False)
class Change(Result):
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

    def summary(self) -> str:
        """Give the score before and after, and the difference with its interval."""
        value = self.difference
        return (
            f"{self.name}: {100 * self.before:.1f} % to {100 * self.after:.1f} %, {100 * value:+.1f} points "
            f"({100 * value.low:+.1f} to {100 * value.high:+.1f})"
        )


def compare_sets(
    before: ArrayLike,
    after: ArrayLike,
    class_names: Sequence[str],
    *,
    min_count: Count = 1,
    confidence: Level = 0.95,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    images: tuple[Grouped | None, Grouped | None] = (None, None),
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Compare the scores of one classifier on two sets of different images.

    Only classes that both sets have are counted, each with the weight that it has in the second set: a set of mostly
    neutrophils has another accuracy and another F1 than one of mostly platelets, with the same classifier, and that
    is not a change of the classifier.

    Args:
        before: (C, C) counts of the first set; rows the truth, columns the prediction.
        after: The same of the second set.
        class_names: C names.
        min_count: Classes with fewer images in the second set are left out of the averages.
        confidence: 0-1, the share of such intervals that hold the true difference.
        resamples: How many bootstrap resamples of each set, drawn independently.
        seed: Of the resamples.
        images: Labels, predictions and groups (slides, patients) behind the counts of each set, whose groups are then
            resampled, too; None where they are not known.

    Returns:
        The changes of balanced accuracy, macro F1 and accuracy; and of the recall of each class that both have.

    Raises:
        DataError: The sets have no class in common that can be averaged.

    Examples:
        >>> averages, recalls = compare_sets([[90, 10], [0, 100]], [[5, 5], [0, 10]], ["round", "lobed"])
        >>> [(one.name, round(one.difference, 3)) for one in averages]
        [('balanced accuracy', -0.2), ('macro F1', -0.217), ('accuracy', -0.2)]

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8 (two samples); Zou & Donner, Statistics
        in Medicine 27 (2008) 1693-1702 (a difference from two intervals, with groups and where every resample gives the
        same score).
    """
    check_arguments(compare_sets, min_count=min_count, confidence=confidence, resamples=resamples, seed=seed)
    one, two = np.array(before, np.int64), np.array(after, np.int64)
    if not one.shape == two.shape == (len(class_names),) * 2 or min(one.min(), two.min()) < 0:
        raise DataError(
            f"counts have shapes {one.shape} and {two.shape}; expected {(len(class_names),) * 2}, of 0 or more"
        )
    shared = (one.sum(1) > 0) & (two.sum(1) > 0)
    averaged = shared & (two.sum(1) >= min_count)
    if not averaged.any():
        raise DataError(f"the sets share no class with {min_count} or more images in the second; lower min_count")
    two[~shared] = 0
    support = two.sum(1)
    rng = np.random.default_rng(seed)
    counted = [_resampled(counts, support, averaged, resamples, rng) for counts in (two, one)][::-1]
    grouped = [_grouped(one, support, averaged, resamples, seed) for one in images]
    tail = (1 - confidence) / 2
    unseen = [1 - tail ** (1 / np.maximum(np.where(shared, counts.sum(1), 1), 1)) for counts in (one, two)]

    def change(name: str, score: Callable[[Counts], Floats], reach: Sequence[float]) -> Change:
        values, ends = [score(counts) for counts in counted], []
        for x, widest, again, of in zip(values, reach, grouped, images, strict=True):
            low, high = np.quantile(x[1:], [tail, 1 - tail])
            end = widened(x[0], low, high, widest)
            ends.append(end if again is None or of is None else around_groups(end, score(again), of.number, confidence))
        difference = values[1] - values[0]
        low, high = np.quantile(difference[1:], [tail, 1 - tail])
        if any(x[1:].min() == x[1:].max() for x in values) or any(again is not None for again in grouped):
            low = difference[0] - np.hypot(ends[1] - ends[1].low, ends[0].high - ends[0])
            high = difference[0] + np.hypot(ends[1].high - ends[1], ends[0] - ends[0].low)
        return Change(name, ends[0], ends[1], Estimate(difference[0], low, high))

    weight = support / support.sum()  # unseen mistakes may all be in a class that weighs more here than there
    reaches = {
        "classes": [float(reach[averaged].max() / averaged.sum()) for reach in unseen],
        "images": [
            max(1 - tail ** (1 / counts[shared].sum()), float((reach * weight).max()))
            for counts, reach in zip((one, two), unseen, strict=True)
        ],
    }
    scores = sorted(scores_in("difference"), key=lambda score: score.name != "balanced_accuracy")
    return tuple(
        change(score.label, score.of_counts, reaches[score.averages]) for score in scores if score.of_counts is not None
    ), tuple(
        change(name, partial(_recall_of, k=k), [float(reach[k]) for reach in unseen])
        for k, name in enumerate(class_names)
        if shared[k]
    )


def _recall_of(counts: Counts, k: int) -> Floats:
    return counts.recall[:, k]


def _grouped(
    images: Grouped | None,
    support: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    resamples: int,
    seed: int,
) -> Counts | None:
    """Count resamples of the groups, every class weighted to its ``support``."""
    if images is None or images.number < 2:
        return None
    found = resample_groups(*images, len(support), resamples=resamples, seed=seed, sizes=support)
    return Counts(found[0], support, found[1], averaged)


def points(difference: Estimate) -> str:
    """Write a difference in percentage points.

    Examples:
        >>> points(Estimate(-0.0213, -0.0351, 0.0))
        '-2.1 points (-3.5 to +0.0)'
    """
    value, low, high = (f"{round(100 * x, 1) + 0.0:+.1f}" for x in (float(difference), difference.low, difference.high))
    return f"{value} points ({low} to {high})"


def _resampled(
    counts: NDArray[np.int64],
    support: NDArray[np.int64],
    averaged: NDArray[np.bool_],
    resamples: int,
    rng: np.random.Generator,
) -> Counts:
    """Count the set as it is (first row) and its resamples, every class weighted to its ``support``."""
    hits = np.zeros((1 + resamples, len(support)))
    predicted = np.zeros_like(hits)
    for k in np.flatnonzero(support):
        row, own = counts[k], counts[k].sum()
        drawn = np.vstack([row, rng.multinomial(own, row / own, size=resamples)]) * (support[k] / own)
        hits[:, k] = drawn[:, k]
        predicted += drawn
    return Counts(hits, support, predicted, averaged)
