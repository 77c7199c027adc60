"""Colour as evidence against a copy: one shape in two colours is two images."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hashes import turned_grids

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

GRID = 4
"""Colours are compared as averages over 4 x 4 parts of the image."""
_NOISE = 4.0  # grey levels by which a colour may be off, whatever the contrast
_SAME = 0.25  # of the contrast: copies after JPEG 60 and 10 % of brightness stay below .22, swapped colours above .27
_FLAT = 16.0  # grey levels by which fields of one colour may differ after that
_BRIGHTNESS = (0.7, 1.4)
_CHUNK = 16  # images converted at once


def colour_grids(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average images over 4 x 4 parts.

    Args:
        images: (N, H, W, 3) uint8, 0-255.

    Returns:
        (N, 4, 4, 3) float32, 0-255.

    Examples:
        >>> colour_grids(np.full((2, 48, 40, 3), 9, np.uint8)).shape
        (2, 4, 4, 3)
    """
    count, height, width, _ = images.shape
    made = np.empty((count, GRID, GRID * 3), np.float32)
    rows, columns = _parts(height), np.kron(_parts(width).T, np.eye(3, dtype=np.float32))
    for start in range(0, count, _CHUNK):
        part = images[start : start + _CHUNK].reshape(-1, height, width * 3).astype(np.float32)
        made[start : start + _CHUNK] = np.matmul(np.matmul(rows, part), columns)
    return made.reshape(count, GRID, GRID, 3)


@cache
def _parts(size: int) -> NDArray[np.float32]:
    """Weights (4, size) of averages over four equal stretches."""
    edges, pixel = np.linspace(0, size, GRID + 1), np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def colour_distance(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float32]:
    """Measure by how much the colours of two images differ, whatever their brightness: (n,) float32.

    Of each image it takes what the three colours have in common (grey) and what they have not (tint). One brightness,
    which the grey parts give, must explain both; what it leaves of the tint counts, in parts of the contrast. Of two
    images without any structure the colour is all there is: they differ in brightness, too, beyond .7 to 1.4.

    Args:
        one: (n, k, k, 3) of ``colour_grids``.
        other: The same of the images that they are compared with, turned to match.

    Examples:
        >>> white, blue = np.full((1, 4, 4, 3), 255, np.float32), np.zeros((1, 4, 4, 3), np.float32)
        >>> blue[..., 2] = 254
        >>> colour_distance(white, white * 0.8)[0] < 0.1 < colour_distance(white, blue)[0]
        np.True_
    """
    one, other = (grid.reshape(len(grid), -1, 3).astype(np.float32) for grid in (one, other))
    grey = [grid.mean(2) for grid in (one, other)]
    tint = [grid - mean[:, :, None] for grid, mean in zip((one, other), grey, strict=True)]
    bend = [mean - mean.mean(1, keepdims=True) for mean in grey]
    contrast = [
        np.sqrt(np.square(b).mean(1) + np.square(t).sum(2).mean(1) / 3) for b, t in zip(bend, tint, strict=True)
    ]
    gain = (contrast[1] + _NOISE) / (contrast[0] + _NOISE)
    left = np.sqrt(np.square(tint[1] - gain[:, None, None] * tint[0]).sum(2).mean(1) / 3)
    result: NDArray[np.float32] = left / (contrast[1] + gain * contrast[0] + 2 * _NOISE) * 2
    return np.maximum(result, _flat_distance(one, other))


def _flat_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure by how much the colours of two fields of one colour differ, 0 for images with a structure: (n,)."""
    flat = np.logical_and(*(np.ptp(grid, axis=1).max(1) < _NOISE for grid in (one, other)))
    colour, second = one.mean(1), other.mean(1)
    gain = (colour * second).sum(1) / np.maximum(np.square(colour).sum(1), 1)
    left = second - np.clip(gain, *_BRIGHTNESS)[:, None] * colour
    result: NDArray[np.float32] = flat * np.sqrt(np.square(left).mean(1)) / _FLAT * _SAME
    return result


class Colours:
    """The colours of the images of some sets, one after the other: read where they are asked for, and kept.

    Args:
        sources: Where images are read.
        known: (N, 4, 4, 3) of all images, if they were taken before.
    """

    def __init__(self, sources: list[ImageSet], known: NDArray[np.float16] | None = None) -> None:
        count = sum(map(len, sources)) if known is None else len(known)
        self._sources = sources
        self._grids = np.empty((count, GRID, GRID, 3), np.float16) if known is None else known
        self._read = np.full(count, known is not None)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the colours of some images: (n, 4, 4, 3) float32."""
        missing = np.unique(places[~self._read[places]])
        start = 0
        for source in self._sources:
            here = missing[(missing >= start) & (missing < start + len(source))]
            for some in np.array_split(here, max(1, len(here) // 64)):
                if len(some):
                    self._grids[some] = colour_grids(source.read(some - start))
            start += len(source)
        self._read[missing] = True
        return self._grids[places].astype(np.float32)

    def agree(
        self,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        turn: NDArray[np.uint8],
        *,
        middle: bool = False,
    ) -> NDArray[np.bool_]:
        """Say which pairs have the same colours, up to brightness.

        Args:
            first: (n,) places.
            second: (n,) places.
            turn: (n,) indices into ``TURNS``: how the second is flipped or turned to match the first.
            middle: Compare the middle quarter of the images only.
        """
        agree = np.ones(len(first), bool)
        inner = slice(1, 3) if middle else slice(None)
        for number in np.unique(turn):
            some = turn == number
            other = turned_grids(self.at(second[some]), int(number))
            agree[some] = colour_distance(self.at(first[some])[:, inner, inner], other[:, inner, inner]) <= _SAME
        return agree
