"""What an adapted run is worth in its laboratory: an estimate with an interval, paired with the run as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_BELIEF = 8.0  # what unlabelled cells say of a class counts as much as so many labels of it
_SPREAD = 0.05  # standard error that is left where labels are many: measured on pretended laboratories
_FEW = 0.2  # a gain has further standard error of so much by the square root of the number of labels, measured there
_APART = (0.35, 0.55)  # the folds may fall so far behind what the unlabelled cells say before those lose their weight
_MORE_WRONG = 1.2  # other cells of the laboratory are called wrong so many times as often as is estimated
_USUAL_POWER = 0.3  # errors of an adapted run fall as the number of labels to the power of minus this
_LEAST_BELIEF = 0.5  # a class with one label has nothing else to go by
_CHANCE = 0.005  # so improbable must it be that labels without meaning are called right as often as these
_NORMAL = 1.96


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Args:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ClassProof:
    """What is known of one class.

    Args:
        number: Of the class, as labels have it.
        labels: How many labelled cells.
        share: Estimated share of the laboratory's cells.
        recall: Expected recall.
        before: That of the run as it was.
    """

    number: int
    labels: int
    share: float
    recall: Interval
    before: Interval


@dataclass(frozen=True)
class Proof:
    """What an adapted run is worth in its laboratory.

    Args:
        after: Expected balanced accuracy over the classes that have labels, one view.
        before: That of the run as it was.
        gain: Their paired difference.
        helps: Whether the gain is shown: its interval lies above 0, so does that of the folds, and the labels can be
            learnt.
        classes: One entry for each class with labels.
        curve: (labels, expected balanced accuracy) for growing parts of the labels.
        more: What about 25 more labels would bring; None where nothing can be said.
        doubts: Positions of labelled cells that the others contradict, the most doubtful first.
    """

    after: Interval
    before: Interval
    gain: Interval
    helps: bool
    classes: tuple[ClassProof, ...]
    curve: tuple[tuple[int, float], ...] = ()
    more: float | None = None
    doubts: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = "" if self.helps else "; not shown to help"
        return f"balanced accuracy {self.before} -> {self.after}, gain {self.gain}{shown}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return asdict(self)


def priors(probabilities: Floats, *, steps: int = 50) -> tuple[Floats, Floats]:
    """Estimate how often each class occurs among cells whose probabilities take all classes for equally frequent.

    Args:
        probabilities: (M, K) of heads that were fitted with every class counting the same.
        steps: Of expectation maximisation; half of each step is taken.

    Returns:
        (K,) shares, and (M, K) probabilities under them.

    Source: Saerens, Latinne, Decaestecker 2002, doi 10.1162/089976602753284446.

    Examples:
        >>> shares, _ = priors(np.array([[0.99, 0.01]] * 3 + [[0.01, 0.99]]))
        >>> shares.round(2).tolist()
        [0.76, 0.24]
    """
    shares = np.full(probabilities.shape[1], 1.0 / probabilities.shape[1])
    weighed = probabilities
    for _ in range(steps):
        weighed = probabilities * shares
        weighed = weighed / np.maximum(weighed.sum(1, keepdims=True), 1e-30)
        shares = 0.5 * shares + 0.5 * weighed.mean(0)
    return shares, weighed


def prove(
    labels: Labels,
    crossed: Floats,
    pool_after: Floats,
    labelled_before: Floats,
    pool_before: Floats,
    *,
    pool_belief: Floats | None = None,
) -> Proof:
    """Estimate the balanced accuracy in a laboratory, and what was gained.

    The interval is for the score that would be counted on as many other cells of the laboratory as ``pool_after``
    holds: a class of ten cells there leaves its recall uncertain however well it is known.

    Suggested cells are no random sample: some are harder than most, others the most typical of their kind. The
    unlabelled cells are the laboratory as it is: there the recall of a class is the mean, over all cells, of "is called
    so", weighed by how probable it is that the cell is one. That trusts probabilities, so that it counts as no more
    than a few labels of each class, beside what the folds give; and as nothing where the folds contradict it. The folds
    say nothing of a class with one label, which no head had seen that judged it. What both say together was still too
    good on pretended laboratories, in proportion to the errors; by so much it is taken back. The run as it was has not
    seen the labels and needs no such correction.

    That the adaptation helps is said only if the labels can be learnt at all: heads that had not seen a cell must call
    it right more often than they would had the labels been dealt anew (a permutation test).

    Args:
        labels: (n,).
        crossed: (R, n, C) cross-fitted probabilities of the adapted run for the labelled cells, the choice between
            candidates made inside.
        pool_after: (M, C) the adapted run's probabilities for the laboratory's cells.
        labelled_before: (n, C) those of the run as it was for the labelled cells; 0 for a class that it lacks.
        pool_before: (M, C) the same for the laboratory's cells.
        pool_belief: (M, C) what the cells are taken for, by which both are judged; None takes ``pool_after``.
    """
    classes, places = np.unique(labels, return_inverse=True)
    counts = np.bincount(places)
    judged = np.where(counts > 1, counts, 0)
    calls = crossed.argmax(-1)
    after_hits = (calls == labels).mean(0)
    before_hits = (labelled_before.argmax(-1) == labels).astype(np.float64)
    inside = np.maximum((pool_after if pool_belief is None else pool_belief)[:, classes], 1e-9)
    shares, weighed = priors(inside / inside.sum(1, keepdims=True))
    called_after = pool_after.argmax(1)[:, None] == classes
    called_before = pool_before.argmax(1)[:, None] == classes
    total = np.maximum(weighed.sum(0), 1e-9)
    said_after = (weighed * called_after).sum(0) / total
    said_before = (weighed * called_before).sum(0) / total
    kept_after, kept_before = _by_class(after_hits, places), _by_class(before_hits, places)
    gap = float((said_after - kept_after)[judged > 0].mean())
    belief = max(_LEAST_BELIEF, _BELIEF * float(np.clip((_APART[1] - gap) / (_APART[1] - _APART[0]), 0, 1)))
    after = np.maximum(1.0 - _MORE_WRONG * (1.0 - _joined(kept_after, said_after, judged, belief)), 0.0)
    # cells that the run got right are evidence that no head which knows less can doubt
    error = np.sqrt(np.square(_errors(said_before, counts - 1, np.inf)).sum()) / len(classes)
    better = float((kept_before - said_before).mean()) / error
    before = _joined(kept_before, said_before, counts, belief / max(better, 1.0) ** 2)
    gain, moved = after - before, kept_after - kept_before
    # a score is counted on some cells: as many as the laboratory's set holds are assumed
    there = np.maximum(shares * len(pool_after), 1.0)
    after_error = _errors(after, judged + belief, there)
    before_error = _errors(before, counts + belief, there)
    # of paired cells only those that one of both gets wrong vary; at least as much as one such cell in all would
    change = np.clip(np.abs(gain) + 0.1, 0, 1)
    gain_error = np.sqrt(np.maximum(change - gain**2, 0.05) / (judged + belief + 1))
    floor = float(np.hypot(_SPREAD, _FEW / np.sqrt(len(labels))))
    whole = _interval(float(gain.mean()), _mean_error(gain_error), floor=floor, bounds=(-1.0, 1.0))
    return Proof(
        after=_interval(float(after.mean()), _mean_error(after_error), bounds=(0.0, 1.0)),
        before=_interval(float(before.mean()), _mean_error(before_error), bounds=(0.0, 1.0)),
        gain=whole,
        helps=whole.low > 0 and float(moved[judged > 0].mean()) > 0 and learnable(labels, calls) < _CHANCE,
        classes=tuple(
            ClassProof(
                number=int(number),
                labels=int(counts[k]),
                share=float(shares[k]),
                recall=_interval(float(after[k]), float(after_error[k]), bounds=(0.0, 1.0)),
                before=_interval(float(before[k]), float(before_error[k]), bounds=(0.0, 1.0)),
            )
            for k, number in enumerate(classes)
        ),
    )


def learnable(labels: Labels, calls: Labels, *, times: int = 2_000) -> float:
    """Tell how probable it is that labels without meaning are called right so often.

    Args:
        labels: (n,).
        calls: (R, n) what heads that had not seen a cell call it.
        times: How often the labels are dealt anew.

    Returns:
        The p-value of a permutation test on the balanced accuracy.

    Examples:
        >>> labels = np.repeat([0, 1], 10)
        >>> learnable(labels, labels[None]) < 0.001, learnable(labels, np.tile([0, 1], 10)[None]) > 0.1
        (True, True)
    """
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[places]
    rng = np.random.default_rng(0)
    found = float(((calls == labels) * weights).sum())
    orders = [rng.permutation(len(labels)) for _ in range(times)]
    chance = np.asarray([((calls == labels[order]) * weights[order]).sum() for order in orders])
    return float((1 + (chance >= found - 1e-9).sum()) / (1 + times))


def _by_class(values: Floats, places: Labels) -> Floats:
    found: Floats = np.bincount(places, weights=values) / np.bincount(places)
    return found


def _joined(folds: Floats, said: Floats, counts: Labels, belief: float) -> Floats:
    found: Floats = (counts * folds + belief * said) / (counts + belief)
    return found


def _errors(recall: Floats, counts: NDArray[Any], there: Floats | float) -> Floats:
    """Give the standard error of each class's recall: that of the estimate, and of counting it on so many cells."""
    found: Floats = np.sqrt(np.maximum(recall * (1 - recall), 0.01) * (1 / (counts + 1) + 1 / there))
    return found


