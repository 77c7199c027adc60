"""A canvas for one image: distances to shapes, smooth noise, and paint with soft edges.

Lengths are in units of 1/96 of the image's side (about 0.19 µm at magnification 1), whatever its size in pixels;
the middle of the image is (0, 0). A shape is its signed distance field: negative inside, in the same units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = tuple[float, float, float]

UNITS = 96.0
PAPER: Colour = (254.0, 229.0, 204.0)
"""Where there is no cell, as the microscope's white balance leaves it."""

GRAINS = {"fine": 2.8, "grain": 4.2, "clump": 6.5, "coarse": 11.0, "wave": 40.0}
"""Wavelength of each kind of noise, in units."""


@dataclass(frozen=True)
class Grid:
    """What all images of one size and magnification share."""

    x: Field
    y: Field
    pixels: float
    """Pixels in one unit."""
    tiles: dict[str, Field]


@lru_cache(maxsize=4)
def grid(side: int, zoom: float) -> Grid:
    """Make the coordinates and the noise tiles, each of mean 0 and deviation 1, once."""
    pixels = side / UNITS * zoom
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) * np.float32(UNITS / zoom)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    edge = 2 ** int(np.ceil(np.log2(1.5 * side)))
    rng = np.random.default_rng(96)
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.rfftfreq(edge)[None])
    frequency[0, 0] = 1e-9
    tiles = {}
    for name, wavelength in GRAINS.items():
        centre = min(0.42, 1 / (wavelength * pixels))
        octaves = np.log(frequency / centre)
        band = np.exp(-((octaves / np.where(octaves > 0, 0.35, 0.65)) ** 2))
        tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((edge, edge))) * band, s=(edge, edge))
        tiles[name] = (tile / tile.std()).astype(np.float32)
    return Grid(np.ascontiguousarray(x), np.ascontiguousarray(y), pixels, tiles)


class Canvas:
    """One image while it is drawn.

    Args:
        side: Pixels along an edge.
        zoom: Magnification; 1 shows 96 units along an edge.
        rng: Makes every random choice of this image.
    """

    def __init__(self, side: int, zoom: float, rng: np.random.Generator) -> None:
        self.grid = grid(side, zoom)
        self.rng = rng
        self.light: Field = np.empty((3, side, side), np.float32)
        self.light[:] = np.asarray(PAPER, np.float32)[:, None, None]

    def noise(self, name: str) -> Field:
        """Cut a random piece from the noise tile of that name, flipped or transposed at random."""
        tile, side = self.grid.tiles[name], self.light.shape[1]
        top, left, turn = self.rng.integers((len(tile) - side, len(tile) - side, 4))
        piece = tile[top : top + side, left : left + side]
        return (piece, piece[::-1], piece.T, piece[:, ::-1])[turn]

    def ellipse(self, x: float, y: float, a: float, b: float, angle: float = 0.0) -> Field:
        """Measure the distance to an ellipse with half axes a and b (exact for a circle)."""
        dx, dy = self.grid.x - np.float32(x), self.grid.y - np.float32(y)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (c * dx + s * dy) * np.float32(1 / a), (c * dy - s * dx) * np.float32(1 / b)
        distance: Field = (np.sqrt(u * u + v * v) - np.float32(1)) * np.float32(np.sqrt(a * b))
        return distance

    def strand(self, x0: float, y0: float, x1: float, y1: float, width: float) -> Field:
        """Measure the distance to a straight strand with round ends; width is half its thickness."""
        dx, dy = self.grid.x - np.float32(x0), self.grid.y - np.float32(y0)
        ex, ey = np.float32(x1 - x0), np.float32(y1 - y0)
        along = np.clip((dx * ex + dy * ey) / (ex * ex + ey * ey + np.float32(1e-6)), 0, 1)
        dx -= along * ex
        dy -= along * ey
        distance: Field = np.sqrt(dx * dx + dy * dy) - np.float32(width)
        return distance

    def arc(self, x: float, y: float, radius: float, width: float, angle: float, reach: float) -> Field:
        """Measure the distance to a bent strand: ``reach`` radians to both sides of ``angle`` around (x, y)."""
        dx, dy = self.grid.x - np.float32(x), self.grid.y - np.float32(y)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = c * dx + s * dy, np.abs(c * dy - s * dx)
        cr, sr = np.float32(np.cos(reach)), np.float32(np.sin(reach))
        ring = np.abs(np.sqrt(u * u + v * v) - np.float32(radius))
        end_u, end_v = u - cr * np.float32(radius), v - sr * np.float32(radius)
        ends = np.sqrt(end_u * end_u + end_v * end_v)
        distance: Field = np.where(sr * u > cr * v, ring, ends) - np.float32(width)
        return distance

    def cover(self, distance: Field, soft: float = 1.2) -> Field:
        """Turn a distance into how much of each pixel the shape covers, 0-1; ``soft`` is the edge in pixels."""
        covered: Field = np.clip(np.float32(0.5) - distance * np.float32(self.grid.pixels / soft), 0, 1)
        return covered

    def paint(self, cover: Field, colour: Colour, other: Colour | None = None, mix: Field | None = None) -> None:
        """Paint an opaque colour over what is there, or a mix of two by a field of 0-1."""
        for k in range(3):
            ink: Field | np.float32 = np.float32(colour[k])
            if other is not None and mix is not None:
                ink = mix * np.float32(other[k] - colour[k]) + np.float32(colour[k])
            self.light[k] += cover * (ink - self.light[k])

    def tint(self, colour: Colour, spread: float = 5.0) -> Colour:
        """Vary a colour: its brightness by ``spread``, each channel by a third of that."""
        r, g, b = np.asarray(colour) + self.rng.normal(0, spread) + self.rng.normal(0, spread / 3, 3)
        return float(r), float(g), float(b)


def join(a: Field, b: Field, blend: float) -> Field:
    """Unite two shapes, rounded over ``blend`` units where they meet."""
    h = np.clip(np.float32(0.5) + (b - a) * np.float32(0.5 / blend), 0, 1)
    united: Field = b + (a - b) * h - np.float32(blend) * h * (1 - h)
    return united


def cut(a: Field, b: Field, blend: float) -> Field:
    """Take shape b out of shape a."""
    return -join(-a, b, blend)
