"""Check that labels and probabilities fit together, before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError, printable
from cellclf.utils.annotations import HUGE
from cellclf.utils.parameters import Count, check_value, shortened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Level = Annotated[float, Interval(gt=0, lt=1)]
Resamples = Annotated[int, Interval(ge=100, lt=HUGE)]

FEW_IMAGES = 10
"""Of a class with fewer, one mistake changes the recall by more than a tenth."""


def averaged_classes(support: NDArray[np.int64], min_count: int | None) -> NDArray[np.bool_]:
    """Choose the classes that averages over classes include.

    Args:
        support: (C,) images of each class.
        min_count: Classes with fewer are left out; None leaves out those of fewer than 10, where two classes or more
            have as many.

    Returns:
        (C,) bool.

    Raises:
        OptionError: Below 1.
        DataError: No class has as many images.

    Examples:
        >>> averaged_classes(np.array([40, 3, 12]), None).tolist()
        [True, False, True]
    """
    if min_count is None:
        least = FEW_IMAGES if (support >= FEW_IMAGES).sum() > 1 else 1
    else:
        check_value(min_count, Count, "min_count")
        least = min_count
    found = support >= least
    if not found.any():
        raise DataError(
            f"no class has min_count = {least} images, the largest has {support.max(initial=0)}; lower min_count"
        )
    return np.asarray(found)


def check_predictions(
    labels: ArrayLike, probabilities: ArrayLike, classes: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """Refuse labels and probabilities that do not fit together; give copies as arrays.

    Args:
        labels: (N,) or (N, 1) whole numbers from 0 to below ``classes``.
        probabilities: (N, C) floats 0-1, rows that sum to 1.
        classes: C; None takes what the probabilities have.

    Raises:
        DataError: Other shapes or types, numbers out of range, rows that do not sum to 1.
    """
    given = np.array(probabilities)
    if given.ndim == 1 and given.dtype.kind != "f" and np.ndim(labels) == 2 and np.shape(labels)[1] > 1:
        raise DataError("labels are a table and probabilities a row; expected labels first, then probabilities (N, C)")
    truth = class_numbers(labels)
    if _masked(probabilities):
        raise DataError("some probabilities are masked; expected a number for each: remove these images from both")
    if given.ndim != 2 or (given.shape[1] == 1 and truth.any() and given.dtype.kind == "f"):
        binary = given.ndim < 3 and given.dtype.kind == "f"
        fix = "of one output for two classes, np.column_stack([1 - p, p])" if binary else "not the predicted classes"
        raise DataError(
            f"probabilities have shape {given.shape}; expected (N, C), images x classes: what predict_proba gives, "
            f"{fix}"
        )
    if given.dtype not in (np.float32, np.float64):
        given = given.astype(np.float64)
    if classes is None:
        classes = given.shape[1]
    if given.shape != (len(truth), classes):
        raise DataError(f"probabilities have shape {given.shape}; expected ({len(truth)}, {classes}): images x classes")
    check_range(truth, classes)
    if not np.isfinite(given).all():
        bad = int((~np.isfinite(given)).any(1).sum())
        raise DataError(f"{bad} of {len(given)} rows of probabilities hold NaN or infinity; expected numbers 0-1")
    sums = given.sum(1, dtype=np.float64)
    if given.min() < 0 or np.abs(sums - 1).max() > 0.01:
        worst = float(sums[np.abs(sums - 1).argmax()])
        raise DataError(
            f"probabilities go down to {given.min():.3g} and a row sums to {worst:.4g}; expected rows of 0-1 that sum "
            "to 1: apply softmax to logits"
        )
    return truth, given


def class_numbers(labels: ArrayLike, what: str = "labels") -> NDArray[np.int64]:
    """Give class numbers as an array, whatever they are stored as.

    Args:
        labels: (N,) or (N, 1) whole numbers, also such as 2.0, or bools, which are 0 and 1.
        what: What messages call them.

    Raises:
        DataError: Anything else.

    Examples:
        >>> class_numbers([0.0, 2.0]).tolist(), class_numbers([[True], [False]]).tolist()
        ([0, 2], [1, 0])
    """
    if masked := _masked(labels):
        raise DataError(f"{masked} of {np.size(labels)} {what} are masked; expected a class for each image")
    given = np.array(labels)
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if given.dtype == object and given.ndim == 1:  # as pandas has whole numbers
        given = np.array(given.tolist())
    if given.ndim == 1 and not len(given):
        raise DataError(f"there are no {what}; expected at least one image")
    whole = given.dtype.kind in "iub" or (given.dtype.kind == "f" and (given == np.round(given)).all())
    if given.ndim != 1 or not whole or (np.abs(given.astype(float)) > HUGE).any():
        fix = f": from one-hot, pass {what}.argmax(1)" if given.ndim == 2 else ""
        fix = ": number the names in the order of class_names" if given.dtype.kind in "SU" else fix
        raise DataError(
            f"{what} are {given.dtype} of shape {given.shape}; expected one whole number for each image{fix}"
        )
    return given.astype(np.int64)


def _masked(values: Any) -> int:
    return int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0


def check_range(numbers: NDArray[np.int64], classes: int, what: str = "labels") -> None:
    """Refuse numbers that are no places among so many classes.

    Args:
        numbers: (N,) at least one.
        classes: How many classes there are.
        what: What messages call them.

    Raises:
        DataError: One below 0, or ``classes`` and above.
    """
    low, high = int(numbers.min()), int(numbers.max())
    if not 0 <= low <= high < classes:
        fix = f": counted from 1, pass {what} - 1" if low == 1 and high == classes else ""
        raise DataError(
            f"{what} run from {low} to {high}; with {classes} class name{'s' * (classes != 1)} expected "
            f"{'0' if classes == 1 else f'0-{classes - 1}'}{fix}"
        )


def checked_names(class_names: Any) -> tuple[str, ...]:
    """Give the names of classes in the order of their numbers.

    Args:
        class_names: A sequence or an array of them.

    Raises:
        OptionError: A mapping or a set, whose order says nothing of numbers; a name that is missing, or there twice.

    Examples:
        >>> checked_names(["round", "lobed"])
        ('round', 'lobed')
    """
    if isinstance(class_names, str | Mapping | Set) or not isinstance(class_names, Iterable):
        fix = ": of a mapping of names to numbers, sorted(it, key=it.get)" if isinstance(class_names, Mapping) else ""
        raise OptionError(
            f"class_names={shortened(class_names)}; expected a name for each class, in a list, in the order of their "
            f"numbers{fix}"
        )
    given = list(class_names)
    if any(name is None or name != name or not str(name).strip() for name in given):
        raise OptionError(f"class_names={shortened(given)} has an empty name; expected a name for each class")
    names = tuple(printable(str(name)) for name in given)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"class_names has {shortened(twice)} twice; expected each name once")
    return names
