"""Out-of-distribution detection: of single images, and of whole sets (domain shift)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.utils.annotations import Example
from cellclf.utils.parameters import check_value
from cellclf.utils.results import Result
from cellclf.utils.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]

_LARGE = 0.6  # AUROC from which a shift is more than slight
_FEW = 5  # with fewer reference images of a class, all are compared with
_MIXED = 0.1  # difference of a class's share that is worth a sentence
_LOST = 0.05  # so many cells may lie beyond the limit that known non-cell images set
_AXES = 64  # main axes that are measured one by one; all others share one width


def energy(logits: ArrayLike) -> Floats:
    """Score images by the energy of their logits: higher is farther from the training distribution.

    It needs no training images, but separates out-of-distribution images from cells less well than the feature
    distance does.

    Args:
        logits: (N, C) the input of the softmax.

    Examples:
        >>> energy([[10.0, 0.0], [1.0, 0.0]]).round(1).tolist()
        [-10.0, -1.3]

    Source:
        Liu, Wang, Owens, Li 2020, Energy-based out-of-distribution detection, arXiv 2010.03759.
    """
    from scipy.special import logsumexp

    given = np.asarray(logits, np.float64)
    if given.ndim != 2 or np.isnan(given).any():
        raise DataError(f"logits have shape {given.shape}, or are no numbers; expected (N, C), images x classes")
    score: Floats = -np.asarray(logsumexp(given, axis=1))
    return score


@dataclass(frozen=True, eq=False)
class OodDetector:
    """The distribution of the features of known cells; made by ``fit_ood_detector``.

    Args:
        centres: (K, d) mean direction of each class.
        axes: (d, m) main axes of the scatter about the centres.
        widths: (m,) standard deviation along each.
        rest: Standard deviation along each of the other axes; 0 if there is none.
        reference: (n,) sorted distances of known images that it was not fitted on.
        reference_class: (n,) the class predicted for each of them; None where it is not known, in detectors that older
            versions saved.
        non_cells_from: Distance from which on images that show no cell were found; None where none are known.
    """

    centres: Floats
    axes: Floats
    widths: Floats
    rest: float
    reference: Floats
    reference_class: NDArray[np.int64] | None = None
    non_cells_from: float | None = None

    def distance(self, features: ArrayLike) -> Floats:
        """Measure how far images are from the nearest class, in standard deviations.

        Args:
            features: (N, d) of the same layer as in the fit.

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
        """Give the distance beyond which an image counts as out-of-distribution.

        Args:
            refuse: The share of known cells that may be rejected by mistake, 0 (never) to below 1. Where the reference
                is too small for so small a share, its largest distance is the limit. Known non-cell images lower it.

        Raises:
            OptionError: A share out of range.
        """
        check_value(refuse, Annotated[float, Interval(ge=0, lt=1), Example("0.005")], "refuse")
        place = int(np.ceil((len(self.reference) + 1) * (1 - refuse) - 1e-9))
        if not refuse:
            return float("inf")
        found = float(self.reference[min(place, len(self.reference)) - 1])
        return found if self.non_cells_from is None else min(found, self.non_cells_from)

    def knowing(self, non_cells: ArrayLike) -> OodDetector:
        """Give a detector whose limit lies below images that show no cell, where that costs few cells.

        Args:
            non_cells: (m,) distances of images that are known to show no cell; of those that are nearer than 95 % of
                the cells, nothing is learnt.

        Examples:
            >>> known = OodDetector(np.zeros((1, 2)), np.eye(2), np.ones(2), 0.0, np.arange(1.0, 101.0))
            >>> known.limit(0.005), known.knowing([120.0, 99.0, 3.0]).limit(0.005)
            (100.0, 98.5)
        """
        far = np.sort(np.asarray(non_cells, np.float64))
        far = far[far > np.quantile(self.reference, 1 - _LOST)]
        if not len(far):
            return self
        below = self.reference[self.reference < far[0]]
        return replace(self, non_cells_from=float((far[0] + below[-1]) / 2) if len(below) else float(far[0]))

    def compare(
        self,
        distances: ArrayLike,
        predicted: ArrayLike | None = None,
        *,
        class_names: Sequence[str] = (),
        refuse: float = 0.005,
        alpha: float = 0.001,
    ) -> DomainShift:
        """Test whether a whole set has the distribution of known cells.

        A small shift of many images is significant where that of a single image is not. Each image is compared only
        with reference images that were predicted as the same class, so that another mix of classes is no shift.

        Args:
            distances: (N,) of the set.
            predicted: (N,) the class predicted for each image; None compares with all reference images.
            class_names: Names in label order, for the class mix.
            refuse: See ``limit``.
            alpha: Probability of reporting a shift where there is none.

        Raises:
            DataError: No images.

        Source:
            Mann & Whitney, Annals of Mathematical Statistics 18 (1947) 50-60, within classes as van Elteren, Bulletin
            de l'Institut International de Statistique 37 (1960) 351-361; Rabanser, Guennemann, Lipton 2019, Failing
            loudly, arXiv 1810.11953 (tests on a classifier's own representation).
        """
        found = np.asarray(distances, np.float64)
        if not len(found):
            raise DataError("there are no images to compare with the known cells; expected 1 or more")
        by_class = predicted is not None and self.reference_class is not None
        here = np.asarray(predicted, np.int64) if by_class else np.zeros(len(found), np.int64)
        known = self.reference_class if by_class and self.reference_class is not None else None
        auroc = variance = 0.0
        for label in np.unique(here):
            inside = np.sort(found[here == label])
            same = self.reference if known is None else self.reference[known == label]
            if len(same) < _FEW:  # too few of this class to compare with
                same = self.reference
            below = np.searchsorted(same, inside, "left") + np.searchsorted(same, inside, "right")
            weight = len(inside) / len(found)
            auroc += weight * float(below.mean()) / (2 * len(same))
            variance += weight**2 * (len(inside) + len(same) + 1) / (12 * len(inside) * len(same))
        p_value = math.erfc(abs(auroc - 0.5) / math.sqrt(2 * variance))
        mix = {}
        if known is not None and class_names:
            mix = {
                name: (float((here == label).mean()), float((known == label).mean()))
                for label, name in enumerate(class_names)
            }
        return DomainShift(
            n=len(found),
            auroc=auroc,
            p_value=p_value,
            out_of_distribution=float((found > self.limit(refuse)).mean()),
            shifted=bool(p_value < alpha and auroc > _LARGE),
            class_mix=mix,
        )


