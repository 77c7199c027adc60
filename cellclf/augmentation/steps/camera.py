"""Steps of lamp and camera: light that falls off, and the curve from light to levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from cellclf.augmentation.program import Program
from cellclf.augmentation.rng import Flags, ImageRng
from cellclf.augmentation.steps.base import Step, register
from cellclf.augmentation.steps.colour import levels
from cellclf.utils.parameters import Share

_KNOTS = 6


@register("tone_curve", families=("brightness", "contrast"))
@dataclass(frozen=True, kw_only=True, eq=False)
class ToneCurve(Step):
    """Bend the levels along a drawn curve that never falls, as another camera or its software does.

    The curve has five pieces, whose slopes are drawn anew for each image; gamma, S-curves and their opposite, crushed
    shadows and burnt-out lights are cases of it.

    Args:
        rate: Share of the images that get it, 0-1.
        spread: Standard deviation of the logarithm of a slope.
        ends: How far black may be lifted and white lowered, as fractions of the range.
        channels: How far red, green and blue may have curves of their own: 0 one curve, 1 three.

    Source: the space of measured camera curves is that of Grossberg and Nayar 2004, "Modeling the space of camera
    response functions", IEEE TPAMI 26(10); here curves are drawn without a fitted basis.
    """

    spread: Annotated[float, Interval(ge=0, le=3)] = 0.6
    ends: Annotated[float, Interval(ge=0, le=0.45)] = 0.15
    channels: Share = 0.25

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        shared, own = rng.normal((1, _KNOTS - 1)), rng.normal((3, _KNOTS - 1))
        bend = np.sqrt(1 - self.channels) * shared + np.sqrt(self.channels) * own  # as wide with any share
        slopes = np.exp(strength * self.spread * np.clip(bend, -2.5, 2.5))
        rise = np.cumsum(slopes, axis=2) / slopes.sum(axis=2, keepdims=True)
        rise = np.concatenate([np.zeros_like(rise[:, :, :1]), rise], axis=2)
        reach = min(min(strength, 2.0) * self.ends, 0.45)  # black stays below white
        low, high = reach * rng.uniform(0, 1)[:, None, None], 1 - reach * rng.uniform(0, 1)[:, None, None]
        rise = low + (high - low) * rise
        place = np.linspace(0, _KNOTS - 1, 256)
        left = np.minimum(place.astype(np.int64), _KNOTS - 2)
        part = place - left
        table = levels(255 * ((1 - part) * rise[:, :, left] + part * rise[:, :, left + 1]))
        program.table(active & (strength > 0), table)


@register("illumination", families=("brightness",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Illumination(Step):
    """Let the light fall off to one side and to the rim; the brightest place keeps its level.

    Args:
        rate: Share of the images that get it, 0-1.
        slope: Largest fall from side to side, in optical density (natural logarithm): .7 halves the light.
        rim: Largest fall from the brightest place to a corner.
        tint: How far the fall may differ between red, green and blue, as a fraction.

    Source: the vignetting of Leong et al. 2003, "Correction of uneven illumination (vignetting) in digital microscopy
    images", J. Clin. Pathol. 56(8), drawn instead of corrected.
    """

    slope: Annotated[float, Interval(ge=0, le=3)] = 0.6
    rim: Annotated[float, Interval(ge=0, le=3)] = 0.5
    tint: Share = 0.2

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        turn = rng.uniform(0, 2 * np.pi)
        fall = strength * self.slope * rng.uniform(0, 1)
        bend = strength * self.rim * rng.uniform(0, 1) * 2  # the corner is half a side squared twice away
        middle = rng.uniform(-0.25, 0.25, (2,))
        parts = 1 + self.tint * rng.uniform(-1, 1, (3,))
        shape = np.stack([fall * np.sin(turn), fall * np.cos(turn), bend], axis=1)
        program.light(active & (strength > 0), np.concatenate([shape, middle, parts], axis=1))
