"""Class weights: a weight of each image in the loss, by its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError, unknown

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

CLASS_WEIGHTS = ("balanced", "effective")

_BETA = 0.999
"""The beta of Cui et al.: a thousand images of a class count as 632, and no number of them as more than 1,000."""


def image_weights(cells: ImageSet, class_weight: str | Mapping[str, float] | None) -> NDArray[np.float32]:
    """Turn class weights into a weight for each image.

    Args:
        cells: A set with labels.
        class_weight: None weighs all equally; ``"balanced"`` weighs a class by N / (classes * its images), so that each
            class counts the same and the mean weight is 1; ``"effective"`` weighs it by 1 / (1 - 0.999 ** its images),
            which differs less between large classes, with a mean weight of 1, too (Cui et al. 2019, arXiv 1901.05555);
            a mapping gives the weight of each class by name.

    Returns:
        (N,) float32.

    Raises:
        OptionError: A mapping that lacks a class or names one that does not exist, or a negative weight.
    """
    if cells.labels is None:
        raise DataError("class weights need labels, and this set has none")
    counts = np.bincount(cells.labels, minlength=cells.num_classes)
    if class_weight is None:
        by_class = np.ones(len(counts))
    elif isinstance(class_weight, str):
        if class_weight not in CLASS_WEIGHTS:
            raise OptionError(
                f"class_weight={class_weight!r}; expected {', '.join(map(repr, CLASS_WEIGHTS))}, "
                "a mapping by class name, or None"
            )
        effective = counts if class_weight == "balanced" else 1 - _BETA**counts
        by_class = np.divide(1, effective, out=np.zeros(len(counts)), where=counts > 0)
        by_class *= len(cells) / max((by_class * counts).sum(), 1e-12)
    else:
        for name in class_weight:
            if name not in cells.class_names:
                raise unknown("class (in class_weight)", name, cells.class_names)
        missing = [name for name in cells.class_names if name not in class_weight]
        if missing:
            raise OptionError(f"class_weight lacks {', '.join(missing)}; expected a weight for every class")
        by_class = np.asarray([float(class_weight[name]) for name in cells.class_names])
        if (by_class < 0).any():
            raise OptionError(f"class_weight holds {by_class.min():g}; expected 0 or more")
    return by_class[cells.labels].astype(np.float32)
