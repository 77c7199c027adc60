"""Corruptions with a shape of their own: kernels and marks, drawn at 224 pixels and brought to the image's size.

The paper draws all of them on 224x224 images: discs of 2-6 pixels, trails of 7-21, bubbles with a rim of 2. On a
smaller image such lengths are fractions of a pixel. So each shape is drawn at 224, pixel by pixel as in the paper,
and then reduced by area: each pixel of the result is the mean of the part of the drawing that it covers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.rng import ImageRng

if TYPE_CHECKING:
    from PIL import Image

    from cellclf.data.sources import Images

Floats = NDArray[np.float64]

SIDE = 224
"""Side of the paper's images."""

MARGIN, RIM, FEWEST, SMALLEST = 10, 2, 7, 3
"""Pixels between a deposit and the border; pixels of a bubble's rim; bubbles at least; radius of a bubble at least."""


def defocus(images: Images, setting: tuple[float, float], _: ImageRng) -> Images:
    """Smear every pixel over a disc, as a lens out of focus does.

    Args:
        images: (N, H, W, 3) uint8.
        setting: Radius of the disc, and standard deviation of the Gaussian (3 x 3) that softens its edge; pixels.
    """
    from scipy.ndimage import correlate

    kernel = reduced(disc(*setting), _scale(images))
    smeared = correlate(images, kernel[None, :, :, None], output=np.float64, mode="mirror")
    return np.asarray(np.rint(smeared), np.uint8)


def move(images: Images, setting: tuple[int, float], rng: ImageRng) -> Images:
    """Smear every image along a line at a random angle, -45 to 45 degrees.

    Args:
        images: (N, H, W, 3) uint8.
        setting: Radius (the trail is 2 r + 1 pixels long) and standard deviation of its weights, pixels.
        rng: For the angle.
    """
    from scipy.ndimage import correlate

    found, scale = np.empty_like(images), _scale(images)
    for k, degrees in enumerate(rng.uniform(-45, 45)):
        kernel = reduced(trail(*setting, degrees), scale)
        found[k] = np.rint(correlate(images[k], kernel[:, :, None], output=np.float64, mode="nearest"))
    return found


def deposit(images: Images, setting: tuple[int, int], rng: ImageRng) -> Images:
    """Put black specks with ragged outlines on the image: precipitate of the stain.

    Args:
        images: (N, H, W, 3) uint8.
        setting: Specks at most (one at least), and the side of the square that one fills, pixels.
        rng: For their number, places and outlines.
    """
    from PIL import Image, ImageDraw

    most, size = setting
    count = 1 + np.floor(rng.uniform(0, 1) * most).astype(int)
    places, bends = rng.uniform(0, 1, (3, 2)), rng.normal((3, 2, len(WAVES)))
    found = np.empty_like(images)
    width, height = _sheet(images)
    for k in range(len(images)):
        drawn = Image.new("L", (width, height), 0)
        pen = ImageDraw.Draw(drawn)
        for place, bend in zip(places[k, : count[k]], bends[k], strict=False):
            corner = MARGIN + place * (np.array([width, height]) - size - 2 * MARGIN)
            pen.polygon([tuple(point) for point in np.floor(corner) + size * speck(bend)], fill=255)
        found[k] = np.rint(images[k] * (1 - _covered(drawn, images)))
    return found


def bubble(images: Images, setting: tuple[int, int], rng: ImageRng) -> Images:
    """Put pale discs with a brighter rim on the image: air in the mount.

    Args:
        images: (N, H, W, 3) uint8.
        setting: Largest radius (3 at least), and bubbles at most (7 at least); pixels.
        rng: For their number, radii and places.
    """
    from PIL import Image, ImageDraw

    largest, most = setting
    count = FEWEST + np.floor(rng.uniform(0, 1) * (most - FEWEST + 1)).astype(int)
    sizes, places = rng.uniform(0, 1, (12,)), rng.uniform(0, 1, (12, 2))
    radii = SMALLEST + np.floor(sizes * (largest - SMALLEST + 1))
    found = np.empty_like(images)
    width, height = _sheet(images)
    for k in range(len(images)):
        drawn = Image.new("L", (width, height), 0)
        pen = ImageDraw.Draw(drawn)
        for radius, place in zip(radii[k, : count[k]], places[k], strict=False):
            x, y = np.rint(radius + place * (np.array([width, height]) - 2 * radius))
            for reach, level in ((radius + RIM, 130), (radius, 100)):  # a later bubble covers an earlier one
                pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=level)
        found[k] = np.rint(images[k] + (255 - images[k]) * _covered(drawn, images))
    return found


