"""Optimizers by name, and class weights as weights of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError, unknown

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

OPTIMIZERS = ("adam", "adamw", "lion", "rmsprop", "sgd")


def make_optimizer(optimizer: Any, rate: Any, weight_decay: float) -> Any:
    """Make a fresh Keras optimizer; one that has run cannot serve another stage.

    Args:
        optimizer: A name, or a Keras optimizer whose settings are taken over.
        rate: Learning rate or schedule.
        weight_decay: Decoupled weight decay a step, times the rate; 0 for none.

    Raises:
        UnknownNameError: No optimizer of that name.
    """
    import keras

    if not isinstance(optimizer, str):
        config = {**optimizer.get_config(), "learning_rate": rate}
        return type(optimizer).from_config(config)
    decay = weight_decay or None
    match optimizer:
        case "lion":
            return keras.optimizers.Lion(rate, weight_decay=decay)
        case "adam":
            return keras.optimizers.Adam(rate, weight_decay=decay)
        case "adamw":
            return keras.optimizers.AdamW(rate, weight_decay=weight_decay)
        case "sgd":
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
        case "rmsprop":
            return keras.optimizers.RMSprop(rate, weight_decay=decay)
    raise unknown("optimizer", optimizer, OPTIMIZERS)


def picture_weights(cells: ImageSet, class_weight: str | Mapping[str, float] | None) -> NDArray[np.float32]:
    """Turn class weights into a weight for each picture.

    Args:
        cells: A set with labels.
        class_weight: None weighs all alike; ``"balanced"`` weighs a class by N / (classes * its pictures), so that
            every class counts the same and the mean weight is 1; a mapping gives the weight of each class by name.

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
        if class_weight != "balanced":
            raise OptionError(f"class_weight={class_weight!r}; wanted 'balanced', a mapping by class name, or None")
        present = int((counts > 0).sum())
        by_class = np.divide(len(cells), present * counts, out=np.zeros(len(counts)), where=counts > 0)
    else:
        for name in class_weight:
            if name not in cells.class_names:
                raise unknown("class (in class_weight)", name, cells.class_names)
        missing = [name for name in cells.class_names if name not in class_weight]
        if missing:
            raise OptionError(f"class_weight lacks {', '.join(missing)}; wanted a weight for every class")
        by_class = np.asarray([float(class_weight[name]) for name in cells.class_names])
        if (by_class < 0).any():
            raise OptionError(f"class_weight holds {by_class.min():g}; wanted 0 or more")
    return by_class[cells.labels].astype(np.float32)
