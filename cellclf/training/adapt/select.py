"""Choose between candidates by repeated folds over the labelled cells: no cell is scored by a head that saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.training.adapt.candidates import FLOOR, Candidate, Fitter, Head
from cellclf.training.adapt.logistic import softmax

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_LEAST = 0.02  # a probability below counts as this much, so that one label with a mistake decides nothing
_OWN = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5)
_RUN = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5)
_KEEP = (2.0, 8.0)  # evidence, in nats, that it takes to make a head e times as sharp, to take the run's word once more
_BACK = 4.0  # and to leave the run as it was
_SIZE, _HEAD = 1.8, 3.0  # so many standard errors must a doubled size, or another head, be better than the first


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


def best(tried: Sequence[CrossFit], labels: Labels) -> int:
    """Tell which candidate to take: the one to beat, unless another one is better by more than chance.

    Of few labels every ranking is mostly chance, and the best of many is the luckiest. So the loss is compared cell by
    cell (without classes of one label, which no head had seen that judged them), and another candidate must lead by
    some standard errors: by about one for cells shown 1.5 times as large, which changes much, and more the farther a
    size is; by three for another head in that size, which changes little (on pretended laboratories a lower bar for
    heads cost more than it brought).

    Args:
        tried: At least one; sizes are compared by the first of each, and in the size that leads the second, where
            there is one, is what the others must beat.
        labels: (n,).
    """
    weights = _judged(labels)
    weights = weights / weights.sum()
    sizes: dict[float, list[int]] = {}
    for place, one in enumerate(tried):
        sizes.setdefault(one.candidate.zoom, []).append(place)
    firsts = [places[0] for places in sizes.values()]
    leader = _leader(tried, firsts, weights, [_SIZE * abs(np.log2(tried[k].candidate.zoom)) for k in firsts])
    first, *others = sizes[tried[leader].candidate.zoom]
    places = [others[0], first, *others[1:]] if others else [first]
    return _leader(tried, places, weights, [_HEAD] * len(places))


def _judged(labels: Labels) -> Floats:
    """Weigh each cell: a class with one label was never seen by the head that judged it, which says nothing of it."""
    judged = (np.bincount(labels)[labels] > 1).astype(np.float64)
    return judged if judged.any() else np.ones(len(labels))


def _leader(tried: Sequence[CrossFit], places: Sequence[int], weights: Floats, bars: Sequence[float]) -> int:
    """Give the one of some candidates that leads the first of them by most, and by so many standard errors of each."""
    chosen, lead = places[0], 0.0
    for place, errors in zip(places[1:], bars[1:], strict=True):
        gains = tried[places[0]].losses - tried[place].losses
        mean = float(weights @ gains)
        error = float(np.sqrt(np.square(weights * (gains - mean)).sum()))
        if mean > errors * error + 1e-9 and mean > lead:
            chosen, lead = place, mean
    return chosen


@dataclass(frozen=True)
class Blend:
    """How much a head and the run as it was count in the adapted run: logits = own * head + run * log of the run.

    Args:
        own: Of the head: the inverse of its temperature; 0 leaves the run alone.
        run: Of the run, beside what it counts in the head already.
    """

    own: float = 1.0
    run: float = 0.0

    def penalty(self) -> float:
        """Give how much evidence, in nats, it takes to choose it."""
        if not self.own:
            return _BACK
        return float(_KEEP[0] * np.log(self.own) ** 2 + _KEEP[1] * self.run**2)

    def __call__(self, probabilities: Floats, given: Floats) -> Floats:
        """Blend a head's probabilities (..., C) with the run's (..., C) for the same classes.

        Where only the head counts, a class that it lacks keeps 0.
        """
        if not self.own:
            given = np.broadcast_to(given, probabilities.shape)
            total: Floats = given / np.maximum(given.sum(-1, keepdims=True), 1e-30)
            return total
        log = self.own * np.log(np.maximum(probabilities, 1e-30)) + self.run * np.log(given + FLOOR)
        return softmax(log)


AS_IT_WAS = Blend(0.0, 1.0)


class Blends:
    """Finds the blend of a head and the run as it was that fits the labels.

    This is what tells a laboratory in which the run is right already from one in which it is lost: no other rule keeps
    it. Without good reason the head stays as it is.

    Args:
        crossed: (R, n, C) cross-fitted probabilities of the head.
        given: (n, C) those of the run for the same images, in the size that the head sees; 0 for a class that it lacks.
        labels: (n,).
    """

    def __init__(self, crossed: Floats, given: Floats, labels: Labels) -> None:
        place, present = np.arange(len(labels)), np.bincount(labels, minlength=crossed.shape[-1]) > 0
        self._crossed, self._given = np.where(present, np.maximum(crossed, 1e-6), 0.0), given
        self._all = [Blend(own, run) for own in _OWN for run in _RUN]
        if given[:, present].any(0).all():  # it knows all classes
            self._all.append(AS_IT_WAS)
        self._penalties = np.asarray([one.penalty() for one in self._all])
        right = np.stack([one(self._crossed, given)[:, place, labels] for one in self._all])
        self._losses = -np.log((1 - _LEAST) * right + _LEAST / present.sum()).mean(1)
        self._weights = _judged(labels)

    def best(self, rows: Labels | slice = slice(None)) -> Blend:
        """Give the blend that fits the labelled cells at ``rows``."""
        return self._all[int((self._losses[:, rows] @ self._weights[rows] + self._penalties).argmin())]

    def without(self, fold: Labels, repeat: int) -> Floats:
        """Give blended probabilities (n, C) of one repetition: for each fold the blend is found without it."""
        found = np.empty(self._crossed.shape[1:])
        for one in np.unique(fold):
            rows = np.flatnonzero(fold == one)
            found[rows] = self.best(np.flatnonzero(fold != one))(self._crossed[repeat, rows], self._given[rows])
        return found


def inside(tried: Sequence[CrossFit], blends: Sequence[Blends], dealt: Sequence[Labels], labels: Labels) -> Floats:
    """Give cross-fitted probabilities (R, n, C) of the choice itself: for each fold it is made without that fold.

    Args:
        tried: All candidates.
        blends: Those of each.
        dealt: The folds that they were fitted on.
        labels: (n,).
    """
    found = np.zeros_like(tried[0].probabilities)
    for repeat, fold in enumerate(dealt):
        each: dict[int, Floats] = {}
        for one in np.unique(fold):
            seen = np.flatnonzero(fold != one)
            if not len(seen):
                continue
            part = [CrossFit(t.candidate, t.probabilities[:, seen], t.losses[seen]) for t in tried]
            place = best(part, labels[seen])
            if place not in each:
                each[place] = blends[place].without(fold, repeat)
            found[repeat][fold == one] = each[place][fold == one]
    return found
