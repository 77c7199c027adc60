"""Steps made of steps: lists, choices, RandAugment, AugMix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Interval, Len

from cellclf.augmentation.program import AUTOCONTRAST, CONTRAST, EQUALISE, Border, Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.augmentation.steps.base import Step, register, run_steps
from cellclf.augmentation.steps.colour import (
    AutoContrast,
    Brightness,
    Contrast,
    Equalise,
    Grey,
    Solarise,
    brightness_table,
    levels,
    saturation_matrix,
)
from cellclf.augmentation.steps.geometry import Shear, Translate, shear_map
from cellclf.errors import OptionError
from cellclf.utils.parameters import Count, Example, Share

Operation = Literal[
    "autocontrast",
    "equalise",
    "solarise",
    "grey",
    "contrast",
    "brightness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
]
Steps = Annotated[Sequence[Step], Example("[Rotate(degrees=20), Flip()]")]

RAND_AUGMENT_OPS: Mapping[Operation, type[Step]] = {
    "autocontrast": AutoContrast,
    "equalise": Equalise,
    "solarise": Solarise,
    "grey": Grey,
    "contrast": Contrast,
    "brightness": Brightness,
    "shear_x": Shear,
    "shear_y": Shear,
    "translate_x": Translate,
    "translate_y": Translate,
}
"""The operations of RandAugment as KerasCV defines it, and the step that each is a case of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Composite(Step):
    """A step that holds steps.

    Args:
        rate: Share of the images that get it, 0-1.
        steps: The steps.
    """

    steps: Steps = ()

    def check(self) -> None:
        """Refuse values that cannot be used; see `Step.check`."""
        super().check()
        for step in self.steps:
            step.check()
            if isinstance(step, AugMix):
                raise OptionError(
                    f"{self.name} contains aug_mix; expected aug_mix in the augmenter's own list of steps"
                )


