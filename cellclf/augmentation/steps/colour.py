"""Steps that change the colour of each pixel, wherever it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.augmentation.program import AUTOCONTRAST, CONTRAST, EQUALISE, IDENTITY, Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.augmentation.steps.base import Step, log_scaled, register, scaled
from cellclf.utils.colour import LUMA

_LEVELS = np.arange(256, dtype=np.float64)


def levels(values: Floats) -> NDArray[np.uint8]:
    """Round and cut to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def brightness_table(factor: Floats) -> NDArray[np.uint8]:
    """Make (N, 256) tables that multiply by (N,) factors."""
    return levels(factor[:, None] * _LEVELS)


def gamma_table(exponent: Floats) -> NDArray[np.uint8]:
    """Make (N, 256) tables 255 * (v / 255) ** exponent."""
    return levels(255 * (_LEVELS / 255) ** exponent[:, None])


def solarise_table(threshold: Floats) -> NDArray[np.uint8]:
    """Make (N, 256) tables that invert the levels from the threshold on; 256 inverts none."""
    return np.where(threshold[:, None] <= _LEVELS, 255 - IDENTITY, IDENTITY).astype(np.uint8)


def posterise_table(bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Make (N, 256) tables that keep the highest (N,) bits, 1-8, and set the others to 0."""
    return np.asarray(IDENTITY & (0xFF << (8 - bits[:, None]) & 0xFF), np.uint8)


def saturation_matrix(factor: Floats) -> Floats:
    """Make (N, 3, 4) matrices that blend with grey: 0 is grey, 1 the image, 2 vivid."""
    out = np.zeros((len(factor), 3, 4))
    out[:, :, :3] = factor[:, None, None] * np.eye(3) + (1 - factor)[:, None, None] * np.array(LUMA)
    return out


def hue_matrix(radians: Floats) -> Floats:
    """Make (N, 3, 4) matrices that turn the colours about the grey axis and keep the luma (YIQ)."""
    to_yiq = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    c, s = np.cos(radians), np.sin(radians)
    middle = np.zeros((len(radians), 3, 3))
    middle[:, 0, 0] = 1
    middle[:, 1, 1], middle[:, 1, 2], middle[:, 2, 1], middle[:, 2, 2] = c, -s, s, c
    out = np.zeros((len(radians), 3, 4))
    out[:, :, :3] = np.linalg.inv(to_yiq) @ middle @ to_yiq
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor(Step):
    """A step that draws one factor around 1.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor.
    """

    low: Annotated[float, Interval(ge=0, le=100)] = 0.8
    high: Annotated[float, Interval(ge=0, le=100)] = 1.2


@register("brightness", families=("brightness",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Brightness(Factor):
    """Multiply all levels by one factor (more or less light).

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = scaled(rng, self.low, self.high, strength)
        program.table(active & (factor != 1), brightness_table(factor))


@register("contrast", families=("contrast",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast(Factor):
    """Stretch all levels about the image's mean grey.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = scaled(rng, self.low, self.high, strength)
        program.statistic(active & (factor != 1), CONTRAST, factor)


@register("gamma", families=("brightness", "contrast"))
@dataclass(frozen=True, kw_only=True, eq=False)
class Gamma(Factor):
    """Bend the levels: 255 * (v / 255) ** gamma.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest exponent (brighter).
        high: Largest exponent (darker); drawn evenly in the logarithm.
    """

    low: Annotated[float, Interval(ge=0.01, le=100)] = 0.8
    high: Annotated[float, Interval(ge=0.01, le=100)] = 1.2

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        exponent = log_scaled(rng, self.low, self.high, strength)
        program.table(active & (exponent != 1), gamma_table(exponent))


@register("saturation", families=("saturation",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Saturation(Factor):
    """Blend with the image's grey version: 0 is grey, above 1 is more vivid.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = scaled(rng, self.low, self.high, strength)
        program.matrix(active & (factor != 1), saturation_matrix(factor))


@register("grey", families=("saturation",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Grey(Step):
    """Remove the colour: all of it at strength 1, a part of it below.

    Args:
        rate: Share of the images that get it, 0-1.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = np.full(program.count, max(1 - strength, 0.0))
        program.matrix(active & (strength > 0), saturation_matrix(factor))


@register("hue", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Hue(Step):
    """Turn the colours about the grey axis.

    Args:
        rate: Share of the images that get it, 0-1.
        degrees: Largest angle either way, 0-180.
    """

    degrees: Annotated[float, Interval(ge=0, le=180)] = 18.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        angle = math.radians(strength * self.degrees) * rng.uniform(-1, 1)
        program.matrix(active & (angle != 0), hue_matrix(angle))


@register("channel_shift", families=("brightness",))
@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelShift(Step):
    """Add a number of its own to each channel (another white balance).

    Args:
        rate: Share of the images that get it, 0-1.
        levels: Largest number either way, 0-255.
    """

    levels: Annotated[float, Interval(ge=0, le=255)] = 20.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        shift = strength * self.levels * rng.uniform(-1, 1, (3,))
        program.table(active & (shift != 0).any(1), levels(_LEVELS + shift[:, :, None]))


@register("channel_shuffle", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelShuffle(Step):
    """Put red, green and blue in another order. A strength of 0 turns it off.

    Args:
        rate: Share of the images that get it, 0-1.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        order = np.argsort(rng.uniform(0, 1, (3,)), axis=1)
        matrix = np.zeros((program.count, 3, 4))
        matrix[:, :, :3] = np.eye(3)[order]
        program.matrix(active & (order != np.arange(3)).any(1) & (strength > 0), matrix)


@register("invert", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Invert(Step):
    """Make the negative. A strength of 0 turns it off.

    Args:
        rate: Share of the images that get it, 0-1.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        program.table(active & (strength > 0), np.tile(255 - IDENTITY, (program.count, 1)))


@register("solarise", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Solarise(Step):
    """Invert the levels above a threshold.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Lowest threshold at strength 1; it falls from 256 (nothing) with the strength.
        high: Highest threshold at strength 1.
    """

    low: Annotated[float, Interval(ge=0, le=256)] = 64.0
    high: Annotated[float, Interval(ge=0, le=256)] = 256.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        threshold = 256 - strength * (256 - rng.uniform(self.low, self.high))
        program.table(active & (threshold <= 255), solarise_table(threshold))


@register("posterise", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Posterise(Step):
    """Keep only the highest bits of each level.

    Args:
        rate: Share of the images that get it, 0-1.
        bits: Fewest bits that are kept at strength 1, 1-8; the number is drawn from there to 7.
    """

    bits: Annotated[int, Interval(ge=1, le=8)] = 4

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        lost = np.rint(strength * rng.uniform(0.5, 8.5 - self.bits)).astype(np.int64)
        bits = np.clip(8 - lost, 1, 8)
        program.table(active & (bits < 8), posterise_table(bits))


@register("autocontrast", families=("contrast",))
@dataclass(frozen=True, kw_only=True, eq=False)
class AutoContrast(Step):
    """Stretch each channel to 0-255. A strength of 0 turns it off.

    Args:
        rate: Share of the images that get it, 0-1.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        program.statistic(active & (strength > 0), AUTOCONTRAST)


@register("equalise", families=("contrast",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Equalise(Step):
    """Flatten each channel's histogram. A strength of 0 turns it off.

    Args:
        rate: Share of the images that get it, 0-1.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        program.statistic(active & (strength > 0), EQUALISE)
