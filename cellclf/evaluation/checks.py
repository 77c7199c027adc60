"""Check that labels and probabilities fit together, before anything is computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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
    elif min_count < 1:
        raise OptionError(f"min_count is {min_count}; expected 1 or more images")
    else:
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
    truth = np.array(labels)
    truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
    if truth.ndim != 1 or not len(truth) or truth.dtype.kind not in "iu":
        fix = ": from one-hot, pass labels.argmax(1)" if truth.ndim == 2 else ""
        fix = ": number the names in the order of class_names" if truth.dtype.kind in "SU" else fix
        raise DataError(
            f"labels are {truth.dtype} of shape {truth.shape}; expected one whole number for each image{fix}"
        )
    given = np.array(probabilities)
    if given.ndim != 2:
        raise DataError(
            f"probabilities have shape {given.shape}; expected (N, C), images x classes: what predict_proba gives, not "
            "the predicted classes"
        )
    if given.dtype not in (np.float32, np.float64):
        given = given.astype(np.float64)
    if classes is None:
        classes = given.shape[1]
    if given.shape != (len(truth), classes):
        raise DataError(f"probabilities have shape {given.shape}; expected ({len(truth)}, {classes}): images x classes")
    if not 0 <= truth.min() <= truth.max() < classes:
        raise DataError(
            f"labels run from {truth.min()} to {truth.max()}; with {classes} class names expected 0-{classes - 1}"
        )
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
    return truth.astype(np.int64), given
