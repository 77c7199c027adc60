"""Choose between candidates by repeated folds over the labelled cells: no cell is scored by a head that saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.training.adapt.candidates import Candidate, Fitter, Head
from cellclf.training.adapt.logistic import softmax

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_LEAST = 0.02  # a probability below counts as this much, so that one label with a mistake decides nothing
_SIZE, _HEAD = 1.0, 3.0  # by so many standard errors another size, or another head, must be better than the first


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What a candidate gives for the labelled cells, each by heads that had not seen it.

    Args:
        candidate: Which.
        probabilities: (R, n, C) in each repetition; a class that a fold lacked has 0.
        losses: (n,) mean log loss of each cell.
    """

    candidate: Candidate
    probabilities: Floats
    losses: Floats


def folds(labels: Labels, repeats: int, seed: int, *, clusters: Labels | None = None, count: int = 5) -> list[Labels]:
    """Deal the labelled cells into folds, each class in turn, so that every fold holds its share of each class.

    Args:
        labels: (n,).
        repeats: How often they are dealt anew.
        seed: Of the dealing.
        clusters: (n,) duplicates that must share a fold; None: all differ.
        count: Folds; fewer where there are fewer cells.

    Returns:
        For each repetition, (n,) the fold of each cell.

    Examples:
        >>> [np.bincount(one).tolist() for one in folds(np.repeat([0, 1], 10), 1, 0)]
        [[4, 4, 4, 4, 4]]
    """
    found = []
    count = max(2, min(count, len(labels)))
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        order = rng.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        dealt = np.empty(len(labels), np.int64)
        dealt[order] = (np.arange(len(labels)) + rng.integers(count)) % count
        if clusters is not None:
            _, first, members = np.unique(clusters, return_index=True, return_inverse=True)
            dealt = dealt[first[members]]
        found.append(dealt)
    return found


def cross_fit(
    fitter: Fitter,
    candidate: Candidate,
    dealt: Sequence[Labels],
    classes: int,
    *,
    fit: Callable[..., Head] | None = None,
) -> CrossFit:
    """Fit a candidate on all folds but one, for each fold, and let it judge that one, in one view.

    Args:
        fitter: Of all labelled cells.
        candidate: What is fitted.
        dealt: Of ``folds``.
        classes: How many classes labels speak of.
        fit: Fits on some rows; None takes ``fitter.fit``.
    """
    labels = fitter.labels
    reading = fitter.readings[candidate.zoom]
    found = np.zeros((len(dealt), len(labels), classes))
    for repeat, fold in enumerate(dealt):
        for one in np.unique(fold):
            inside, outside = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
            if not len(inside):
                continue
            head = (fit or fitter.fit)(candidate, inside, quick=True)
            logits = head.logits(reading.views[0][outside], reading.views_given[0][outside])
            found[repeat][np.ix_(outside, head.classes)] = softmax(logits)
    return CrossFit(candidate, found, losses(found, labels))


def losses(probabilities: Floats, labels: Labels) -> Floats:
    """Give the mean log loss (n,) of each cell over repetitions (R, n, C)."""
    right = probabilities[:, np.arange(len(labels)), labels]
    found: Floats = -np.log(np.maximum(right, _LEAST)).mean(0)
    return found


def best(tried: Sequence[CrossFit], labels: Labels, classes: int) -> int:
    """Tell which candidate to take: the first, unless another one is better by more than chance.

    Of few labels every ranking is mostly chance, and the best of many is the luckiest. So the loss is compared cell by
    cell, every class counting the same, and another candidate must lead by some standard errors: by one for another
    size of the cells, which changes much, by three for another head in that size, which changes little (on pretended
    laboratories a lower bar for heads cost more than it brought).

    Args:
        tried: At least one; the first of each zoom is the one that the others in that size must beat.
        labels: (n,).
        classes: How many there are.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = 1.0 / counts[labels]
    weights /= weights.sum()
    first: dict[float, int] = {}
    for place, one in enumerate(tried):
        first.setdefault(one.candidate.zoom, place)
    size = _leader(tried, list(first.values()), weights, _SIZE)
    zoom = tried[size].candidate.zoom
    return _leader(tried, [place for place, one in enumerate(tried) if one.candidate.zoom == zoom], weights, _HEAD)


def _leader(tried: Sequence[CrossFit], places: Sequence[int], weights: Floats, errors: float) -> int:
    """Give the one of some candidates that leads the first of them by most, and by so many standard errors."""
    chosen, lead = places[0], 0.0
    for place in places[1:]:
        gains = tried[places[0]].losses - tried[place].losses
        mean = float(weights @ gains)
        error = float(np.sqrt(np.square(weights * (gains - mean)).sum()))
        if mean > errors * error + 1e-9 and mean > lead:
            chosen, lead = place, mean
    return chosen


def inside(tried: Sequence[CrossFit], dealt: Sequence[Labels], labels: Labels, classes: int) -> Floats:
    """Give cross-fitted probabilities (R, n, C) of the choice itself: for each fold it is made without that fold.

    Args:
        tried: All candidates.
        dealt: The folds that they were fitted on.
        labels: (n,).
        classes: How many labels speak of.
    """
    found = np.zeros_like(tried[0].probabilities)
    for repeat, fold in enumerate(dealt):
        for one in np.unique(fold):
            seen = np.flatnonzero(fold != one)
            if not len(seen):
                continue
            part = [CrossFit(t.candidate, t.probabilities[:, seen], t.losses[seen]) for t in tried]
            chosen = tried[best(part, labels[seen], classes)]
            found[repeat][fold == one] = chosen.probabilities[repeat][fold == one]
    return found


def fit_temperature(crossed: Floats, labels: Labels) -> float:
    """Find the temperature at which cross-fitted probabilities fit the labels, every class counting the same.

    Heads that are fitted with every class counting the same and held back by their penalty are calibrated as they come
    (on pretended laboratories within 0.1 of 1), while the folds of suggested cells err on the modest side; so 1 is
    left only for good reason.

    Args:
        crossed: (R, n, C).
        labels: (n,).
    """
    log = np.log(np.maximum(crossed, 1e-6))
    weights = 1.0 / np.bincount(labels)[labels]
    weights /= weights.sum()
    place = np.arange(len(labels))
    found = (np.inf, 1.0)
    for value in np.exp(np.linspace(np.log(0.5), np.log(3), 37)):
        right = 0.99 * softmax(log / value)[:, place, labels] + 0.01 / log.shape[-1]
        loss = float(weights @ -np.log(right).mean(0)) + 0.3 * float(np.log(value)) ** 2
        found = min(found, (loss, float(value)))
    return found[1]