@lru_cache(maxsize=16)
def disc(radius: float, softness: float) -> Floats:
    """Draw the kernel of a defocused lens: the pixels within a radius, softened by a 3 x 3 Gaussian; sum 1."""
    from scipy.ndimage import correlate1d

    reach = int(radius) + 1
    place = np.arange(-reach, reach + 1)
    kernel = (np.add.outer(place**2, place**2) <= radius**2).astype(np.float64)
    tail = np.exp(-0.5 / softness**2)
    line = np.array([tail, 1, tail]) / (1 + 2 * tail)
    for axis in (0, 1):
        kernel = correlate1d(kernel, line, axis=axis, mode="constant")
    return np.asarray(kernel / kernel.sum())


def trail(radius: int, deviation: float, degrees: float) -> Floats:
    """Draw the kernel of a moving stage: half a Gaussian along a line from the middle; (4 r + 1, 4 r + 1), sum 1."""
    along = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (along / deviation) ** 2)
    angle = np.deg2rad(degrees)
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1))
    rows, columns = (np.ceil(along * part - 0.5).astype(int) for part in (np.sin(angle), np.cos(angle)))
    np.add.at(kernel, (2 * radius + rows, 2 * radius + columns), weights)
    return np.asarray(kernel / kernel.sum())


WAVES = np.arange(2, 22)
"""Waves of a speck's outline: periods of each in one turn."""


def speck(bend: Floats) -> Floats:
    """Draw the ragged outline of a speck: (points, 2) x, y in the unit square.

    Args:
        bend: (2, waves) standard normal numbers.
    """
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = np.outer(WAVES, turn)
    radius = np.exp((bend[0] / WAVES**0.8) @ np.cos(waves) * 0.2 + (bend[1] / WAVES**0.8) @ np.sin(waves) * 0.2)
    points = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / (high - low))


def reduced(kernel: Floats, scale: float) -> Floats:
    """Bring a kernel to another scale by area: every pixel of the result sums what it covers of the old kernel.

    Args:
        kernel: Square, of odd side, around its middle.
        scale: New length of an old pixel.

    Returns:
        Square, of odd side; the same sum. The same kernel at scale 1.

    Examples:
        >>> reduced(np.full((5, 5), 0.04), 0.6).round(3).tolist()[1]
        [0.111, 0.111, 0.111]
    """
    # area-weighted resampling is separable: a matrix with the overlaps of new and old pixels along one axis, used twice
    reach = len(kernel) // 2
    edges = (np.arange(len(kernel) + 1) - reach - 0.5) * scale
    most = max(0, int(np.ceil(edges[-1] - 0.5 - 1e-9)))
    left = np.arange(-most, most + 1)[:, None] - 0.5
    overlap = np.minimum(left + 1, edges[1:]) - np.maximum(left, edges[:-1])
    covered = overlap.clip(0) / scale
    return np.asarray(covered @ kernel @ covered.T)


def _scale(images: Images) -> float:
    return float(min(images.shape[1:3])) / SIDE


def _sheet(images: Images) -> tuple[int, int]:
    """Give the width and height of the drawing: 224 along the shorter side."""
    height, width = images.shape[1:3]
    return round(width / _scale(images)), round(height / _scale(images))


def _covered(drawn: Image.Image, images: Images) -> NDArray[np.float32]:
    """Bring a drawing to the images' size: (H, W, 1), the fraction of each pixel that is covered, 0-1."""
    from PIL import Image

    height, width = images.shape[1:3]
    small = np.asarray(drawn.resize((width, height), Image.Resampling.BOX), np.float32)
    return small[..., None] / np.float32(255)
