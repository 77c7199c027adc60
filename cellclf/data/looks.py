"""What a set looks like as a whole: nearly black, nearly white, inverted; seen in some of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_MOST_SIDE = 32
_BLACK, _WHITE = 40, 215
_DARK = 80
_FEW = 0.02
_KEYS = ("exact copies", "nearly black", "dark:", "nearly white", "light on dark")


class Readable(Protocol):
    """What is read of an ``ImageSet``."""

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Read the images at these positions."""
        ...


def odd_looks(
    cells: Readable, *, known: Sequence[str] = (), limit: int = 256, flat: bool = True, copies: bool = False
) -> list[str]:
    """Describe what is odd in how the images look, in one line each.

    Nobody but the user knows what is right: fluorescence is light on dark. So this reports, and nothing is changed.

    Args:
        cells: The set.
        known: What was reported of the set before; it is not reported again.
        limit: Most images that are looked at, evenly spread.
        flat: Whether images without any structure count.
        copies: Whether images that are another one to the bit are counted, too.

    Examples:
        >>> from cellclf.data.image_set import ImageSet
        >>> odd_looks(ImageSet(np.zeros((2, 8, 8, 3), np.uint8)))
        ['2 of 2 images looked at are nearly black, no level above 0: if the camera has 10 to 14 bits, rescale them, \
or pass bits=12 with files of 16 bits']
    """
    if not len(cells):
        return []
    images = cells.read(np.unique(np.linspace(0, len(cells) - 1, min(limit, len(cells))).astype(int)))
    step = max(1, -(-max(images.shape[1:3]) // _MOST_SIDE))
    small = images[:, ::step, ::step]
    levels = np.sort(small.reshape(len(small), -1), axis=1)
    if not flat:
        shaped = levels[:, 0] < levels[:, -1]
        small, levels = small[shaped], levels[shaped]
    if not len(levels):
        return []
    tail = levels.shape[1] // 100
    low, high = levels[:, tail], levels[:, -1 - tail]
    lines = _copies(images[levels[:, 0] < levels[:, -1]]) if copies else []  # blank ones have a line of their own
    black, white = high < _BLACK, low > _WHITE
    if _counts(black):
        lines.append(
            f"{_of(black)} are nearly black, no level above {int(levels[black, -1].max())}: if the camera has 10 to 14 "
            "bits, rescale them, or pass bits=12 with files of 16 bits"
        )
    elif np.median(high) < _DARK:
        lines.append(
            f"the images are dark: half of them have no level above {int(np.median(high))} of 255; with files of 16 "
            "bits, pass bits=14 for a camera of 14"
        )
    if _counts(white):
        lines.append(
            f"{_of(white)} are nearly white, no level below {int(levels[white, 0].min())}: is a "
            "channel lost, or the transparency wrong?"
        )
    lines += _inverted(small[~(black | white)])
    return [line for line in lines if not any(key in line and key in one for key in _KEYS for one in known)]


def _copies(images: NDArray[np.uint8]) -> list[str]:
    """Count images that are another one to the bit."""
    seen = {hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images}
    copies = len(images) - len(seen)
    if copies < max(1, _FEW * len(images)):
        return []
    return [f"{copies:,} of {len(images):,} images looked at are exact copies of others of them; dedup finds them all"]


def _inverted(images: NDArray[np.uint8]) -> list[str]:
    """Compare the edge of each image, which is background as a rule, with its centre."""
    if not len(images) or min(images.shape[1:3]) < 4:
        return []
    grey = images.mean(3)
    count, height, width = grey.shape
    edge = np.median(np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1), axis=1)
    inside = grey[:, height // 3 : height - height // 3, width // 3 : width - width // 3]
    centre = np.median(inside.reshape(count, -1), axis=1)
    light_on_dark = (edge < 80) & (centre > edge + 30)
    dark_on_light = (edge > 128) & (centre < edge - 20)
    if light_on_dark.mean() > 0.5:
        return [f"{_of(light_on_dark)} are light on dark: inverted, unless the microscope is fluorescent or dark-field"]
    if _counts(light_on_dark) and dark_on_light.mean() > 0.5:
        return [f"{_of(light_on_dark)} are light on dark, the others dark on light: are these inverted?"]
    return []


def _counts(which: NDArray[np.bool_]) -> bool:
    return bool(which.any()) and bool(which.mean() >= _FEW)


def _of(which: NDArray[np.bool_]) -> str:
    return f"{int(which.sum()):,} of {len(which):,} images looked at"
