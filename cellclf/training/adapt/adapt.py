"""Adapt a run to another laboratory: arrays in, arrays out; the run itself and its images are read elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.training.adapt.candidates import UNCHANGED, Candidate, Fitter, Head, Reading, heads, sizes
from cellclf.training.adapt.logistic import balanced
from cellclf.training.adapt.mixture import Mixture, fit_gate, mix
from cellclf.training.adapt.proof import Interval, Proof, doubts, expected, learning_curve, prove
from cellclf.training.adapt.select import AS_IT_WAS, Blend, Blends, CrossFit, best, cross_fit, folds, inside, losses
from cellclf.utils.threads import one_blas_thread

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_REPEATS = 3
_WORTH = 0.03  # balanced accuracy that must be expected to be won before a run is changed
_LOST = -0.05  # folds that lose so much contradict any gain; a little they always lose, having fewer labels
_SURER, _STEADIER = 0.3, 0.5


@dataclass(frozen=True, eq=False)
class Tried:
    """How a candidate did on the labelled cells, by heads that had not seen them.

    Args:
        name: Of the candidate.
        loss: Log loss, every class counting the same.
        accuracy: Balanced accuracy of the folds.
        chosen: Whether it was taken.
    """

    name: str
    loss: float
    accuracy: float
    chosen: bool


@dataclass(frozen=True, eq=False)
class Adapted:
    """What was made of a run for another laboratory.

    Args:
        mixture: Its probabilities.
        zoom: How much the images are enlarged before the network sees them.
        candidate: What was chosen.
        tried: All candidates.
        temperature: That is part of the mixture already.
        crossed: (n, C) cross-fitted probabilities of the labelled cells: what conformal sets and the calibration of the
            new laboratory come from.
        proof: What it is worth; None without labels.
    """

    mixture: Mixture
    zoom: float
    candidate: Candidate
    tried: tuple[Tried, ...]
    temperature: float = 1.0
    crossed: Floats | None = None
    proof: Proof | None = None


@one_blas_thread()
def adapt_labelled(
    readings: Mapping[float, Reading],
    labels: Labels,
    columns: Labels,
    *,
    clusters: Labels | None = None,
    whole: Callable[[float], Reading] | None = None,
    curve: bool = True,
    seed: int = 0,
) -> Adapted:
    """Adapt a run with a few labels.

    Candidates are compared by repeated folds over the labelled cells, so that nothing has to be known beforehand.

    Args:
        readings: By zoom; 1.0 must be there. The labelled cells come first among their ``views``.
        labels: (n,) places in ``columns``.
        columns: (C,) the run's column of each class that can be answered, -1 for a new class.
        clusters: (n,) duplicates that must not be split across folds; None: all differ.
        whole: Reads all cells in the size that was chosen; None where ``readings`` hold all of them.
        curve: Whether the learning curve is measured.
        seed: Of the folds.

    Raises:
        DataError: Labels of fewer than two classes, fewer than two labels of every class, or arrays that do not fit.
    """
    labels = np.asarray(labels, np.int64)
    counts = np.bincount(labels, minlength=len(columns))
    if (counts > 0).sum() < 2:
        raise DataError(
            f"the {len(labels)} labels are of {(counts > 0).sum()} class; expected two classes or more: what else "
            "occurs in this laboratory?"
        )
    if counts.max() < 2:
        raise DataError(
            "no class has two labels; expected at least two cells of some classes, to compare candidates on"
        )
    by_zoom = dict(readings)
    fitter = Fitter(by_zoom, labels, columns)
    dealt = folds(labels, _REPEATS, seed, clusters=clusters)
    classes = len(columns)
    found = [cross_fit(fitter, one, dealt, classes) for one in sizes(by_zoom)]
    leader = best(found, labels)
    size = found[leader].candidate
    if whole is not None and (reading := whole(size.zoom)) is not by_zoom[size.zoom]:
        by_zoom[size.zoom] = reading
        fitter = Fitter(by_zoom, labels, columns)
        found[leader] = cross_fit(fitter, size, dealt, classes)
    found += [cross_fit(fitter, one, dealt, classes) for one in heads(size, by_zoom[size.zoom])]
    same = [k for k, one in enumerate(found) if one.candidate.zoom == size.zoom]  # the others may have seen fewer cells
    place = same[best([found[k] for k in same], labels)]
    chosen = found[place].candidate
    given = {zoom: _columns(one.views_given[0, : len(labels)], columns) for zoom, one in by_zoom.items()}
    blends = [Blends(one.probabilities, given[one.candidate.zoom], labels) for one in found]
    blend, before = blends[place].best(), given[1.0]
    crossed = np.stack([blends[place].without(fold, repeat) for repeat, fold in enumerate(dealt)])
    nested = inside(found, blends, dealt, labels)
    reading = by_zoom[chosen.zoom]
    mixture = _finished(fitter, chosen, blend, columns, reading)
    pool_before = _columns(by_zoom[1.0].pool_given, columns)
    pool_after = mixture.probabilities(reading.pool, reading.pool_given)
    believed = _believed(fitter, found, blends, chosen.zoom, columns)
    proof = prove(labels, nested, pool_after, before, pool_before, pool_belief=believed)
    if (columns[labels] >= 0).all() and (proof.gain.value < _WORTH or _won(labels, nested, before) <= _LOST):
        # next to nothing is won: the run as it was is kept, which at least promises what it promised
        chosen, reading, blend, crossed = UNCHANGED, by_zoom[1.0], AS_IT_WAS, before[None]
        mixture, place = unchanged(columns, sum(reading.widths)), -1
        each = tuple(replace(one, recall=one.before) for one in proof.classes)
        proof = replace(proof, after=proof.before, gain=Interval(0.0, 0.0, 0.0), helps=False, classes=each)
    points, more = (
        ((), None) if not curve else _curve(fitter, chosen, reading, labels, columns, proof.after.value, seed)
    )
    proof = replace(proof, curve=points, more=more, doubts=doubts(labels, nested, before))
    weights = balanced(labels, classes)
    as_it_was = np.repeat(before[None], len(dealt), 0)
    found.append(CrossFit(UNCHANGED, as_it_was, losses(as_it_was, labels)))
    place %= len(found)
    tried = tuple(
        Tried(
            one.candidate.name,
            float(np.average(one.losses, weights=weights)),
            float(np.average((one.probabilities.argmax(-1) == labels).mean(0), weights=weights)),
            k == place,
        )
        for k, one in enumerate(found)
    )
    temperature = 1 / blend.own if blend.own else 1.0
    return Adapted(mixture, chosen.zoom, chosen, tried, temperature, crossed.mean(0), proof)


def _believed(fitter: Fitter, found: list[CrossFit], blends: list[Blends], zoom: float, columns: Labels) -> Floats:
    """Give what unlabelled cells are taken for by a head that was not fitted on them, which makes heads too sure."""
    place = next(k for k, one in enumerate(found) if one.candidate.zoom == zoom)
    reading = fitter.readings[zoom]
    mixture = _finished(fitter, found[place].candidate, blends[place].best(), columns, reading, gate=False)
    return mixture.probabilities(reading.pool, reading.pool_given)


def _won(labels: Labels, crossed: Floats, before: Floats) -> float:
    """Give the balanced accuracy that folds win over the run as it was, over the classes with two labels or more."""
    counts = np.bincount(labels)
    judged = counts[labels] > 1
    hits = (crossed.argmax(-1) == labels).mean(0) - (before.argmax(-1) == labels)
    return float(np.average(hits[judged], weights=1.0 / counts[labels][judged]))


def _finished(
    fitter: Fitter, chosen: Candidate, blend: Blend, columns: Labels, reading: Reading, *, gate: bool = True
) -> Mixture:
    if not blend.own:
        return unchanged(columns, sum(reading.widths))
    count = len(fitter.labels)
    head = fitter.fit(chosen, np.arange(count)).blended(blend.own, blend.run)
    known = fit_gate(reading, max(1, chosen.layers)) if gate else None
    return mix(head, columns, reading.views_given[0][:count], known)


def unchanged(columns: Labels, width: int) -> Mixture:
    """Give the run as it was, restricted to the classes that can be answered."""
    none = np.empty(0, np.int64)
    head = Head(none, none, np.zeros((width, 0)), np.zeros(0), 0.0)
    return Mixture(head, columns, none, np.where(columns >= 0, 1.0, 0.0))


def _columns(given: NDArray[np.floating], columns: Labels) -> Floats:
    """Bring the run's probabilities into the order of the answered classes; what it lacks is 0."""
    taken: Floats = np.where(columns >= 0, np.asarray(given, np.float64)[..., np.maximum(columns, 0)], 0.0)
    return taken


