"""Calibration: temperature scaling, calibration error, reliability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.evaluation.checks import check_predictions
from cellclf.evaluation.confidence_plots import plot_reliability
from cellclf.evaluation.intervals import Estimate, binomial_interval
from cellclf.evaluation.scores import log_loss
from cellclf.utils.parameters import Count, Positive, Seed, check_arguments, check_value
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]

_SMALLEST = np.finfo(np.float32).tiny  # a float32 softmax rounds to 0 what was not impossible
_RANGE = (0.05, 20.0)
_IMAGINED = 20.0
"""Images for which a temperature of 1 is right, added to those that it is fitted on."""


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Find the temperature that calibrates probabilities.

    Above 1 the classifier was overconfident, below 1 underconfident. The order of the classes, and so every
    prediction, does not change. Fit it on images that were not trained on and are not reported on.

    A few images without a mistake do not prove that there are none: their own best temperature is 0, with which every
    probability becomes 1. So 20 imagined images are added, for which the classifier is right as often as it says.
    Hundreds of images outweigh them.

    Args:
        labels: (N,) whole numbers, index into the classes.
        probabilities: (N, C) floats 0-1, rows that sum to 1.

    Returns:
        The temperature, 0.05 to 20, with the smallest mean -ln(probability of the true class).

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> overconfident = [[0.99, 0.01]] * 4000
        >>> temperature = fit_temperature([0, 0, 0, 1] * 1000, overconfident)
        >>> scale(overconfident, temperature)[0].round(2).tolist()
        [0.75, 0.25]

    Source:
        Guo, Pleiss, Sun, Weinberger 2017, On calibration of modern neural networks, arXiv 1706.04599; the imagined
        images are a prior, as Platt 1999 gives his targets one.
    """
    from scipy.optimize import minimize_scalar

    truth, given = check_predictions(labels, probabilities)
    given = given / given.sum(1, dtype=np.float64, keepdims=True)
    if not np.ptp(given, axis=1).any():
        return 1.0  # of rows that prefer no class every temperature makes the same
    hits = np.zeros(given.shape)
    hits[np.arange(len(truth)), truth] = 1
    counted = hits + _IMAGINED / len(truth) * given

    def loss(log_temperature: float) -> float:
        scaled = scale(given, float(np.exp(log_temperature)))
        return float(-(counted * np.log(np.maximum(scaled, _SMALLEST))).sum() / len(truth))

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def scale(probabilities: ArrayLike, temperature: float) -> Floats:
    """Divide the logarithms of probabilities by a temperature and make the rows sum to 1 again.

    Args:
        probabilities: (N, C) floats 0-1.
        temperature: Above 0; 1 changes nothing.

    Examples:
        >>> scale([[0.8, 0.2]], 2.0).round(3).tolist()
        [[0.667, 0.333]]
    """
    check_value(temperature, Positive, "temperature")
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST)) / temperature
    powers = np.exp(logs - logs.max(1, keepdims=True))
    scaled: Floats = powers / powers.sum(1, keepdims=True)
    return scaled


@dataclass(frozen=True)
class Bin:
    """Images that were classified with about the same confidence.

    Args:
        count: How many.
        confidence: Their mean probability of the predicted class, 0-1.
        accuracy: The share of them that was classified correctly, with its interval.
    """

    count: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, repr=False)
