"""Class labels of one set in the class numbers of another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.data.spelling import matched
from cellclf.errors import CellclfWarning, DataError

_SAME_NAMES = "pass the same class names when loading (class_names=..., on the command line --class-names)"


def match_labels(cells: ImageSet, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Number the labels of a set by the classes of a run.

    Names are matched, also those that differ in capitals, blanks or Unicode form. Names that are bare numbers (from
    arrays without names) are positions in ``class_names``. If the run has only numbers, a set with the same number of
    named classes is matched by position, with a warning.

    Args:
        cells: With labels.
        class_names: The classes of the run.

    Returns:
        (N,) int64 positions in ``class_names``.

    Raises:
        DataError: No labels, or a class that the run does not know.
    """
    if cells.labels is None:
        raise DataError("these images have no labels, so there is nothing to compare with; use predict")
    placed = _by_position(cells, class_names)
    if placed is not None:
        return placed
    known = matched(cells.class_names, class_names)
    unmatched = [name for name in cells.class_names if name not in known]
    if unmatched:
        raise DataError(
            f"the run knows no class {', '.join(map(repr, unmatched))}; expected one of {', '.join(class_names)}: "
            f"{_SAME_NAMES}"
        )
    return np.asarray([list(class_names).index(known[name]) for name in cells.class_names], np.int64)[cells.labels]


def join_classes(cells: ImageSet, class_names: Sequence[str]) -> ImageSet:
    """Number the labels of a set by the classes of a run, and put those that the run lacks behind them.

    Names are matched as by ``match_labels``.

    Args:
        cells: With labels; a set without is returned unchanged.
        class_names: The classes of the run, which come first, in their order.

    Examples:
        >>> cells = ImageSet(np.zeros((3, 8, 8, 3), np.uint8), ["Lobed", "kidney", "round"])
        >>> join_classes(cells, ["round", "lobed"]).class_names
        ('round', 'lobed', 'kidney')
    """
    if cells.labels is None:
        return cells
    placed = _by_position(cells, class_names)
    if placed is not None:
        return cells.replace(labels=placed, class_names=class_names)
    known = matched(cells.class_names, class_names)
    return cells.align([*class_names, *(name for name in cells.class_names if name not in known)])


def _by_position(cells: ImageSet, class_names: Sequence[str]) -> NDArray[np.int64] | None:
    """Number the labels by the places of their classes, where the names of one side are bare numbers; else None."""
    assert cells.labels is not None
    numbered = all(name.isdecimal() for name in cells.class_names)
    run_numbered = all(name.isdecimal() for name in class_names)
    if numbered and not run_numbered:
        places = [int(name) for name in cells.class_names]
        if max(places, default=-1) < len(class_names):
            return np.asarray(places, np.int64)[cells.labels]
        one = cells.labels.size and min(places[k] for k in np.unique(cells.labels)) == 1
        fix = " (counted from 1, pass labels - 1)" if one and max(places) == len(class_names) else ""
        raise DataError(
            f"labels are numbers up to {max(places)}, and the run has {len(class_names)} classes, 0 is "
            f"{class_names[0]}; expected numbers below {len(class_names)}{fix}, or names: {_SAME_NAMES}"
        )
    if run_numbered and not numbered and cells.num_classes == len(class_names):
        pairs = ", ".join(f"{ours} is {theirs}" for ours, theirs in zip(class_names, cells.class_names, strict=True))
        warnings.warn(
            f"classes are matched by position: {pairs}; if that is wrong, {_SAME_NAMES}", CellclfWarning, stacklevel=4
        )
        return cells.labels
    return None
