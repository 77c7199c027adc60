"""Test-time augmentation (TTA): the eight flips and turns of an image over which a prediction can be averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError, unknown
from cellclf.utils.parameters import plain, shortened

Images = NDArray[np.uint8]

VIEWS: dict[str, Callable[[Images], Images]] = {
    "as_is": lambda x: x,
    "turn_180": lambda x: x[:, ::-1, ::-1],
    "flip": lambda x: x[:, :, ::-1],
    "flip_turn_180": lambda x: x[:, ::-1],
    "turn_90": lambda x: np.rot90(x, 1, (1, 2)),
    "turn_270": lambda x: np.rot90(x, 3, (1, 2)),
    "flip_turn_90": lambda x: np.rot90(x[:, :, ::-1], 1, (1, 2)),
    "flip_turn_270": lambda x: np.rot90(x[:, :, ::-1], 3, (1, 2)),
}
"""Name -> function from (n, H, W, C) to (n, H, W, C). The first four keep height and width."""


def view_names(tta: int | Sequence[str], image_shape: Sequence[int]) -> tuple[str, ...]:
    """Give the names of the views that ``tta`` asks for.

    Args:
        tta: 1 for the unchanged image, 4 or 8 for the first of `VIEWS`, or names.
        image_shape: (height, width, ...) of the images.

    Raises:
        OptionError: Another number, or no view.
        UnknownNameError: No view of that name.
        DataError: Quarter turns of images that are not square.

    Examples:
        >>> view_names(4, (96, 96, 3))
        ('as_is', 'turn_180', 'flip', 'flip_turn_180')
    """
    tta = [tta] if isinstance(tta, str) else plain(tta)
    if not isinstance(tta, list | tuple):
        if tta not in (1, 4, 8):
            raise OptionError(
                f"tta={shortened(tta)}; expected 1, 4 (no quarter turns), 8, or a list of {', '.join(VIEWS)}"
            )
        tta = list(VIEWS)[: int(tta)]
    for name in tta:
        if not isinstance(name, str) or name not in VIEWS:
            raise unknown("view", name, VIEWS)
    if not tta:
        raise OptionError("tta is empty; expected at least ['as_is']")
    height, width = image_shape[:2]
    if height != width and any(name in list(VIEWS)[4:] for name in tta):
        raise DataError(f"images of {height}x{width} cannot be turned by 90 degrees; expected tta=4")
    return tuple(tta)
