"""What is kept of each image to find its turned, shifted and zoomed copies: a small image and two polar prints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import map_parts
from cellclf.utils.colour import LUMA

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

Floats = NDArray[np.float32]

SIDE = 48
"""Side of the small images, in pixels: what a strong JPEG and three resamplings leave of a 96 x 96 cell."""
STEP = 1.09
"""Ratio of neighbouring rings; zooming an image by so much moves its print by one ring."""
WINDOW = 16
"""Rings that are compared at once."""
ZOOMS = 5
"""Places of that window: an image is compared with copies zoomed by up to STEP ** (ZOOMS - 1) = 1.41."""
HARMONICS = 9
"""Fourier coefficients kept along each ring: what changes up to 8 times around it."""
ANCHORS = ((0.14, 6.0), (0.3, 6.0))
"""Width of the window in which each centre is looked for, in sides, and the power that darkness is taken to."""
FLAT = 3.0
"""Standard deviation in grey levels below which an image shows too little to recognise."""

_READ = 64  # images read at once
_ANGLES = 32  # samples along a ring
_INNER = 3.35  # radius of the first ring, in pixels of the small image
_STEPS = 10  # of the search for a centre; the first three under a wider window
_RINGS = (_INNER * STEP ** np.arange(WINDOW + ZOOMS - 1)).astype(np.float32)


@dataclass(frozen=True)
class PolarPrints:
    """What is kept of each image, about 12 kB.

    Args:
        small: (N, SIDE, SIDE, 3) uint8, the largest square in the middle of the image.
        centres: (N, 2, 2) float32, down and right of the two centres, in pixels of the small image.
        coefficients: (N, 2, rings, HARMONICS) complex64 of the brightness along rings around each centre.
        magnitudes: (N, 2, rings, HARMONICS, 3) float16 of the three colours.
        flat: (N,) bool, True where there is too little to recognise.
    """

    small: NDArray[np.uint8]
    centres: Floats
    coefficients: NDArray[np.complex64]
    magnitudes: NDArray[np.float16]
    flat: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flat)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Join the prints of several sets, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def polar_prints(cells: ImageSet, *, dark: bool, n_jobs: int | None = None) -> PolarPrints:
    """Read every image once and keep its prints; in joblib's workers.

    Args:
        cells: What to read.
        dark: The cells are darker than what lies around them.
        n_jobs: Tasks at once; None takes joblib's setting, or else every core.
    """
    parts = list(map_parts(cells, _prints, dark, n_jobs=n_jobs, label="looking for cells"))
    return PolarPrints.joined(parts) if parts else _prints(cells, dark)


def darker_inside(sets: list[ImageSet], most: int = 256) -> bool:
    """Say whether the middles of most images are darker than the rest, from ``most`` images of each set."""
    darker = [True]
    for cells in sets:
        if not len(cells):
            continue
        some = cells.read(np.unique(np.linspace(0, len(cells) - 1, most).astype(np.int64)))
        luma = np.stack([shrink(one[None])[0] for one in some]) @ np.array(LUMA, np.float32)
        third = SIDE // 3
        middle = luma[:, third : SIDE - third, third : SIDE - third].mean((1, 2))
        darker += (middle <= luma.mean((1, 2))).tolist()
    return bool(np.mean(darker) >= 0.5)


def _prints(cells: ImageSet, dark: bool) -> PolarPrints:
    count, rings = len(cells), len(_RINGS)
    made = PolarPrints(
        np.empty((count, SIDE, SIDE, 3), np.uint8),
        np.empty((count, len(ANCHORS), 2), np.float32),
        np.empty((count, len(ANCHORS), rings, HARMONICS), np.complex64),
        np.empty((count, len(ANCHORS), rings, HARMONICS, 3), np.float16),
        np.empty(count, bool),
    )
    start = 0
    for images in cells.batches(_READ, show=False):
        here = slice(start, start + len(images))
        start += len(images)
        small = shrink(images)
        luma = small @ np.array(LUMA, np.float32)
        centres = find_centres(luma, dark=dark)
        waves = _waves(small, centres)
        made.small[here] = small.round().astype(np.uint8)
        made.centres[here] = centres
        made.coefficients[here] = waves @ np.array(LUMA, np.complex64)
        made.magnitudes[here] = np.abs(waves)
        made.flat[here] = luma.std((1, 2)) < FLAT
    return made


@cache
def _thinning(size: int, points: int) -> Floats:
    """Weights (points, size) that resample ``size`` pixels to ``points``, antialiased by a triangle."""
    wide = max(1.0, size / points)
    at = (np.arange(points) + 0.5) * size / points
    weights = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - at[:, None]) / wide)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def shrink(images: NDArray[np.uint8]) -> Floats:
    """Resize the largest square in the middle of each image: (n, SIDE, SIDE, 3) float32, 0-255."""
    count, height, width, _ = images.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, top : top + side, left : left + side]
    thin = _thinning(side, SIDE)
    lines = thin @ square.reshape(count, side, side * 3).astype(np.float32)
    return np.asarray(thin @ lines.reshape(count, SIDE, side, 3), np.float32)


def find_centres(luma: Floats, *, dark: bool) -> Floats:
    """Find two centres of what each image shows that move with it: of the nearest blob and of the whole cell.

    A mean shift from the middle of the image to where most of the darkness lies (Source: Comaniciu and Meer 2002),
    once in a narrow and once in a wide window: where the one is drawn to another lobe by a change, the other mostly
    is not. Neither moves when the brightness changes or black borders come in, because darkness counts no further
    than that of the cell itself and fades out towards the edges.

    Args:
        luma: (n, SIDE, SIDE) float32 brightness.
        dark: The cells are darker than what lies around them; False looks for brightness.

    Returns:
        (n, 2, 2) float32, down and right of each centre.
    """
    count = len(luma)
    tone = luma if dark else 255 - luma
    at = np.arange(SIDE, dtype=np.float32)
    from_middle = at - (SIDE - 1) / 2
    inside = np.hypot(from_middle[:, None], from_middle) < 0.36 * SIDE
    light = np.quantile(tone.reshape(count, -1)[:, ::3], 0.9, axis=1).astype(np.float32)[:, None, None]
    darkest = np.quantile(tone[:, inside], 0.05, axis=1).astype(np.float32)[:, None, None]
    depth = np.clip((light - np.maximum(tone, darkest)) / np.maximum(light - darkest, 1), 0, 1)
    fading = np.clip((0.5 + np.minimum(at, at[::-1])) / (SIDE * 0.1), 0, 1)
    found = np.empty((count, len(ANCHORS), 2), np.float32)
    for number, (wide, power) in enumerate(ANCHORS):
        weight = (depth**power * np.outer(fading, fading)).astype(np.float32)
        centre = np.full((count, 2), (SIDE - 1) / 2, np.float32)
        for step in range(_STEPS):
            sigma = wide * SIDE * (1.6 if step < 3 else 1.0)
            rows = np.exp(-0.5 * ((at - centre[:, :1]) / sigma) ** 2)
            columns = np.exp(-0.5 * ((at - centre[:, 1:]) / sigma) ** 2)
            by_row = (weight @ columns[..., None])[..., 0] * rows
            by_column = (rows[:, None] @ weight)[:, 0] * columns
            total = by_row.sum(1)
            moved = np.stack([by_row @ at, by_column @ at], 1) / np.maximum(total, 1e-12)[:, None]
            centre = np.where(total[:, None] > 1e-12, moved, centre)
        found[:, number] = centre
    return found


@cache
def _fourier() -> NDArray[np.complex64]:
    angles = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    return np.asarray(np.exp(-1j * np.outer(angles, np.arange(HARMONICS))) / _ANGLES, np.complex64)


def _waves(small: Floats, centres: Floats) -> NDArray[np.complex64]:
    """Fourier coefficients along the rings around each centre: (n, 2, rings, HARMONICS, 3)."""
    angles = 2 * np.pi * np.arange(_ANGLES, dtype=np.float32) / _ANGLES
    down = centres[:, :, :1, None] + np.outer(_RINGS, np.sin(angles))
    right = centres[:, :, 1:, None] + np.outer(_RINGS, np.cos(angles))
    seen = interpolated(small, down.astype(np.float32), right.astype(np.float32))
    lines, real, imaginary = seen.swapaxes(-1, -2), _fourier().real, _fourier().imag
    waves = (lines @ real) + 1j * (lines @ imaginary)
    return np.asarray(waves.swapaxes(-1, -2), np.complex64)


def interpolated(images: Floats, down: Floats, right: Floats) -> Floats:
    """Read square images between their pixels, bilinearly; beyond an edge the edge goes on.

    Args:
        images: (n, s, s, c) float32.
        down: (n, ...) rows from 0.
        right: As ``down``, columns.

    Returns:
        (n, ..., c) float32.
    """
    count, side, _, channels = images.shape
    down, right = (np.clip(axis, 0, side - 1.001, dtype=np.float32) for axis in (down, right))
    row, column = down.astype(np.int32), right.astype(np.int32)
    # an integer and a float32 make a float64, which takes twice as long from here on
    low, left = ((axis - whole.astype(np.float32))[..., None] for axis, whole in ((down, row), (right, column)))
    start = np.arange(count, dtype=np.intp).reshape(-1, *[1] * (down.ndim - 1)) * (side * side)
    at, pixels = start + row * side + column, images.reshape(-1, channels)
    upper, lower = (
        line + (pixels.take(place + 1, 0) - line) * left
        for place in (at, at + side)
        for line in (pixels.take(place, 0),)
    )
    return np.asarray(upper + (lower - upper) * low, np.float32)
