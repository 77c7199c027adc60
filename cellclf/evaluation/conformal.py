"""Conformal prediction: sets of classes that contain the true class at a guaranteed rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.checks import Level, check_predictions, check_range, checked_names, class_numbers
from cellclf.utils.parameters import check_value
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conformal:
    """Turns probabilities into sets of classes; made by ``fit_conformal``.

    A set contains every class whose probability reaches the threshold: the smallest sets on average that keep the
    error rate. Where the classifier is confident, a set is one class; where it hesitates between two, it is both.

    Args:
        given: (n,) the probability of the true class of each calibration image, 0-1.
        classes: (n,) that class.
        num_classes: How many classes there are.
    """

    given: Floats
    classes: NDArray[np.int64]
    num_classes: int

    def thresholds(self, error: float = 0.01, *, per_class: bool = False) -> Floats:
        """Give the probability that a class needs to be in a set.

        Args:
            error: The share of sets that may miss the true class, between 0 and 1.
            per_class: Keep the error rate for the images of each class separately, not only for all together. A
                class with fewer than ``1 / error - 1`` calibration images gets the threshold 0: it is in every set.

        Returns:
            (C,) probabilities.

        Raises:
            OptionError: An error rate out of range.
        """
        check_value(error, Level, "error")
        if not per_class:
            return np.full(self.num_classes, _threshold(self.given, error))
        return np.array([_threshold(self.given[self.classes == k], error) for k in range(self.num_classes)])

    def sets(
        self, probabilities: ArrayLike, error: float = 0.01, *, per_class: bool = False, empty: bool = False
    ) -> NDArray[np.bool_]:
        """Give the set of each image.

        Args:
            probabilities: (N, C), from the same classifier and temperature as in the calibration.
            error: The share of sets that may miss the true class.
            per_class: Keep the error rate for each class separately.
            empty: Leave sets empty where no class reaches its threshold; otherwise they contain the most probable
                class.

        Returns:
            (N, C) bool.

        Raises:
            DataError: Probabilities of another number of classes.
        """
        given = np.asarray(probabilities, np.float64)
        if given.ndim != 2 or given.shape[1] != self.num_classes:
            raise DataError(f"probabilities have shape {given.shape}; expected (images, {self.num_classes})")
        if not np.isfinite(given).all():
            raise DataError("probabilities hold NaN or infinity; expected numbers 0-1")
        found: NDArray[np.bool_] = given >= self.thresholds(error, per_class=per_class)
        if not empty and len(given):
            found[np.arange(len(given)), given.argmax(1)] = True
        return found


@dataclass(frozen=True, repr=False)
class Coverage(Result):
    """Coverage and size of prediction sets; made by ``coverage``.

    Args:
        covered: Share of sets that contain the true class.
        mean_size: Classes in a set, on average.
        sizes: Size of a set -> share of sets.
        classes: Class -> share of its images whose set contains it; NaN without images.
        n: How many sets.
    """

    covered: float
    mean_size: float
    sizes: dict[int, float]
    classes: dict[str, float]
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return {
            "n": self.n,
            "covered": self.covered,
            "mean_size": self.mean_size,
            "sizes": {str(size): share for size, share in self.sizes.items()},
            "classes": {name: None if share != share else share for name, share in self.classes.items()},
        }

    def summary(self) -> str:
        """Say how often the sets hold the true class, and how large they are."""
        return (
            f"{100 * self.covered:.2f} % of {self.n:,} sets hold the true class; a set has "
            f"{self.mean_size:.2f} classes on average"
        )


def fit_conformal(labels: ArrayLike, probabilities: ArrayLike) -> Conformal:
    """Fit conformal prediction on images with labels.

    For new images from the same source (exchangeable with these), sets miss the true class at most at the chosen
    rate, whatever the classifier. For images from another source nothing is guaranteed.

    Args:
        labels: (n,) whole numbers, index into the classes.
        probabilities: (n, C) floats 0-1: of images that were not trained on.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> found = fit_conformal([0, 0, 1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        >>> found.sets([[0.6, 0.4], [0.35, 0.65]], error=0.25).tolist()
        [[True, False], [False, True]]
        >>> found.sets([[0.6, 0.4]], error=0.01).tolist()  # three images guarantee nothing at 1 %
        [[True, True]]

    Source:
        Vovk, Gammerman, Shafer 2005, Algorithmic learning in a random world (per class: section 4.5); Sadinle, Lei,
        Wasserman 2019, Least ambiguous set-valued classifiers, arXiv 1609.00451; Angelopoulos & Bates 2021, arXiv
        2107.07511.
    """
    truth, given = check_predictions(labels, probabilities)
    return Conformal(given[np.arange(len(truth)), truth].astype(np.float64), truth, given.shape[1])


def coverage(labels: ArrayLike, sets: NDArray[np.bool_], class_names: tuple[str, ...] | list[str]) -> Coverage:
    """Count how often sets contain the true class, and how large they are.

    Args:
        labels: (N,) whole numbers, index into ``class_names``.
        sets: (N, C) bool.
        class_names: C names.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> found = coverage([0, 1], np.array([[True, True], [True, False]]), ["round", "lobed"])
        >>> found.covered, found.mean_size, found.classes
        (0.5, 1.5, {'round': 1.0, 'lobed': 0.0})
    """
    truth, names, sets = class_numbers(labels), checked_names(class_names), np.asarray(sets)
    if sets.shape != (len(truth), len(names)) or sets.dtype.kind != "b":
        raise DataError(
            f"sets are {sets.dtype} of shape {sets.shape}; expected bool ({len(truth)}, {len(names)}), at least one"
        )
    check_range(truth, len(names))
    held = sets[np.arange(len(truth)), truth]
    sizes = sets.sum(1)
    return Coverage(
        covered=float(held.mean()),
        mean_size=float(sizes.mean()),
        sizes={int(size): float((sizes == size).mean()) for size in np.unique(sizes)},
        classes={
            name: float(held[truth == k].mean()) if (truth == k).any() else float("nan") for k, name in enumerate(names)
        },
        n=len(truth),
    )


def _threshold(given: Floats, error: float) -> float:
    """The largest threshold that misses new images at most at the rate: a low order statistic; 0 if too few."""
    place = int(np.floor((len(given) + 1) * error + 1e-9))
    return float(np.partition(given, place - 1)[place - 1]) if place else 0.0
