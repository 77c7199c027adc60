"""Transparency: what is seen of an image with an alpha channel, and when the channel means nothing."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]

IGNORED_ALPHA = "transparent everywhere: the colours are shown and the transparency is ignored"


def is_invisible(colour: Images, alpha: Images) -> bool:
    """Whether an image would vanish: its colours differ, and programs that fill the alpha channel with 0 hid all.

    Args:
        colour: (H, W, C) uint8.
        alpha: (H, W, 1) uint8, 0 is transparent.
    """
    return colour.size > 0 and not alpha.any() and bool((colour != colour[:1, :1]).any())


def over_white(colour: Images, alpha: Images, *, premultiplied: bool = False) -> Images:
    """Lay transparent pixels on white.

    Args:
        colour: (..., C) uint8.
        alpha: (..., 1) uint8, 0 is transparent.
        premultiplied: Whether the colours are multiplied by alpha already.
    """
    wide, part = colour.astype(np.uint32), alpha.astype(np.uint32)
    shown = wide * 255 if premultiplied else wide * part
    blended: Images = np.minimum((shown + 255 * (255 - part) + 127) // 255, 255).astype(np.uint8)
    return blended
