"""Steps that move pixels. Positions are (down, right) in pixels from the image's centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval, Len

from cellclf.augmentation.program import Border, Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.augmentation.steps.base import Level, Step, fill_colour, log_scaled, register
from cellclf.errors import OptionError
from cellclf.utils.parameters import Share, shortened


def rotation(radians: Floats) -> Floats:
    """Make (N, 2, 2) maps that turn the image clockwise by (N,) angles."""
    c, s = np.cos(radians), np.sin(radians)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def stretch(down: Floats, right: Floats) -> Floats:
    """Make (N, 2, 2) maps that enlarge the image by (N,) factors along each axis."""
    out = np.zeros((len(down), 2, 2))
    out[:, 0, 0], out[:, 1, 1] = 1 / down, 1 / right
    return out


def shear_map(down: Floats, right: Floats) -> Floats:
    """Make (N, 2, 2) maps that move columns down by ``down`` a pixel and rows right by ``right`` a pixel."""
    out = np.zeros((len(down), 2, 2))
    out[:, 0, 0] = out[:, 1, 1] = 1
    out[:, 0, 1], out[:, 1, 0] = -down, -right
    return out


def identity_map(count: int) -> Floats:
    """Make (N, 2, 2) maps that do nothing."""
    return np.tile(np.eye(2), (count, 1, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp(Step):
    """A step that moves pixels, and so defines what the image continues with beyond its border.

    Args:
        rate: Share of the images that get it, 0-1.
        border: "reflect" (mirror image), "nearest" (edge pixel) or "constant" (fill colour).
        fill: Grey levels 0-255 to choose from for a constant border; empty for any colour.
    """

    border: Border = "reflect"
    fill: Sequence[Level] = ()

    def _warp(
        self, rng: ImageRng, program: Program, active: Flags, linear: Floats, shift: Floats | None = None
    ) -> None:
        colour = fill_colour(rng, self.fill) if self.border == "constant" else None
        program.warp(active, linear, shift, border=self.border, fill=colour)


@register("rotate", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Rotate(Warp):
    """Turn about the centre, by up to ``degrees`` either way.

    Args:
        rate: Share of the images that get it, 0-1.
        degrees: Largest angle, 0-180.
        border: What the image continues with; see `Warp`.
        fill: Levels of a constant border; see `Warp`.

    Examples:
        >>> Rotate(degrees=20).check()
    """

    degrees: Annotated[float, Interval(ge=0, le=180)] = 180.0

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        angle = np.radians(min(self.degrees * strength, 180.0)) * rng.uniform(-1, 1)
        self._warp(rng, program, active & (angle != 0), rotation(angle))


@register("flip", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Flip(Step):
    """Mirror left-right and top-bottom, each for half of the images. A strength of 0 turns it off.

    Args:
        rate: Share of the images that get it, 0-1.
        horizontal: Mirror left-right.
        vertical: Mirror top-bottom.
    """

    horizontal: bool = True
    vertical: bool = True

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        sides = rng.chance(0.5) & self.horizontal
        ends = rng.chance(0.5) & self.vertical
        linear = stretch(np.where(ends, -1.0, 1.0), np.where(sides, -1.0, 1.0))
        program.warp(active & (sides | ends) & (strength > 0), linear, border="nearest")


@register("zoom", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Zoom(Warp):
    """Enlarge (above 1) or shrink (below 1) about the centre.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest factor.
        high: Largest factor; factors are drawn evenly in their logarithm.
        border: What the image continues with; see `Warp`.
        fill: Levels of a constant border; see `Warp`.
    """

    low: Annotated[float, Interval(ge=0.05, le=20)] = 0.8
    high: Annotated[float, Interval(ge=0.05, le=20)] = 1.25

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        factor = log_scaled(rng, self.low, self.high, strength)
        self._warp(rng, program, active & (factor != 1), stretch(factor, factor))


@register("aspect", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Aspect(Warp):
    """Change height against width and keep the area.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest ratio of the new height to the new width.
        high: Largest; ratios are drawn evenly in their logarithm.
        border: What the image continues with; see `Warp`.
        fill: Levels of a constant border; see `Warp`.
    """

    low: Annotated[float, Interval(ge=0.05, le=20)] = 0.8
    high: Annotated[float, Interval(ge=0.05, le=20)] = 1.25

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        root = np.sqrt(log_scaled(rng, self.low, self.high, strength))
        self._warp(rng, program, active & (root != 1), stretch(root, 1 / root))


@register("crop", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(Step):
    """Cut a window anywhere out of the image and enlarge it to full size (random resized crop).

    Args:
        rate: Share of the images that get it, 0-1.
        area: Smallest share of the area that is kept.
        aspect: Largest ratio of the window's sides.
    """

    area: Annotated[float, Interval(ge=0.01, le=1)] = 0.8
    aspect: Annotated[float, Interval(ge=1, le=10)] = 1.1

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        area = 1 - np.minimum(strength * (1 - self.area), 0.99) * rng.uniform(0, 1)
        root = np.sqrt(log_scaled(rng, 1 / self.aspect, self.aspect, strength))
        sides = np.minimum(np.sqrt(area)[:, None] * np.stack([root, 1 / root], -1), 1.0)
        shift = (1 - sides) * rng.uniform(-0.5, 0.5, (2,))
        program.warp(active & (sides.min(1) < 1), stretch(1 / sides[:, 0], 1 / sides[:, 1]), shift, border="nearest")


@register("shear", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Shear(Warp):
    """Shear along one axis, drawn for each image.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest slope.
        high: Largest slope, in pixels a pixel; the sign is drawn.
        border: What the image continues with; see `Warp`.
        fill: Levels of a constant border; see `Warp`.
    """

    low: Annotated[float, Interval(ge=0, le=10)] = 0.0
    high: Annotated[float, Interval(ge=0, le=10)] = 0.3

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        slope = strength * rng.sign() * rng.uniform(self.low, self.high)
        down = rng.chance(0.5)
        linear = shear_map(np.where(down, slope, 0.0), np.where(down, 0.0, slope))
        self._warp(rng, program, active & (slope != 0), linear)


@register("translate", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Translate(Warp):
    """Move the image, down or up and left or right.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest distance along each axis, as a fraction of the side.
        high: Largest distance; the signs are drawn.
        border: What the image continues with; see `Warp`.
        fill: Levels of a constant border; see `Warp`.
    """

    low: Annotated[float, Interval(ge=0, le=1)] = 0.0
    high: Annotated[float, Interval(ge=0, le=1)] = 0.1

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        signs = np.stack([rng.sign(), rng.sign()], -1)
        shift = strength * signs * rng.uniform(self.low, self.high, (2,))
        self._warp(rng, program, active & (shift != 0).any(1), identity_map(program.count), shift)


@register("seam", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Seam(Step):
    """Make strips and mirror seams, as a chain of augmentation layers with different border rules does.

    Moves the image a little and fills the strip with one colour; moves it further in the same direction and fills
    with its mirror image, so that the strip lies inside the image; turns it.

    Args:
        rate: Share of the images that get it, 0-1.
        axis: "down", "right" or "either".
        strip: Smallest and largest width of the strip, as fractions of the side.
        mirror: Smallest and largest width of the mirrored part, as fractions of the side.
        degrees: Smallest and largest turn, either way.
        fill: Grey levels 0-255 to choose from for the strip; empty for any colour.
    """

    axis: Literal["down", "right", "either"] = "either"
    strip: Annotated[Sequence[Share], Len(2, 2)] = (0.0, 0.08)
    mirror: Annotated[Sequence[Share], Len(2, 2)] = (0.1, 0.4)
    degrees: Annotated[Sequence[Annotated[float, Interval(ge=0, le=180)]], Len(2, 2)] = (0.0, 60.0)
    fill: Sequence[Level] = (0, 0, 96, 128)

    def check(self) -> None:
        """Refuse values that cannot be used; see `Step.check`."""
        super().check()
        for field in ("strip", "mirror", "degrees"):
            low, high = getattr(self, field)
            if low > high:
                raise OptionError(f"seam {field}={shortened([low, high])}; expected the smaller number first")

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        active = active & (strength > 0)
        down = rng.chance(0.5) if self.axis == "either" else np.full(program.count, self.axis == "down")
        along = np.stack([down, ~down], -1) * rng.sign()[:, None]
        lines = identity_map(program.count)
        strip = strength * rng.uniform(self.strip[0], self.strip[1])
        program.warp(active, lines, along * strip[:, None], border="constant", fill=fill_colour(rng, self.fill))
        mirror = strength * rng.uniform(self.mirror[0], self.mirror[1])
        program.warp(active, lines, along * mirror[:, None], border="reflect")
        angle = np.radians(strength * rng.uniform(self.degrees[0], self.degrees[1])) * rng.sign()
        program.warp(active & (angle != 0), rotation(angle), border="reflect")
