"""What can be made of a run for another laboratory: heads on pooled features, fitted on a few labelled cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.runs.features.space import FeatureSpace, learn_space, spread
from cellclf.training.adapt.logistic import balanced, fit_logistic, softmax
from cellclf.training.adapt.propagation import spread_labels

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = tuple[Floats, ...]
"""Coordinates, targets, offsets and weights of cells that a head is fitted on."""

FLOOR = 1e-3
"""Added to the run's probabilities before their logarithm is taken: a class that it excludes is not impossible."""

_PSEUDO = 500  # cells of the own laboratory, or unlabelled ones in one view, that a head is fitted on at most
_ENOUGH = 64  # unlabelled cells in several views, from which on self-training takes no others
_SHARPER = 2.0  # pseudo-labels are raised to this power: nearer to the class that they favour


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network makes of a laboratory's cells when they are shown to it in one way.

    Args:
        zoom: How much the images are enlarged before the network sees them; 1 leaves them as they are.
        widths: Width of each layer's part of the features.
        pool: (M, D) features of unlabelled cells, the labelled ones may be among them; one view.
        pool_given: (M, K) the run's probabilities for them.
        views: (V, S, D) features of some cells in V views, the first view being the image as it is. The labelled
            cells come first, in the order of the labels.
        views_given: (V, S, K) the run's probabilities for them.
        home: (H, D) features of cells of the run's own laboratory; None if there are none.
        home_labels: (H,) their labels in the run's order.
    """

    zoom: float
    widths: tuple[int, ...]
    pool: NDArray[np.float32]
    pool_given: NDArray[np.float32]
    views: NDArray[np.float32]
    views_given: NDArray[np.float32]
    home: NDArray[np.float32] | None = None
    home_labels: Labels | None = None

    def check(self) -> None:
        """Raise DataError for arrays that do not fit together."""
        width, classes = sum(self.widths), self.pool_given.shape[-1]
        fits = (
            self.pool.shape == (len(self.pool_given), width)
            and self.views.ndim == 3
            and self.views.shape[2] == width
            and self.views_given.shape == (*self.views.shape[:2], classes)
        )
        if not fits:
            raise DataError(
                f"pool {self.pool.shape}, {self.pool_given.shape} and views {self.views.shape}, "
                f"{self.views_given.shape} do not fit together; expected (M, D), (M, K), (V, S, D), (V, S, K)"
            )


@dataclass(frozen=True)
class Candidate:
    """One way to make a head.

    Args:
        name: In plain words, for tables.
        layers: How many of the layers that were read are used, counted from the last one; 0 fits nothing but how
            often each class occurs.
        pull: How much the run's own log-probabilities count in the logits: 0 is a head for the laboratory alone, 1
            one that starts from the run.
        self_training: Whether unlabelled cells are used, under what their neighbours and first fits take them for.
        home_weight: How much home cells count against the labelled ones.
        zoom: Which reading it uses.
        strength: See ``fit_logistic``.
    """

    name: str
    layers: int = 2
    pull: float = 0.3
    self_training: bool = False
    home_weight: float = 0.0
    zoom: float = 1.0
    strength: float = 1_000.0


UNCHANGED = Candidate("the run as it was", layers=0, pull=1.0)


def sizes(readings: Mapping[float, Reading]) -> list[Candidate]:
    """List the same head for every zoom that was read, the image as it is first.

    In what size the cells are shown decides more than any head does where magnification differs: a network that was
    trained on cells of one size keeps its classes apart there alone.
    """
    main = readings[1.0]
    layers = min(2, len(main.widths))
    first = Candidate("last and middle layers" if layers > 1 else "last layer", layers=layers)
    others = [
        replace(first, name=f"shown {zoom:g} times as large", zoom=zoom) for zoom in sorted(readings) if zoom != 1.0
    ]
    return [first, *others]


def heads(first: Candidate, reading: Reading) -> list[Candidate]:
    """List the other heads that are tried in the size that was chosen, the one to beat first.

    That is the one with self-training: of all it did best on pretended laboratories (``benchmarks/adapt.py``).

    Args:
        first: The head that sizes were compared with.
        reading: In that size.
    """
    found = [replace(first, name="self-training", self_training=True)]
    if first.layers > 1:
        found.append(replace(first, name="last layer alone", layers=1))
    if len(reading.widths) > first.layers:
        found.append(replace(first, name="last and more middle layers", layers=len(reading.widths)))
    found += [
        replace(first, name="the laboratory alone", pull=0.0),
        replace(first, name="pulled towards the run", pull=1.0),
        replace(first, name="how often each class occurs", layers=0, pull=1.0),
    ]
    if reading.home is not None and reading.home_labels is not None:
        found.append(replace(first, name="home cells mixed in", home_weight=0.3))
    if first.zoom != 1.0:
        found = [replace(one, name=f"{first.name}, {one.name}") for one in found]
    return found


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head: logits = features @ kernel + bias + pull * log(probability of the run + FLOOR).

    Args:
        classes: Which classes it tells apart: numbers in the order that labels use.
        source: (n,) for each of them the run's own column, -1 for a class that the run does not have.
        kernel: (D, n).
        bias: (n,).
        pull: See ``Candidate``.
    """

    classes: Labels
    source: Labels
    kernel: Floats
    bias: Floats
    pull: float

    def logits(self, features: NDArray[np.floating], given: NDArray[np.floating]) -> Floats:
        """Give the logits (..., n) of features (..., D) and the run's probabilities (..., K)."""
        found: Floats = np.asarray(features, np.float64) @ self.kernel + self.bias
        if self.pull:
            found = found + self.pull * log_given(given, self.source)
        return found

    def blended(self, own: float, run: float) -> Head:
        """Give the head whose logits are ``own`` times these and ``run`` times the run's log-probabilities."""
        return replace(self, kernel=self.kernel * own, bias=self.bias * own, pull=self.pull * own + run)


