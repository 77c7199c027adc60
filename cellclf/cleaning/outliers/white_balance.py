"""The light of an image: what another slide, lamp or camera setting changes, and no structure with it.

A camera's white balance and exposure scale each colour channel by one factor (von Kries). Where an image is scaled so
that its light ground has the usual colour, a cell of another slide looks like the others; a photograph, a page or a
blank field does not. Such factors leave one thing as it was: in which proportion a dye takes red, green and blue away
from the light. Where it is another one (a cell in grey, green or orange), no white balance explains the colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellclf.cleaning.outliers.descriptors import shrunk
from cellclf.utils.colour import LUMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LIGHT = (0.75, 0.95)  # of the pixels, by lightness: the ground; the lightest may be a reflection
_DARK = (0.0, 0.1)  # of the pixels: where most dye is
_FACTORS = (0.55, 2.0)  # by which a channel is scaled, at most: beyond them too few levels are left
_DYE = 15.0  # degrees between what dyes absorb: real cells reach 8, other stains 14; grey or green cells start at 20
_BLOCK = 32  # images at a time, so that the working set fits into the cache


class Light(NamedTuple):
    """The light of some images, and what their dyes take of it.

    Args:
        ground: (N, 3) float32, colour of the light ground, 0-255.
        dye: (N, 3) float32, unit vectors: how much of red, green and blue the darkest part absorbs.
    """

    ground: NDArray[np.float32]
    dye: NDArray[np.float32]

    def usual(self) -> Light:
        """Give the median of some images: one ground, one dye."""
        dye = np.median(self.dye, axis=0, keepdims=True)
        return Light(np.median(self.ground, axis=0, keepdims=True), _unit(dye))

    def explains(self, usual: Light) -> NDArray[np.bool_]:
        """Say of which images a white balance can explain the colours: (N,)."""
        explained: NDArray[np.bool_] = (self.dye @ usual.dye[0]) >= np.cos(np.radians(_DYE))
        return explained


def light(images: NDArray[np.uint8]) -> Light:
    """Measure the light of some images.

    Args:
        images: (N, H, W, 3) uint8, 0-255.

    Examples:
        >>> images = np.full((1, 40, 40, 3), (240, 220, 200), np.uint8)
        >>> images[:, 10:30, 10:30] = (90, 40, 120)
        >>> found = light(images)
        >>> found.ground.tolist()
        [[240.0, 220.0, 200.0]]
        >>> [round(part, 2) for part in found.dye[0].tolist()]
        [0.48, 0.84, 0.25]
    """
    parts = [_light(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)]
    return join(parts)


def join(parts: Sequence[Light]) -> Light:
    """Join the light of several batches of images."""
    empty = np.empty((0, 3), np.float32)
    ground, dye = (np.concatenate([empty, *column]) for column in ([p.ground for p in parts], [p.dye for p in parts]))
    return Light(ground, dye)


def balanced(images: NDArray[np.uint8], usual: Light) -> NDArray[np.uint8]:
    """Scale each image's channels so that its light ground has the usual colour.

    Args:
        images: (N, H, W, 3) uint8, 0-255.
        usual: Of the others, as ``Light.usual`` gives it.

    Returns:
        (N, H, W, 3) uint8.

    Examples:
        >>> images = np.full((2, 40, 40, 3), [[[(240, 220, 200)]], [[(240, 220, 160)]]], np.uint8)
        >>> images[:, 10:30, 10:30] = (90, 40, 80)
        >>> balanced(images[1:], light(images[:1]).usual())[0, 20, 20].tolist()
        [90, 40, 100]
    """
    factors = np.clip(usual.ground / np.maximum(light(images).ground, 1), *_FACTORS)
    return np.clip(np.rint(images * factors[:, None, None]), 0, 255).astype(np.uint8)


def _light(images: NDArray[np.uint8]) -> Light:
    small = shrunk(images)
    pixels = small.reshape(len(small), 3, -1)
    # by whole numbers, which are sorted several times faster
    lightness = (64 * np.tensordot(pixels, np.array(LUMA, np.float32), (1, 0))).astype(np.uint16)
    order = np.argsort(lightness, axis=1, kind="stable")
    ground = _part(pixels, order, _LIGHT).mean(2)
    absorbed = np.log((ground[:, :, None] + 1) / (_part(pixels, order, _DARK) + 1)).mean(2)
    return Light(ground, _unit(absorbed))


def _part(pixels: NDArray[np.float32], order: NDArray[np.int64], part: tuple[float, float]) -> NDArray[np.float32]:
    low, high = (int(edge * pixels.shape[2]) for edge in part)
    found: NDArray[np.float32] = np.take_along_axis(pixels, order[:, None, low:high], axis=2)
    return found


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit
