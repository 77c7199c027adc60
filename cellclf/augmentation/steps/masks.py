"""Steps that hide parts of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from cellclf.augmentation.program import Program
from cellclf.augmentation.rng import Flags, ImageRng
from cellclf.augmentation.steps.base import Level, Step, fill_colour, register
from cellclf.utils.parameters import Share


@register("cutout", families=("occlusion",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout(Step):
    """Paint a box somewhere over the image; part of it may lie outside.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest side, as a fraction of the image's.
        high: Largest side; height and width are drawn on their own.
        fill: Grey levels 0-255 to choose from; empty for any colour.

    Source: DeVries and Taylor 2017, arXiv 1708.04552; with sides and colours drawn it is random erasing,
    Zhong et al. 2017, arXiv 1708.04896.
    """

    low: Annotated[float, Interval(ge=0, le=1)] = 0.2
    high: Annotated[float, Interval(ge=0, le=1)] = 0.2
    fill: Sequence[Level] = (0,)

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        half = 0.5 * strength * rng.uniform(self.low, self.high, (2,))
        middle = rng.uniform(0, 1, (2,))
        box = np.concatenate([middle - half, middle + half], axis=1)
        program.box(active & (strength > 0), box, fill_colour(rng, self.fill))


@register("gridmask", families=("occlusion",))
@dataclass(frozen=True, kw_only=True, eq=False)
class GridMask(Step):
    """Paint a turned grid of squares over the image.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest period, as a fraction of the shorter side.
        high: Largest period.
        share: Covered part of a period along each axis, 0-1.
        fill: Grey levels 0-255 to choose from; empty for any colour.

    Source: Chen et al. 2020, arXiv 2001.04086.
    """

    low: Annotated[float, Interval(ge=0.02, le=2)] = 0.25
    high: Annotated[float, Interval(ge=0.02, le=2)] = 0.6
    share: Share = 0.4
    fill: Sequence[Level] = (0,)

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        n = program.count
        share = np.full(n, min(strength * self.share, 1.0))
        grid = np.stack(
            [
                rng.uniform(self.low, self.high),
                share,
                rng.uniform(0, 1),
                rng.uniform(0, 1),
                rng.uniform(0, 2 * np.pi),
            ],
            axis=1,
        )
        program.grid(active & (share > 0), grid, fill_colour(rng, self.fill))
