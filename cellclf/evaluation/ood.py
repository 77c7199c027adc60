"""Whether an image, or a whole set, is of the kind that a classifier was trained on: out-of-distribution scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]

_LARGE = 0.6  # of two images, one of each set, the new one is the stranger more often than this: no slight shift
_AXES = 64  # main axes that are measured one by one; what lies beside them counts together


def energy(logits: ArrayLike) -> Floats:
    """Score how foreign images are by the energy of their logits: higher is stranger.

    It needs no training images, but tells foreign images from cells less well than the feature distance does.

    Args:
        logits: (N, C) what goes into the softmax.

    Examples:
        >>> energy([[10.0, 0.0], [1.0, 0.0]]).round(1).tolist()
        [-10.0, -1.3]

    Source:
        Liu, Wang, Owens, Li 2020, Energy-based out-of-distribution detection, arXiv 2010.03759.
    """
    from scipy.special import logsumexp

    score: Floats = -np.asarray(logsumexp(np.asarray(logits, np.float64), axis=1))
    return score


@dataclass(frozen=True, eq=False)
class Familiar:
    """What the features of known cells look like; made by ``learn_familiar``.

    Args:
        centres: (K, d) mean direction of each class.
        axes: (d, m) main axes of the scatter about the centres.
        widths: (m,) standard deviation along each.
        rest: Standard deviation along each axis beside the main ones; 0 if there is none.
        reference: (n,) sorted distances of known images that were not learnt from: what is usual.
    """

    centres: Floats
    axes: Floats
    widths: Floats
    rest: float
    reference: Floats

    def distance(self, features: ArrayLike) -> Floats:
        """Measure how far images are from the nearest class, in standard deviations: higher is stranger.

        Args:
            features: (N, d) of the same layer that was learnt from.

        Raises:
            DataError: Features of another width.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.centres.shape[1]:
            raise DataError(f"features have shape {rows.shape}; expected (images, {self.centres.shape[1]})")
        rows = _unit(rows)
        nearest = np.full(len(rows), np.inf)
        for centre in self.centres:
            away = rows - centre
            main = away @ self.axes
            square = np.square(main / self.widths).sum(1)
            if self.rest:
                beside = np.square(away).sum(1) - np.square(main).sum(1)
                square += np.maximum(beside, 0) / self.rest**2
            np.minimum(nearest, square, out=nearest)
        return np.asarray(np.sqrt(nearest))

    def limit(self, refuse: float) -> float:
        """Give the distance beyond which an image is called foreign.

        Args:
            refuse: The share of known cells that may be called foreign by mistake, 0 (never) to below 1. Where the
                reference is too small to promise so small a share, its largest distance is the limit.
        """
        if not 0 <= refuse < 1:
            raise OptionError(f"refuse={refuse}; expected a share of known cells from 0 to below 1, such as 0.005")
        place = int(np.ceil((len(self.reference) + 1) * (1 - refuse) - 1e-9))
        return float(self.reference[min(place, len(self.reference)) - 1]) if refuse else float("inf")

    def compare(self, distances: ArrayLike, *, refuse: float = 0.005, alpha: float = 0.001) -> DomainShift:
        """Test whether a whole set is of the kind that was learnt.

        Many images that are each a little strange say what none of them says alone.

        Args:
            distances: (N,) of the set.
            refuse: See ``limit``.
            alpha: Probability of calling a set shifted that is not.

        Raises:
            DataError: No images.

        Source:
            Mann & Whitney, Annals of Mathematical Statistics 18 (1947) 50-60; Rabanser, Guennemann, Lipton 2019,
            Failing loudly, arXiv 1810.11953 (tests on a classifier's own representation).
        """
        from scipy.stats import mannwhitneyu

        found = np.asarray(distances, np.float64)
        if not len(found):
            raise DataError("there are no images to compare with the known ones; expected one or more")
        test = mannwhitneyu(found, self.reference, alternative="two-sided", method="asymptotic")
        stranger = float(test.statistic) / (len(found) * len(self.reference))
        return DomainShift(
            n=len(found),
            stranger=stranger,
            p_value=float(test.pvalue),
            foreign=float((found > self.limit(refuse)).mean()),
            shifted=bool(test.pvalue < alpha and stranger > _LARGE),
        )


