"""What an adapted run answers: a head for the labelled classes, the run's own word elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.runs.features.space import learn_space, spread
from cellclf.training.adapt.candidates import Head, Reading
from cellclf.training.adapt.logistic import fit_logistic, softmax

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_DOUBT = 4.0  # so much less is the run's word for a class believed for each labelled cell that it was wrong about


@dataclass(frozen=True, eq=False)
class Gate:
    """Tells a laboratory's cells from those of the run's own: sigmoid(features @ kernel + bias) is near 1 there.

    Args:
        kernel: (D,).
        bias: One number.
    """

    kernel: Floats
    bias: float

    def __call__(self, features: NDArray[np.floating]) -> Floats:
        """Give how much (...,) of the answer the adapted head has for features (..., D)."""
        raw = np.asarray(features, np.float64) @ self.kernel + self.bias
        found: Floats = 1.0 / (1.0 + np.exp(-np.clip(raw, -50, 50)))
        return found


@dataclass(frozen=True, eq=False)
class Mixture:
    """Probabilities of an adapted run, from pooled features and the run's own probabilities.

    Args:
        head: For the classes that have labels; one without classes where there are no labels.
        columns: (C,) for every class that the adapted run can answer the run's column, -1 for a new class.
        places: (n,) where each class of the head stands among those C.
        trust: (C,) how much of the run's probability of a class without labels is kept, 0-1; 0 for labelled ones.
        gate: None where nothing is known of the run's own laboratory.
    """

    head: Head
    columns: Labels
    places: Labels
    trust: Floats
    gate: Gate | None = None

    def probabilities(self, features: NDArray[np.floating], given: NDArray[np.floating]) -> Floats:
        """Give (..., C) probabilities for features (..., D) and the run's probabilities (..., K)."""
        own = self.own(given)
        if not len(self.head.classes):
            return own
        kept = self.trust * np.where(self.columns >= 0, np.asarray(given)[..., np.maximum(self.columns, 0)], 0.0)
        found = np.zeros(own.shape)
        found[..., self.places] = softmax(self.head.logits(features, given))
        found = kept + (1.0 - kept.sum(-1, keepdims=True)) * found
        if self.gate is None:
            return np.asarray(found, np.float64)
        here = self.gate(features)[..., None]
        mixed: Floats = here * found + (1.0 - here) * own
        return mixed

    def own(self, given: NDArray[np.floating]) -> Floats:
        """Give the run's probabilities (..., C) of the classes that can be answered, brought to sum 1."""
        taken = np.where(self.columns >= 0, np.asarray(given, np.float64)[..., np.maximum(self.columns, 0)], 0.0)
        found: Floats = taken / np.maximum(taken.sum(-1, keepdims=True), 1e-30)
        return found


def mix(head: Head, columns: Labels, given: NDArray[np.floating], gate: Gate | None = None) -> Mixture:
    """Complete a head by the classes that have no labels.

    The run's word for such a class is believed as long as no labelled cell contradicts it. The suggested cells hold at
    least one of every class that the run names, so that a class that does not occur in the laboratory soon loses its
    weight there, and one that was just not met does not.

    Args:
        head: Fitted on labels whose numbers are places in ``columns``.
        columns: (C,) the run's column of each class that can be answered, -1 for a new one.
        given: (n, K) the run's probabilities for the labelled cells.
        gate: See ``Mixture``.
    """
    trust = np.zeros(len(columns))
    for place, column in enumerate(columns):
        if column >= 0 and place not in head.classes:
            trust[place] = 1.0 / (1.0 + _DOUBT * float(np.asarray(given)[:, column].sum()))
    return Mixture(head, columns, head.classes, trust, gate)


def fit_gate(reading: Reading, layers: int) -> Gate | None:
    """Learn to tell a laboratory's cells from home cells, without labels; None without home cells.

    Where both look the same (the next slides of the same laboratory) neither side wins and both answers are mixed.

    Args:
        reading: With ``home``.
        layers: How many of its layers are used, counted from the last one.
    """
    if reading.home is None or not len(reading.home):
        return None
    used = [place >= len(reading.widths) - layers for place in range(len(reading.widths))]
    there, here = reading.pool[spread(len(reading.pool))], reading.home[spread(len(reading.home))]
    both = np.concatenate([there, here])
    space = learn_space(both, reading.views, reading.widths, columns=used, dimensions=100)
    side = np.repeat([1, 0], [len(there), len(here)])
    targets = np.eye(2)[side]
    weights = 1.0 / np.bincount(side)[side]
    kernel, bias = fit_logistic(space.apply(both), targets, np.zeros(targets.shape), weights, strength=1e5, steps=200)
    raw = space.axes @ (kernel[:, 1] - kernel[:, 0])
    return Gate(raw, float(bias[1] - bias[0] - space.mean @ raw))
