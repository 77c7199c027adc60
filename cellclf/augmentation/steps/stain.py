"""Steps that change the stain: how much of each dye there is, and how the laboratory's colours lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval, Len

from cellclf.augmentation.program import DENSITY, LAB, Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.augmentation.steps.base import Step, log_scaled, register
from cellclf.utils.parameters import Share

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical densities of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""


def stain_matrix(factor: Floats, shift: Floats) -> Floats:
    """Make (N, 3, 4) matrices on densities: each stain's amount s becomes factor * s + shift.

    Args:
        factor: (N, 3), for haematoxylin, eosin and DAB.
        shift: (N, 3), in units of density.
    """
    stains = HED / np.linalg.norm(HED, axis=1, keepdims=True)
    apart = np.linalg.inv(stains)  # densities (a row) @ apart = amounts
    out = np.zeros((len(factor), 3, 4))
    out[:, :, :3] = np.swapaxes(apart[None] * factor[:, None] @ stains, 1, 2)
    out[:, :, 3] = shift @ stains
    return out


@register("stain_hed", families=("brightness", "contrast", "saturation"))
@dataclass(frozen=True, kw_only=True, eq=False)
class StainHED(Step):
    """Vary the amount of each stain: s becomes a * s + b in optical density.

    The three colour vectors are those of haematoxylin, eosin and DAB. A Giemsa-stained smear has other dyes;
    the vectors still span all colours, so that this is a jitter along plausible stain directions and not an
    unmixing of what is in the smear.

    Args:
        rate: Share of the images that get it, 0-1.
        theta: a is drawn from 1 - theta to 1 + theta and b from -theta to theta; .05 is light, .2 strong.

    Source: Tellez et al. 2018, "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 37(9).
    """

    theta: Share = 0.1

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        width = strength * self.theta
        factor = 1 + width * rng.uniform(-1, 1, (3,))
        shift = width * rng.uniform(-1, 1, (3,))
        program.matrix(active & (width > 0), stain_matrix(factor, shift), DENSITY)


@register("stain_lab", families=("brightness", "contrast", "saturation"))
@dataclass(frozen=True, kw_only=True, eq=False)
class StainLAB(Step):
    """Move the image's mean colour and change its spread, in CIELAB.

    Args:
        rate: Share of the images that get it, 0-1.
        mean: Standard deviations of the mean's move along L*, a* and b*.
        spread: Standard deviation of the factor on the spread along each axis (about 1).

    Source: after RandStainNA, Shen et al. 2022, arXiv 2206.12694, with the image's own statistics as the
    centre instead of a data set's.
    """

    mean: Annotated[Sequence[Annotated[float, Interval(ge=0, le=100)]], Len(3, 3)] = (6.0, 4.0, 6.0)
    spread: Share = 0.15

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        matrix = np.zeros((program.count, 3, 4))
        factor = np.clip(1 + strength * self.spread * rng.normal((3,)), 0.2, 3.0)
        matrix[:, [0, 1, 2], [0, 1, 2]] = factor
        matrix[:, :, 3] = strength * np.asarray(self.mean) * np.clip(rng.normal((3,)), -3, 3)
        program.matrix(active & (strength > 0), matrix, LAB)


@register("stain_vectors", families=("brightness", "contrast", "saturation"))
@dataclass(frozen=True, kw_only=True, eq=False)
class StainVectors(Step):
    """Change how strong the stain is and which colours its dyes absorb, in optical density.

    Densities (red, green, blue) are multiplied by a drawn matrix: a strength for all, a factor for each channel, and a
    part of each channel that goes over to the others. Unlike `StainHED` it supposes no dyes, and unlike it there is no
    shift: what takes no light away, the bright ground, stays.

    Args:
        rate: Share of the images that get it, 0-1.
        low: Smallest strength of the whole stain.
        high: Largest; strengths are drawn evenly in their logarithm.
        theta: Standard deviation of the logarithm of each channel's factor.
        mixing: Standard deviation of the parts that go over.

    Source: after Tellez et al. 2019, "Quantifying the effects of data augmentation and stain color normalization in
    convolutional neural networks for computational pathology", Medical Image Analysis 58; stain vectors of two
    laboratories differ, Macenko et al. 2009, "A method for normalizing histology slides for quantitative analysis".
    """

    low: Annotated[float, Interval(ge=0.05, le=20)] = 0.6
    high: Annotated[float, Interval(ge=0.05, le=20)] = 1.6
    theta: Annotated[float, Interval(ge=0, le=2)] = 0.2
    mixing: Share = 0.08

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        whole = log_scaled(rng, self.low, self.high, strength)
        own = np.exp(strength * self.theta * np.clip(rng.normal((3,)), -2.5, 2.5))
        parts = strength * self.mixing * np.clip(rng.normal((3, 3)), -2.5, 2.5)
        matrix = np.zeros((program.count, 3, 4))
        matrix[:, :, :3] = whole[:, None, None] * (own[:, :, None] * np.eye(3) + parts)
        program.matrix(active & (strength > 0), matrix, DENSITY)