@dataclass(frozen=True)
class DomainShift:
    """Whether a set is of the kind that a classifier knows; made by ``Familiar.compare``.

    Args:
        n: How many images.
        stranger: How often an image of the set is stranger than a known one: 0.5 for the same kind, 1 for another.
        p_value: Of the rank test that both are of one kind.
        foreign: Share of the set that is called foreign.
        shifted: The difference is neither chance (small ``p_value``) nor slight (``stranger`` above 0.6).
    """

    n: int
    stranger: float
    p_value: float
    foreign: float
    shifted: bool

    def __str__(self) -> str:
        numbers = (
            f"an image of this set is stranger to the classifier than a known one in {100 * self.stranger:.1f} % of "
            f"pairs (50 % is no difference; p = {self.p_value:.2g}), and {100 * self.foreign:.1f} % are not cells "
            "that it knows"
        )
        if self.shifted:
            return f"SHIFTED: {numbers}. Its promises do not hold here; check it on labelled images of this kind."
        return f"no shift: {numbers}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "n": self.n,
            "stranger": self.stranger,
            "p_value": self.p_value,
            "foreign": self.foreign,
            "shifted": self.shifted,
        }


def learn_familiar(features: ArrayLike, labels: ArrayLike, held_out: ArrayLike) -> Familiar:
    """Learn what known cells look like to a network.

    Features count by their direction, since their length mostly tells brightness and contrast. Each class has a
    centre, all share one scatter (shrunk, as there may be more features than images); of it, the main axes are
    measured one by one and all others together, which keeps foreign images that differ a little in many small axes
    apart from cells that differ much in a few.

    Args:
        features: (N, d) of training images, from a layer near the end of the network.
        labels: (N,) whole numbers.
        held_out: (n, d) of images that were not trained on; the threshold is taken from them.

    Raises:
        DataError: Arrays that do not fit together, or fewer than two images in one of them.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> cells = rng.normal(0, 0.1, (300, 8)) + np.eye(8)[rng.integers(0, 2, 300)]
        >>> known = learn_familiar(cells[:200], cells[:200, :2].argmax(1), cells[200:])
        >>> strange = known.distance(np.eye(8)[[0, 5]]) > known.limit(0.02)
        >>> strange.tolist()
        [False, True]

    Source:
        Lee, Lee, Lee, Shin 2018, arXiv 1807.03888 (Mahalanobis distance to the nearest class); Tipping & Bishop 1999,
        doi 10.1111/1467-9868.00196 (one width for the minor axes); Ledoit & Wolf 2004, doi
        10.1016/S0047-259X(03)00096-4 (shrinkage).
    """
    from sklearn.covariance import ledoit_wolf

    rows, truth, others = np.asarray(features, np.float64), np.asarray(labels), np.asarray(held_out, np.float64)
    if rows.ndim != 2 or truth.shape != (len(rows),) or others.ndim != 2 or others.shape[1] != rows.shape[1]:
        raise DataError(
            f"features have shape {rows.shape}, labels {truth.shape}, held-out features {others.shape}; "
            "expected (N, d), (N,), (n, d)"
        )
    if len(rows) < 2 or len(others) < 2:
        raise DataError(f"{len(rows)} training and {len(others)} held-out images; expected two of each at least")
    rows = _unit(rows)
    names, place = np.unique(truth, return_inverse=True)
    centres = np.stack([rows[place == k].mean(0) for k in range(len(names))])
    scatter, _ = ledoit_wolf(rows - centres[place], assume_centered=True)
    variances, axes = np.linalg.eigh(scatter)
    variances = np.maximum(variances[::-1], 1e-12)
    main = min(_AXES, rows.shape[1])
    known = Familiar(
        centres=centres,
        axes=np.ascontiguousarray(axes[:, ::-1][:, :main]),
        widths=np.sqrt(variances[:main]),
        rest=float(np.sqrt(variances[main:].mean())) if main < rows.shape[1] else 0.0,
        reference=np.empty(0),
    )
    return Familiar(known.centres, known.axes, known.widths, known.rest, np.sort(known.distance(others)))


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