def log_given(given: NDArray[np.floating], source: Labels) -> Floats:
    """Give the run's log-probabilities (..., n) of some columns; of a class that it does not have, log FLOOR."""
    taken = np.asarray(given, np.float64)[..., np.maximum(source, 0)]
    found: Floats = np.log(np.where(source >= 0, taken, 0.0) + FLOOR)
    return found


class Fitter:
    """Fits candidates on some of the labelled cells; what does not depend on labels is made once.

    Args:
        readings: By zoom; 1.0 must be among them.
        labels: (n,) of the labelled cells, which come first among the ``views`` of each reading.
        source: (C,) the run's column of each class that labels speak of, -1 for a new class.
        weights: (n,) how much each label counts; None for one each.
    """

    def __init__(
        self, readings: Mapping[float, Reading], labels: Labels, source: Labels, weights: Floats | None = None
    ) -> None:
        for reading in readings.values():
            reading.check()
            if len(labels) > reading.views.shape[1]:
                raise DataError(f"{len(labels)} labels and {reading.views.shape[1]} cells read in several views")
        self.readings, self.labels, self.source = readings, labels, source
        self.weights = np.ones(len(labels)) if weights is None else weights
        self._spaces: dict[tuple[float, int], tuple[FeatureSpace, Floats]] = {}
        self._placed: dict[tuple[float, int], Floats] = {}
        self._fitted: dict[tuple[Candidate, bytes, bool], Head] = {}

    def fit(self, candidate: Candidate, rows: Labels, *, quick: bool = False) -> Head:
        """Fit a candidate on the labelled cells at ``rows``.

        Args:
            candidate: What to fit.
            rows: (m,) positions among the labelled cells.
            quick: Every other view and fewer steps, for comparisons.
        """
        key = replace(candidate, name=""), rows.tobytes(), quick
        if key not in self._fitted:
            self._fitted[key] = self._fit(candidate, rows, quick)
        return self._fitted[key]

    def _fit(self, candidate: Candidate, rows: Labels, quick: bool) -> Head:
        reading = self.readings[candidate.zoom]
        classes, labels = np.unique(self.labels[rows], return_inverse=True)
        source = self.source[classes]
        views = slice(None, None, 2 if quick else 1)
        steps = 30 if quick else 80
        given = reading.views_given[views][:, rows]
        offsets = candidate.pull * log_given(given, source)
        count = len(given)
        targets = np.tile(np.eye(len(classes))[labels], (count, 1))
        weights = np.tile(balanced(labels, len(classes)) * self.weights[rows], count)
        weights /= weights.sum()
        if not candidate.layers:
            _, bias = fit_logistic(
                np.zeros((len(targets), 1)), targets, offsets.reshape(len(targets), -1), weights, bias_strength=3.0
            )
            return Head(classes, source, np.zeros((sum(reading.widths), len(classes))), bias, candidate.pull)
        space, coordinates = self._space(candidate)
        width = coordinates.shape[-1]
        parts: list[Rows] = [
            (coordinates[views][:, rows].reshape(-1, width), targets, offsets.reshape(len(targets), -1), weights)
        ]
        if candidate.home_weight and reading.home is not None and reading.home_labels is not None:
            parts.append(self._home(candidate, reading, space, source))
        head = self._solve(parts, candidate, space, classes, steps)
        if candidate.self_training:
            parts.append(self._pseudo(candidate, reading, rows, head, quick))
            head = self._solve(parts, candidate, space, classes, steps)
        return head

    def _solve(
        self, parts: Sequence[Rows], candidate: Candidate, space: FeatureSpace, classes: Labels, steps: int
    ) -> Head:
        rows, targets, offsets, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        kernel, bias = fit_logistic(rows, targets, offsets, weights, strength=candidate.strength, steps=steps)
        kernel = space.axes @ kernel
        return Head(classes, self.source[classes], kernel, bias - space.mean @ kernel, candidate.pull)

    def _space(self, candidate: Candidate) -> tuple[FeatureSpace, Floats]:
        key = (candidate.zoom, candidate.layers)
        if key not in self._spaces:
            reading = self.readings[candidate.zoom]
            used = [place >= len(reading.widths) - candidate.layers for place in range(len(reading.widths))]
            space = learn_space(reading.pool, reading.views, reading.widths, columns=used)
            self._spaces[key] = space, space.apply(reading.views[:, : len(self.labels)])
        return self._spaces[key]

    def _home(self, candidate: Candidate, reading: Reading, space: FeatureSpace, source: Labels) -> Rows:
        assert reading.home is not None and reading.home_labels is not None
        place = {int(column): k for k, column in enumerate(source) if column >= 0}
        rows = np.flatnonzero([int(label) in place for label in reading.home_labels])
        rows = rows[spread(len(rows), _PSEUDO)]
        labels = np.asarray([place[int(label)] for label in reading.home_labels[rows]], np.int64)
        if not len(rows):
            return (
                np.empty((0, space.axes.shape[1])),
                np.empty((0, len(source))),
                np.empty((0, len(source))),
                np.empty(0),
            )
        weights = np.full(len(rows), candidate.home_weight / len(rows))
        targets = np.eye(len(source))[labels]
        # at home the run is right, so that its own word is what is known
        return space.apply(reading.home[rows]), targets, candidate.pull * np.log(targets + FLOOR), weights

    def _pseudo(self, candidate: Candidate, reading: Reading, rows: Labels, head: Head, quick: bool) -> Rows:
        """Give unlabelled cells, in two views, under what they are taken for in all views and by all sets of layers.

        In each set of layers that is what their neighbours and a head fitted on the labels say together. A head of one
        view and of some layers learns from that what several views and all layers know.
        """
        seen, given = self._unlabelled(reading)
        some = slice(None, None, 2 if quick else 1)
        targets = np.eye(len(head.classes))[np.searchsorted(head.classes, self.labels[rows])]
        said = np.zeros((seen.shape[1], len(head.classes)))
        sets = range(1, len(reading.widths) + 1)
        for layers in sets:
            one = replace(candidate, layers=layers, self_training=False)
            first = head if layers == candidate.layers else self.fit(one, rows, quick=quick)
            near = spread_labels(self._space(one)[1][:, rows].mean(0), targets, self._place(one, seen).mean(0))
            said += np.log(near) + np.log(np.maximum(softmax(first.logits(seen[some], given[some])), 1e-9)).mean(0)
        sure = softmax(_SHARPER * said / len(sets))
        views = sorted({0, len(seen) // 2})
        weights = (sure / np.maximum(sure.sum(0), 1e-9)).mean(1)  # every class counts the same here, too
        offsets = candidate.pull * log_given(given[views], head.source).reshape(-1, len(head.classes))
        coordinates = self._place(candidate, seen)[views]
        return (
            coordinates.reshape(-1, coordinates.shape[-1]),
            np.tile(sure, (len(views), 1)),
            offsets,
            np.tile(weights / len(views), len(views)),
        )

    def _unlabelled(self, reading: Reading) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give features (V, m, D) and probabilities of cells without labels: those read in several views, if enough."""
        count = len(self.labels)
        if reading.views.shape[1] - count >= _ENOUGH:
            return reading.views[:, count:], reading.views_given[:, count:]
        chosen = spread(len(reading.pool), _PSEUDO)
        return reading.pool[None, chosen], reading.pool_given[None, chosen]

    def _place(self, candidate: Candidate, seen: NDArray[np.float32]) -> Floats:
        """Give the coordinates (V, m, r) of the unlabelled cells, computed once a space."""
        key = (candidate.zoom, candidate.layers)
        if key not in self._placed:
            self._placed[key] = self._space(candidate)[0].apply(seen)
        return self._placed[key]