# steps that hold steps have no families of their own: those of the steps inside count, which `names` gives
@register("all_of", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class AllOf(Composite):
    """Give a share of the images a whole list of steps, each with its own rate.

    Args:
        rate: Share of the images that get the list, 0-1.
        steps: The steps, in order.
    """

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        run_steps(self.steps, rng, program, active, strength)


@register("some_of", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class SomeOf(Composite):
    """Draw some of the steps for each image, in an order of its own.

    Args:
        rate: Share of the images that get any, 0-1.
        steps: The steps to choose from; each still has its own rate.
        count: How many different ones an image gets.
    """

    count: Count = 1

    def check(self) -> None:
        """Refuse values that cannot be used; see `Step.check`."""
        super().check()
        if self.count > len(self.steps):
            raise OptionError(
                f"some_of count={self.count}; expected at most {len(self.steps)}, the number of its steps"
            )

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        order = np.argsort(rng.uniform(0, 1, (len(self.steps),)), axis=1)
        for slot in range(self.count):
            for place, step in enumerate(self.steps):
                own = rng.child(f"{slot}/{place}/{step.name}")
                step.emit(own, program, active & (order[:, slot] == place) & own.chance(step.rate), strength)


@register("rand_augment", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class RandAugment(Step):
    """Draw some operations for each image, each at a magnitude of its own.

    At magnitude m (0-1): solarise adds 110 m and then inverts from 255 (1 - m) on; grey takes the share m of
    the colour out; contrast and brightness change by a factor 1 + .9 m or 1 - .9 m; shear and translation go
    ``shear`` m pixels a pixel and ``translate`` m of the side, either way.

    Args:
        rate: Share of the images that get it, 0-1.
        count: Operations an image; the same one may come twice.
        magnitude: Mean of the magnitude, 0-1; the strength multiplies it.
        deviation: Standard deviation of the magnitude, which is cut to 0-1.
        ops: Names from `RAND_AUGMENT_OPS`.
        shear: Slope at magnitude 1.
        translate: Fraction of the side at magnitude 1.
        border: "reflect", "nearest" or "constant" (black).

    Source: Cubuk et al. 2019, arXiv 1909.13719, with the operations and the distribution of magnitudes of
    KerasCV.
    """

    count: Annotated[int, Interval(ge=1, le=16)] = 2
    magnitude: Share = 0.5
    deviation: Share = 0.15
    ops: Annotated[Sequence[Operation], Len(1)] = get_args(Operation)
    shear: Annotated[float, Interval(ge=0, le=5)] = 1.0
    translate: Share = 1.0
    border: Border = "reflect"

    def names(self) -> tuple[str, ...]:
        """Name the step and the steps that its operations are cases of."""
        return tuple(dict.fromkeys((self.name, *(RAND_AUGMENT_OPS[op].name for op in self.ops))))

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write the work of each image; see `Step.emit`."""
        active = active & (strength > 0)
        order = list(RAND_AUGMENT_OPS)
        kind = np.asarray([order.index(op) for op in self.ops])
        for _ in range(self.count):
            op = kind[rng.integers(len(kind))]
            m = np.clip(strength * self.magnitude + strength * self.deviation * rng.normal(), 0, 1)
            other = np.clip(strength * self.magnitude + strength * self.deviation * rng.normal(), 0, 1)
            self._one(program, active & (m > 0), op, m, other, rng.sign())

    def _one(self, program: Program, active: Flags, op: Floats, m: Floats, other: Floats, sign: Floats) -> None:
        """Write one operation for each image.

        Operations of one kind share a call, since every call of a `Program` adds a slot to the arrays of all images,
        whether they use it or not.
        """
        has = {name: op == i for i, name in enumerate(RAND_AUGMENT_OPS)}
        solarised = np.minimum(np.arange(256) + 110 * m[:, None], 255)
        solarised = np.where(solarised < 255 * (1 - other[:, None]), solarised, 255 - solarised)
        table = np.where(has["solarise"][:, None], levels(solarised), brightness_table(1 + 0.9 * sign * m))
        program.table(active & (has["solarise"] | has["brightness"]), table)
        program.matrix(active & has["grey"], saturation_matrix(1 - m))
        statistic = np.select([has["autocontrast"], has["equalise"]], [AUTOCONTRAST, EQUALISE], CONTRAST)
        measured = has["autocontrast"] | has["equalise"] | has["contrast"]
        program.statistic(active & measured, statistic, 1 + 0.9 * sign * m)
        program.exclusive(3)  # the three calls above: an image has one operation
        slope = self.shear * sign * m
        linear = shear_map(np.where(has["shear_y"], slope, 0), np.where(has["shear_x"], slope, 0))
        distance = self.translate * sign * m
        down, right = np.where(has["translate_y"], distance, 0), np.where(has["translate_x"], distance, 0)
        shift = np.stack([down, right], axis=1)
        moved = has["shear_x"] | has["shear_y"] | has["translate_x"] | has["translate_y"]
        program.warp(active & moved, linear, shift, border=self.border)


@register("aug_mix", families=())
@dataclass(frozen=True, kw_only=True, eq=False)
class AugMix(Step):
    """Blend the image with a mixture of chains of steps: x' = (1 - m) x + m sum_i w_i chain_i(x).

    w is drawn from Dirichlet(alpha, ...), m from Beta(alpha, alpha); each chain draws 1 to ``depth`` of the
    steps. It belongs in the augmenter's own list of steps, not inside another step.

    Args:
        rate: Share of the images that get it, 0-1.
        steps: The steps that chains draw from.
        width: Number of chains.
        depth: Most steps in a chain.
        alpha: Concentration of both distributions.

    Source: Hendrycks et al. 2020, arXiv 1912.02781.
    """

    steps: Annotated[Sequence[Step], Len(1), Example("[Brightness(), Translate()]")] = ()
    width: Annotated[int, Interval(ge=1, le=8)] = 3
    depth: Annotated[int, Interval(ge=1, le=8)] = 3
    alpha: Annotated[float, Interval(ge=0.01, le=100)] = 1.0

    def check(self) -> None:
        """Refuse values that cannot be used; see `Step.check`."""
        super().check()
        for step in self.steps:
            step.check()

    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Write one chain of each image, for the augmenter to blend; see `Step.emit`."""
        length = 1 + rng.integers(self.depth)
        for slot in range(self.depth):
            chosen = rng.integers(len(self.steps))
            for place, step in enumerate(self.steps):
                own = rng.child(f"{slot}/{place}/{step.name}")
                now = active & (slot < length) & (chosen == place) & own.chance(step.rate)
                step.emit(own, program, now, strength)

    def blend(self, rng: ImageRng, active: Flags) -> Floats:
        """Draw (N, 1 + width) weights of the image itself and of each chain; they sum to 1."""
        parts = rng.gamma(self.alpha, self.width)  # gamma variables over their sum follow Dirichlet(alpha, ...)
        parts = parts / parts.sum(axis=1, keepdims=True)
        mixed = np.where(active, rng.beta(self.alpha, self.alpha), 0.0)[:, None]
        return np.concatenate([1 - mixed, mixed * parts], axis=1)
