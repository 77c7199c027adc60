"""Selective classification: accuracy when the least confident images are left to a person."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import OptionError
from cellclf.evaluation.checks import Level, check_predictions
from cellclf.evaluation.confidence_plots import plot_abstention
from cellclf.utils.annotations import Example
from cellclf.utils.parameters import Share, check_value
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]

_Aim = Annotated[Level, Example("0.95")]


@dataclass(frozen=True, repr=False)
class Promise(Result):
    """An accuracy that holds for images above a threshold; made by ``Abstention.at``.

    Args:
        accuracy: What is promised, at least.
        confidence: Probability with which the promise holds.
        answered: Share of images that reach the threshold.
        threshold: The probability of its class that an image needs to be classified.
        observed: Accuracy of these images here.
        n: How many images it was learnt from.
    """

    accuracy: float
    confidence: float
    answered: float
    threshold: float
    observed: float
    n: int

    def __str__(self) -> str:
        return (
            f"images are classified from a probability of {self.threshold:.4f} on ({100 * self.answered:.1f} % of the "
            f"validation images): accuracy of at least {100 * self.accuracy:g} % with {100 * self.confidence:g} % "
            f"confidence, from {self.n:,} images; observed {100 * self.observed:.1f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, eq=False, repr=False)
class Abstention(Result):
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

    def at(self, accuracy: float, *, confidence: float = 0.95) -> Promise:
        """Find the largest share of images for which an accuracy can be promised.

        The promise is the exact binomial lower bound: were the true accuracy at this threshold lower, so good a result
        on these images would come up with a probability of at most ``1 - confidence``. Choosing the largest share among
        many thresholds costs a little of that: in simulations with 95 %, 4 to 6 of 100 sets gave a broken promise.

        Args:
            accuracy: The least accuracy of the classified images, above 0 and below 1.
            confidence: Of the promise, between 0 and 1.

        Raises:
            OptionError: Numbers out of range; or these images are too few, or their mistakes too many, for the promise.

        Source:
            Clopper & Pearson, Biometrika 26 (1934) 404-413; Geifman & El-Yaniv 2017, arXiv 1705.08500.
        """
        from scipy.stats import beta

        for name, value in (("accuracy", accuracy), ("confidence", confidence)):
            check_value(value, _Aim, name)
        count = np.round(self.answered * self.n)
        correct = np.round(self.accuracy * count)
        lower = np.where(correct > 0, beta.ppf(1 - confidence, np.maximum(correct, 1), count - correct + 1), 0.0)
        places = np.flatnonzero(lower >= accuracy)
        if not len(places):
            least = math.ceil(math.log(1 - confidence) / math.log(accuracy))
            raise OptionError(
                f"an accuracy of {100 * accuracy:g} % cannot be promised with {100 * confidence:g} % confidence from "
                f"{self.n:,} images: at best {100 * lower.max():.1f} %; expected {least:,} images without a mistake at "
                "high confidence, or a lower accuracy"
            )
        best = int(places[-1])
        return Promise(
            accuracy=accuracy,
            confidence=confidence,
            answered=float(self.answered[best]),
            threshold=float(self.confidence[best]),
            observed=float(self.accuracy[best]),
            n=self.n,
        )

    def accuracy_without(self, share: float) -> float:
        """Give the accuracy when the least confident ``share`` (0-1) of the images is left to a person."""
        check_value(share, Share, "share")
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

    def summary(self) -> str:
        """Give the accuracy when the least confident images are left to a person."""
        parts = [
            f"{100 * share:.0f} %: {100 * self.accuracy_without(share):.1f} %" for share in (0, 0.05, 0.1, 0.2, 0.5)
        ]
        return f"accuracy on {self.n:,} images when so many are left to a person: {', '.join(parts)}"


def abstain(labels: ArrayLike, probabilities: ArrayLike) -> Abstention:
    """Measure how accuracy grows when only images of high confidence are classified.

    Args:
        labels: (N,) whole numbers, index into the classes.
        probabilities: (N, C) floats 0-1.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> curve = abstain([0] * 99 + [1] * 9, [[0.9, 0.1]] * 99 + [[0.6, 0.4]] * 9)
        >>> round(curve.at(0.95).answered, 3)
        0.917

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
