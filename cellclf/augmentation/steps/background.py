"""The step that exchanges what surrounds the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from cellclf.augmentation.kernels.background import DISCS, WAVES
from cellclf.augmentation.program import Program
from cellclf.augmentation.rng import Flags, ImageRng
from cellclf.augmentation.steps.base import Step, register
from cellclf.utils.parameters import Share


@register("background", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class Background(Step):
    """Cut the cell out and lay it on another ground, mottled and with other red cells.

    The cell is found by `cellclf.data.foreground_masks`, in the middle of the image as it came: this is done before all
    other steps. Images in which no cell is found with trust are left as they are. The new ground has the mean colour of
    the old one times drawn factors, so that it belongs to the same slide or to one like it.

    Args:
        rate: Share of the images that get it, 0-1.
        colour: Standard deviation of the logarithm of each channel's factor.
        mottling: Largest amplitude of the mottling, as a fraction of the level.
        cells: Most red cells, 0-10.

    Source: after Xiao et al. 2021, "Noise or signal: the role of image backgrounds in object recognition",
    arXiv 2006.09994: networks that saw foregrounds on exchanged backgrounds rely less on them.
    """

    colour: Annotated[float, Interval(ge=0, le=1)] = 0.12
    mottling: Share = 0.1
    cells: Annotated[int, Interval(ge=0, le=DISCS)] = DISCS

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        n = program.count
        ground = np.exp(strength * self.colour * np.clip(rng.normal((3,)), -2.5, 2.5))
        ground = np.minimum(ground, 1.6)
        absorbed = rng.uniform(0.45, 0.95, (3,)) ** 0.5  # of red cells: some of every colour, ...
        absorbed[:, 0] = np.maximum(absorbed[:, 0], absorbed[:, 1])  # ... red least
        pale = rng.uniform(0, 1, (1,))
        amplitude = min(strength, 2.0) * self.mottling * rng.uniform(0, 1) / np.sqrt(WAVES)
        waves = np.concatenate(
            [
                np.repeat(amplitude[:, None, None], WAVES, axis=1),
                rng.uniform(-4, 4, (WAVES, 2)),
                rng.uniform(0, 2 * np.pi, (WAVES, 1)),
            ],
            axis=2,
        )
        count = rng.integers(self.cells + 1)
        radius = rng.uniform(0.09, 0.2)[:, None] * rng.uniform(0.85, 1.15, (DISCS,))
        radius = np.where(np.arange(DISCS) < count[:, None], radius, 0.0)
        discs = np.concatenate([rng.uniform(-0.05, 1.05, (DISCS, 2)), radius[:, :, None]], axis=2)
        shape = [ground, absorbed, pale, waves.reshape(n, -1), discs.reshape(n, -1)]
        program.ground(active & (strength > 0), np.concatenate(shape, axis=1))
