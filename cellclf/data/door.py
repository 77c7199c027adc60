"""One door for cells: whatever takes cells takes what people hold, and refuses the rest in one line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfWarning, DataError

Cells: TypeAlias = Any
"""An ``ImageSet``; ``(images, labels)``; an array (N, H, W, 3) uint8; a path of a folder, npz, table or
``FILE.npz:part``; a DataFrame, or a Series of paths; a ``tf.data`` set; a dict of arrays; a list of files."""


def as_cells(
    cells: Cells,
    labels: ArrayLike | None = None,
    *,
    what: str = "cells",
    reading: Mapping[str, Any] | None = None,
) -> ImageSet:
    """Give a set of whatever a user holds.

    Args:
        cells: See ``Cells``.
        labels: (N,) or (N, 1) labels beside an array.
        what: What the argument is called in messages.
        reading: How files are read: further arguments of ``load``.

    Raises:
        DataError: Nothing that holds images; the message says what was expected.

    Examples:
        >>> as_cells(np.zeros((2, 8, 8, 3), np.uint8), [0, 1])
        ImageSet: 2 images 8x8, 2 classes
    """
    from cellclf.data.loaders import load

    if isinstance(cells, ImageSet):
        return cells if labels is None else cells.replace(labels=np.asarray(labels))
    if cells is None or isinstance(cells, bool | int | float | complex | bytes):
        raise DataError(
            f"{what} is {str(cells)[:60]!r}; expected images: an ImageSet, an array, a path, or a DataFrame"
        )
    return load(cells, None if labels is None else np.asarray(labels), **(reading or {}))


def tests_as_cells(tests: Mapping[str, Cells] | None) -> dict[str, ImageSet]:
    """Give the further sets of a job by name.

    Args:
        tests: Name -> see ``Cells``.

    Raises:
        DataError: Not a mapping of names to sets, or nothing that holds images.
    """
    if tests is not None and not isinstance(tests, Mapping):
        raise DataError(f"tests is a {type(tests).__name__}; expected a name for each set: tests={{'test': cells}}")
    return {str(name): as_cells(test, what=f"the set {name!r}") for name, test in (tests or {}).items()}


def at_size(
    cells: Cells,
    size: tuple[int, int],
    labels: ArrayLike | None = None,
    *,
    what: str = "cells",
    reading: Mapping[str, Any] | None = None,
) -> ImageSet:
    """Give a set whose images have a certain size; others are resized, as files are, with one notice.

    Args:
        cells: See ``Cells``.
        size: Height and width in pixels.
        labels: (N,) or (N, 1) labels beside an array.
        what: What the argument is called in messages.
        reading: How files are read, see ``as_cells``; with ``fit``, a set that was loaded otherwise is resized so.

    Raises:
        DataError: Nothing that holds images.
    """
    found = as_cells(cells, labels, what=what, reading=reading)
    height, width = found.image_shape[:2]
    if (height, width) == size:
        return found
    factor = np.sqrt(size[0] * size[1] / (height * width))
    warnings.warn(
        f"images of {height}x{width} pixels are resized to the {size[0]}x{size[1]} of the run: factor {factor:.2f}",
        CellclfWarning,
        stacklevel=3,
    )
    fit = (reading or {}).get("fit")
    return found.resized(size, None if fit == "refuse" else fit)