@dataclass(frozen=True, repr=False)
class DomainShift(Result):
    """Whether a set has the distribution that a classifier was trained on; made by ``OodDetector.compare``.

    Args:
        n: How many images.
        auroc: How often an image of the set is farther from the known cells than a known cell is: 0.5 for the same
            distribution, 1 for an entirely different one.
        p_value: Of the rank test that both have the same distribution.
        out_of_distribution: Share of images that are out-of-distribution.
        shifted: The difference is neither chance (small ``p_value``) nor slight (``auroc`` above 0.6).
        class_mix: Name of a class -> share of the images of this set that are predicted as it, and of known cells;
            empty where it is not known.
    """

    n: int
    auroc: float
    p_value: float
    out_of_distribution: float
    shifted: bool
    class_mix: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        numbers = (
            f"in {100 * self.auroc:.1f} % of pairs, an image of this set is farther from the training cells than a "
            f"known cell is (50 % means no difference; p = {self.p_value:.2g}); "
            f"{100 * self.out_of_distribution:.1f} % of the images are out-of-distribution"
        )
        if self.shifted:
            advice = "Probabilities and sets are not reliable here: check them on labelled images."
            return f"SHIFTED: {numbers}. {advice}{self._mix_in_words()}"
        return f"no shift: {numbers}{'.' if self._mix_in_words() else ''}{self._mix_in_words()}"

    def _mix_in_words(self) -> str:
        """Name the class whose share differs most, where that is more than a tenth of all images, and no chance."""
        if not self.class_mix:
            return ""
        name, (here, known) = max(self.class_mix.items(), key=lambda entry: abs(entry[1][0] - entry[1][1]))
        if abs(here - known) < max(_MIXED, 3 * math.sqrt(known * (1 - known) / max(1, self.n))):
            return ""
        return (
            f" The class mix differs, which is no domain shift: {100 * here:.0f} % of these images are predicted as "
            f"{name}, {100 * known:.0f} % of the known cells are."
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return asdict(self)


def fit_ood_detector(
    features: ArrayLike, labels: ArrayLike, held_out: ArrayLike, predicted: ArrayLike | None = None
) -> OodDetector:
    """Fit the distribution of the features of known cells.

    Only the direction of features counts, since their length mostly reflects brightness and contrast. Each class has
    a centre, all share one covariance (shrunk, as there may be more features than images). Its main axes are measured
    one by one and all others together: this separates out-of-distribution images, which differ a little along many
    small axes, from cells, which differ much along a few.

    Args:
        features: (N, d) of training images, from a layer near the end of the network.
        labels: (N,) whole numbers.
        held_out: (n, d) of images that were not trained on; the limit is taken from them.
        predicted: (n,) the class predicted for each of them; None where it is not known.

    Raises:
        DataError: Arrays that do not fit together, or fewer than two images in one of them.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> cells = rng.normal(0, 0.1, (300, 8)) + np.eye(8)[rng.integers(0, 2, 300)]
        >>> known = fit_ood_detector(cells[:200], cells[:200, :2].argmax(1), cells[200:])
        >>> (known.distance(np.eye(8)[[0, 5]]) > known.limit(0.02)).tolist()
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
        raise DataError(f"{len(rows)} training and {len(others)} held-out images; expected 2 or more of each")
    if not (np.isfinite(rows).all() and np.isfinite(others).all()):
        raise DataError("features hold NaN or infinity; expected numbers")
    rows = _unit(rows)
    names, place = np.unique(truth, return_inverse=True)
    centres = np.stack([rows[place == k].mean(0) for k in range(len(names))])
    with one_blas_thread():
        scatter, _ = ledoit_wolf(rows - centres[place], assume_centered=True)
        variances, axes = np.linalg.eigh(scatter)
    variances = np.maximum(variances[::-1], 1e-12)
    main = min(_AXES, rows.shape[1])
    known = OodDetector(
        centres=centres,
        axes=np.ascontiguousarray(axes[:, ::-1][:, :main]),
        widths=np.sqrt(variances[:main]),
        rest=float(np.sqrt(variances[main:].mean())) if main < rows.shape[1] else 0.0,
        reference=np.empty(0),
    )
    distances = known.distance(others)
    order = np.argsort(distances, kind="stable")
    classes = None if predicted is None else np.asarray(predicted, np.int64)[order]
    return replace(known, reference=distances[order], reference_class=classes)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
