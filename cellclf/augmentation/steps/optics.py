"""Steps that need a pixel's neighbours or a random number a pixel: blur, defocus, sharpness, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from cellclf.augmentation.program import Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.augmentation.steps.base import Step, register, scaled


def gaussian_kernel(sigma: Floats, side: int) -> Floats:
    """Make (N, side, side) Gaussian kernels that sum to 1."""
    place = np.arange(side) - side // 2
    line = np.exp(-0.5 * (place / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    line /= line.sum(1, keepdims=True)
    return np.asarray(line[:, :, None] * line[:, None, :])


def disc_kernel(radius: Floats, side: int) -> Floats:
    """Make (N, side, side) discs that sum to 1; a pixel on the edge has the weight of its covered fraction."""
    fine = 5  # samples along each side of a pixel
    place = (np.arange(side * fine) + 0.5) / fine - side / 2
    far = np.hypot(place[:, None], place[None, :])
    inside = (far[None] <= np.maximum(radius, 0.2)[:, None, None]).astype(np.float64)
    kernel = inside.reshape(len(radius), side, fine, side, fine).sum((2, 4))
    return np.asarray(kernel / kernel.sum((1, 2), keepdims=True))


def line_kernel(length: Floats, radians: Floats, side: int) -> Floats:
    """Make (N, side, side) lines through the middle that sum to 1 (motion)."""
    # points along the line, each spread over the four pixels around it by bilinear weights
    along = np.linspace(-0.5, 0.5, 4 * side)
    kernel = np.zeros((len(length), side, side))
    rows = side // 2 + along * (length * np.sin(radians))[:, None]
    columns = side // 2 + along * (length * np.cos(radians))[:, None]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    image = np.arange(len(length))[:, None]
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (rows - top)) * np.abs(1 - right - (columns - left))
            where = np.minimum(top + down, side - 1), np.minimum(left + right, side - 1)
            np.add.at(kernel, (image, *where), weight)  # not +=, which counts a pixel that occurs twice once
    return np.asarray(kernel / kernel.sum((1, 2), keepdims=True))


@register("blur", families=("blur",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Blur(Step):
    """Gaussian blur.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest standard deviation, pixels.
        high: Largest standard deviation, pixels; the kernel is cut at 2.5 of them.
    """

    low: Annotated[float, Interval(ge=0, le=8)] = 0.3
    high: Annotated[float, Interval(ge=0, le=8)] = 1.2

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        sigma = strength * rng.uniform(self.low, self.high)
        side = 2 * int(np.ceil(2.5 * self.high * strength)) + 1
        program.kernel(active & (sigma > 0.05), gaussian_kernel(sigma, side))


@register("defocus", families=("blur",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Defocus(Step):
    """Blur by a disc, as a lens out of focus does.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest radius, pixels.
        high: Largest radius, pixels.
    """

    low: Annotated[float, Interval(ge=0, le=12)] = 0.5
    high: Annotated[float, Interval(ge=0, le=12)] = 2.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        radius = strength * rng.uniform(self.low, self.high)
        side = 2 * int(np.ceil(self.high * strength)) + 1
        program.kernel(active & (radius > 0.5), disc_kernel(radius, side))


@register("motion", families=("blur",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Motion(Step):
    """Blur along a line of any direction, as a moving stage does.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Shortest line, pixels.
        high: Longest line, pixels.
    """

    low: Annotated[float, Interval(ge=0, le=25)] = 1.0
    high: Annotated[float, Interval(ge=0, le=25)] = 5.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        length = strength * rng.uniform(self.low, self.high)
        side = 2 * int(np.ceil(self.high * strength / 2)) + 1
        kernel = line_kernel(length, rng.uniform(0, np.pi), side)
        program.kernel(active & (length > 0.1), kernel)


@register("sharpness", families=("blur",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Sharpness(Step):
    """Blend with the smoothed image: 0 is smooth, 1 the image, above 1 sharper.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor.
    """

    low: Annotated[float, Interval(ge=0, le=100)] = 0.2
    high: Annotated[float, Interval(ge=0, le=100)] = 3.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = scaled(rng, self.low, self.high, strength)
        program.sharpen(active & (factor != 1), factor)


@register("noise", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Noise(Step):
    """Add Gaussian noise to each pixel and channel.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest standard deviation, in levels 0-255.
        high: Largest standard deviation, in levels 0-255.
    """

    low: Annotated[float, Interval(ge=0, le=255)] = 0.0
    high: Annotated[float, Interval(ge=0, le=255)] = 8.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        deviation = strength * rng.uniform(self.low, self.high)
        program.noise(active & (deviation > 0), deviation, rng.bits(1)[:, 0])


@register("jpeg", families=("compression",))
@dataclass(frozen=True, kw_only=True, eq=False)
class JPEG(Step):
    """Save as JPEG and read again.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Lowest quality at strength 1, 1-100; it falls from 100 with the strength.
        high: Highest quality at strength 1, 1-100.
    """

    low: Annotated[float, Interval(ge=1, le=100)] = 20.0
    high: Annotated[float, Interval(ge=1, le=100)] = 90.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        quality = np.rint(100 - strength * (100 - rng.uniform(self.low, self.high)))
        program.jpeg(active & (strength > 0), np.clip(quality, 1, 100).astype(np.int64))