class Calibration(Result):
    """How far confidence and accuracy are apart; made by ``calibrate``.

    Args:
        ece: Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by images.
        ece_if_perfect: What a perfectly calibrated classifier would show on as many images: the mean of simulations,
            and the range in which 95 % of them lie. It is zero only with infinitely many images.
        brier: Mean squared distance of the probabilities from the truth (1 for the right class, 0 for others), 0-2.
        log_loss: Mean of -ln(probability of the true class), in nats.
        confidence: Mean probability of the predicted class.
        accuracy: Share of images that were classified correctly.
        bins: The reliability curve, from low to high confidence.
        n: How many images.
    """

    ece: float
    ece_if_perfect: Estimate
    brier: float
    log_loss: float
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]
    n: int

    def __str__(self) -> str:
        perfect = self.ece_if_perfect
        return (
            f"{self.n:,} images: confidence {100 * self.confidence:.1f} %, accuracy {100 * self.accuracy:.1f} %\n"
            f"expected calibration error {self.ece:.4f} ({len(self.bins)} bins of equal size); a perfectly calibrated "
            f"classifier would show {float(perfect):.4f} ({perfect.low:.4f}-{perfect.high:.4f})\n"
            f"Brier score {self.brier:.4f}, log loss {self.log_loss:.4f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "n": self.n,
            "ece": self.ece,
            "ece_if_perfect": self.ece_if_perfect.to_dict(),
            "brier": self.brier,
            "log_loss": self.log_loss,
            "confidence": self.confidence,
            "accuracy": self.accuracy,
            "bins": [
                {"count": b.count, "confidence": b.confidence, "accuracy": b.accuracy.to_dict()} for b in self.bins
            ],
        }

    def plot(self) -> Figure:
        """Draw the reliability diagram: accuracy against confidence, with intervals."""
        return plot_reliability([one.confidence for one in self.bins], [one.accuracy for one in self.bins], n=self.n)


def calibrate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    bins: Count = 15,
    simulations: Count = 400,
    seed: Seed = 0,
) -> Calibration:
    """Measure how well probabilities are calibrated.

    The bins hold the same number of images each, because with bins of equal width most would be nearly empty.

    Args:
        labels: (N,) whole numbers, index into the classes.
        probabilities: (N, C) floats 0-1, rows that sum to 1.
        bins: How many, at most one for each image.
        simulations: Of a perfectly calibrated classifier.
        seed: Of the simulations.

    Raises:
        DataError: Arrays that do not fit together.
        OptionError: No bin or no simulation.

    Examples:
        >>> found = calibrate([0, 0, 1, 0], [[0.75, 0.25]] * 4, bins=1)
        >>> found.ece, found.accuracy
        (0.0, 0.75)

    Source:
        Guo et al. 2017, arXiv 1706.04599 (ECE of the predicted class); Nixon et al. 2019, arXiv 1904.01685 (bins of
        equal mass); Vaicenavicius et al. 2019, arXiv 1902.06977 (what a calibrated classifier shows); Clopper &
        Pearson, Biometrika 26 (1934) 404-413 (intervals of the bins).
    """
    check_arguments(calibrate, bins=bins, simulations=simulations, seed=seed)
    truth, given = check_predictions(labels, probabilities)
    scaled = given.astype(np.float64)
    scaled /= scaled.sum(1, keepdims=True)
    top, predicted = scaled.max(1), scaled.argmax(1)
    hits = (predicted == truth).astype(np.float64)
    order = np.argsort(top, kind="stable")
    edges = np.linspace(0, len(top), min(bins, len(top)) + 1).astype(int)
    counts = np.diff(edges)
    confidence = np.add.reduceat(top[order], edges[:-1]) / counts

    # images of equal confidence may be split across two bins: each counts as the mean of its equals, so that the
    # result does not depend on the order of the images
    _, equal, size = np.unique(top[order], return_inverse=True, return_counts=True)

    def accuracies(sorted_hits: Floats) -> Floats:
        shared = (np.bincount(equal, sorted_hits) / size)[equal]
        return np.asarray(np.add.reduceat(shared, edges[:-1]) / counts)

    def error(accuracy: Floats) -> float:
        return float(np.abs(accuracy - confidence) @ counts / len(top))

    found = accuracies(hits[order])
    rng = np.random.default_rng(seed)
    draws = [error(accuracies((rng.random(len(top)) < top[order]).astype(float))) for _ in range(simulations)]
    one_hot = np.eye(scaled.shape[1])[truth]
    return Calibration(
        ece=error(found),
        ece_if_perfect=Estimate(float(np.mean(draws)), *np.quantile(draws, [0.025, 0.975]).tolist()),
        brier=float(np.square(scaled - one_hot).sum(1).mean()),
        log_loss=log_loss(truth, scaled),
        confidence=float(top.mean()),
        accuracy=float(hits.mean()),
        bins=tuple(
            Bin(int(n), float(c), Estimate(float(a), *binomial_interval(float(a) * int(n), int(n))))
            for n, c, a in zip(counts, confidence, found, strict=True)
        ),
        n=len(top),
    )
