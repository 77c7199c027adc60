"""Classes of one set, numbered as another numbers them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError


def match_labels(cells: ImageSet, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Number the labels of a set by the classes of a run.

    Names that are bare numbers (from arrays without names) stand for places in ``class_names``.

    Args:
        cells: With labels.
        class_names: The classes of the run.

    Returns:
        (N,) int64 places in ``class_names``.

    Raises:
        DataError: No labels, or a class that the run does not know.
    """
    if cells.labels is None:
        raise DataError("these pictures have no labels, so there is nothing to compare with; use predict")
    numbered = all(name.isdecimal() for name in cells.class_names)
    run_numbered = all(name.isdecimal() for name in class_names)
    if numbered != run_numbered and (numbered or cells.num_classes == len(class_names)):
        places = [int(name) for name in cells.class_names] if numbered else list(range(cells.num_classes))
        if max(places, default=-1) < len(class_names):
            return np.asarray(places, np.int64)[cells.labels]
    strangers = [name for name in cells.class_names if name not in class_names]
    if strangers:
        raise DataError(
            f"the run knows no class {', '.join(map(repr, strangers))}; it knows {', '.join(class_names)}: "
            "name the classes alike when loading (class_names=..., on the command line --class-names)"
        )
    return np.asarray([list(class_names).index(name) for name in cells.class_names], np.int64)[cells.labels]
