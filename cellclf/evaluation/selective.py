"""Selective classification: accuracy when the least confident images are left to a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.evaluation.checks import check_predictions
from cellclf.evaluation.confidence_plots import plot_abstention

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Abstention:
    """The abstention curve, from the most confident images to all of them; made by ``abstain``.

    Args:
        confidence: (k,) the confidence that an image needs to be classified, falling.
        answered: (k,) the share of images that reach it, rising to 1.
        accuracy: (k,) the share of these that is classified correctly.
        n: How many images.
    """

    confidence: Floats
    answered: Floats
    accuracy: Floats
    n: int

    def at(self, accuracy: float) -> tuple[float, float] | None:
        """Find how many images can be classified at an accuracy.

        Args:
            accuracy: The least accuracy of the classified images, 0-1.

        Returns:
            The largest share that can be classified and the confidence that an image then needs; None if there is
            none.
        """
        places = np.flatnonzero(self.accuracy >= accuracy)
        return (float(self.answered[places[-1]]), float(self.confidence[places[-1]])) if len(places) else None

    def accuracy_without(self, share: float) -> float:
        """Give the accuracy when the least confident ``share`` (0-1) of the images is left to a person."""
        return float(self.accuracy[min(int(np.searchsorted(self.answered, 1 - share - 1e-12)), len(self.accuracy) - 1)])

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: at most 101 points of the curve."""
        places = np.unique(np.linspace(0, len(self.answered) - 1, 101).astype(int))
        return {
            name: getattr(self, name)[places].round(6).tolist() for name in ("confidence", "answered", "accuracy")
        } | {"n": self.n}

    def plot(self) -> Figure:
        """Draw accuracy against the share that is classified."""
        return plot_abstention(self.answered, self.accuracy, n=self.n)


def abstain(labels: ArrayLike, probabilities: ArrayLike) -> Abstention:
    """Measure how accuracy grows when only images of high confidence are classified.

    Args:
        labels: (N,) whole numbers, index into the classes.
        probabilities: (N, C) floats 0-1.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> curve = abstain([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
        >>> curve.at(1.0)
        (0.75, 0.7)

    Source:
        Geifman & El-Yaniv 2017, Selective classification for deep neural networks, arXiv 1705.08500.
    """
    truth, given = check_predictions(labels, probabilities)
    confidence = given.max(1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    correct = np.cumsum(given.argmax(1)[order] == truth[order])
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))  # the last of each equal confidence
    return Abstention(
        confidence=confidence[order][last],
        answered=(last + 1) / len(truth),
        accuracy=correct[last] / (last + 1),
        n=len(truth),
    )