def _curve(
    fitter: Fitter, chosen: Candidate, reading: Reading, labels: Labels, columns: Labels, after: float, seed: int
) -> tuple[tuple[tuple[int, float], ...], float | None]:
    present = np.unique(labels)

    def measure(rows: Labels) -> float:
        head = fitter.fit(chosen, rows, quick=True)
        mixture = mix(head, columns, reading.views_given[0][: len(labels)])
        return expected(mixture.probabilities(reading.pool, reading.pool_given), present)

    return learning_curve(len(labels), measure, labels, after=after, seed=seed)


def adapt_unlabelled(readings: Mapping[float, Reading], columns: Labels) -> Adapted:
    """Adapt a run without labels: say which classes occur, and show the cells in the size that the run knows.

    Nothing else that needs no labels proved safe: moved BatchNorm statistics, self-training, named clusters and
    balanced assignments each help in one laboratory and harm in another. Another size is taken only where both signs
    agree clearly: the run is much surer of its answers, and flips and turns of a cell get the same answer more often.

    Args:
        readings: By zoom; 1.0 must be there, others are tried. Labels play no part.
        columns: (C,) the run's columns of the classes that can occur.

    Returns:
        The adaptation; its candidate is ``UNCHANGED`` at zoom 1 where nothing is done beyond ``columns``.
    """
    start = doubt(readings[1.0], columns)
    chosen, lead = 1.0, 0.0
    for zoom, reading in sorted(readings.items()):
        if zoom == 1.0:
            continue
        unsure, torn = doubt(reading, columns)
        if start[0] - unsure > max(_SURER, lead) and torn < _STEADIER * start[1]:
            chosen, lead = zoom, start[0] - unsure
    return Adapted(unchanged(columns, sum(readings[1.0].widths)), chosen, _shown(chosen), ())


def _shown(zoom: float) -> Candidate:
    """Give the run as it was, in some size of the cells."""
    if zoom == 1.0:
        return UNCHANGED
    return replace(UNCHANGED, name=f"shown {zoom:g} times as large", zoom=zoom)


def doubt(reading: Reading, columns: Labels) -> tuple[float, float]:
    """Measure how unsure a run is of cells (mean entropy) and how much their views disagree (mutual information).

    Args:
        reading: Its ``views`` are used; with one view the disagreement is 0.
        columns: The run's columns that count.
    """
    given = _columns(reading.views_given, columns)
    given = given / np.maximum(given.sum(-1, keepdims=True), 1e-30)
    mean = given.mean(0)
    each = float(-(given * np.log(given + 1e-12)).sum(-1).mean())
    return each, max(0.0, float(-(mean * np.log(mean + 1e-12)).sum(-1).mean()) - each)