def _mean_error(errors: Floats) -> float:
    return float(np.sqrt(np.square(errors).sum()) / len(errors))


def _interval(
    value: float, error: float, *, floor: float = _SPREAD, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    half = _NORMAL * float(np.hypot(error, floor))
    low, high = bounds
    return Interval(value, max(low, value - half), min(high, value + half))


def doubts(labels: Labels, crossed: Floats, given: Floats, *, most: int = 5) -> tuple[int, ...]:
    """Rank the labelled cells by how much the others and the run as it was contradict their label.

    Args:
        labels: (n,).
        crossed: (R, n, C) cross-fitted probabilities.
        given: (n, C) of the run as it was; 0 for a class that it lacks.
        most: How many are named.

    Returns:
        Positions, the most doubtful first; only cells that heads without them call otherwise.
    """
    mean = np.log(np.maximum(crossed, 1e-3)).mean(0)
    place = np.arange(len(labels))
    others = mean.copy()
    others[place, labels] = -np.inf
    lead = others.max(1) - mean[place, labels]
    run = np.log(np.maximum(given, 1e-2))
    lead = lead + 0.5 * (run.max(1) - run[place, labels])
    # the only label of a class has no other to agree with it: that is no evidence against it
    lead = lead - np.where(np.bincount(labels)[labels] < 2, 3.0, 0.0)
    order = np.argsort(-lead, kind="stable")[:most]
    return tuple(int(row) for row in order if lead[row] > 0)


def learning_curve(
    count: int,
    measure: Callable[[Labels], float],
    labels: Labels,
    *,
    after: float | None = None,
    seed: int = 0,
    repeats: int = 3,
) -> tuple[tuple[tuple[int, float], ...], float | None]:
    """Measure growing parts of the labels and say what 25 more would bring.

    What is wrong is taken to fall as a power of the number of labels. Parts of a few labels show that power badly, so
    that the one that was usual on pretended laboratories counts three times beside it.

    Args:
        count: Labels in all.
        measure: Gives the expected balanced accuracy of what is fitted on labels at some positions.
        labels: (n,), so that every part holds every class.
        after: What all labels together are worth, if that is known better; the curve is brought to it.
        seed: Of the parts.
        repeats: Parts of each size.

    Returns:
        Points (labels, score), and the expected difference of 25 more; None where there are fewer than 12 labels.
    """
    sizes, wrong = [], []
    for share in (0.5, 0.75, 1.0):
        found = [measure(_part(labels, share, seed + k)) for k in range(repeats if share < 1 else 1)]
        sizes.append(round(share * count))
        wrong.append(max(1.0 - float(np.mean(found)), 1e-3))
    power = -float(np.polyfit(np.log(sizes), np.log(wrong), 1)[0]) if len(set(sizes)) > 1 else 0.0
    left = wrong[-1] if after is None else 1.0 - after
    points = tuple((size, max(1.0 - one * left / wrong[-1], 0.0)) for size, one in zip(sizes, wrong, strict=True))
    if count < 12:
        return points, None
    power = max((power + 3 * _USUAL_POWER) / 4, 0.0)
    return points, left * (1.0 - (count / (count + 25)) ** power)


def _part(labels: Labels, share: float, seed: int) -> Labels:
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept += rows[: max(1, round(share * len(rows)))].tolist()
    return np.asarray(sorted(kept), np.int64)


def expected(probabilities: Floats, classes: Sequence[int] | Labels) -> float:
    """Give the balanced accuracy that probabilities for unlabelled cells promise, over some classes.

    Args:
        probabilities: (M, C).
        classes: Those that are counted.
    """
    rows = np.asarray(classes)
    inside = np.maximum(probabilities[:, rows], 1e-9)
    _, weighed = priors(inside / inside.sum(1, keepdims=True))
    called = probabilities.argmax(1)[:, None] == rows
    return float(((weighed * called).sum(0) / np.maximum(weighed.sum(0), 1e-9)).mean())
