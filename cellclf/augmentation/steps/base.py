"""The base of every step of an augmenter: a rate, plain-data fields, a check, a name in the registry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.augmentation.program import Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.errors import OptionError, unknown
from cellclf.utils.parameters import Called, Params, Share, check_parameters, construct, shortened

STEPS: dict[str, type[Step]] = {}
"""Every registered step by the name that it has in a recipe."""

Level = Annotated[int, Interval(ge=0, le=255), Called("a grey level from 0 to 255")]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Params, ABC):
    """One thing that may happen to an image.

    Args:
        rate: Share of the images that get it, 0-1.

    Attributes:
        name: What recipes call it; set by `register`.
        families: Families of corruptions that it resembles ("blur", "compression" ...); set by `register`.
    """

    name: ClassVar[str] = ""
    families: ClassVar[tuple[str, ...]] = ()

    rate: Share = 1.0

    @abstractmethod
    def emit(self, rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
        """Draw for every image and write the work into the program.

        Args:
            rng: Random numbers of this step alone.
            program: Where the work goes.
            active: (N,) bool, the images that get the step (its rate is already in).
            strength: Scales how far the step goes; 0 does nothing.
        """

    def check(self) -> None:
        """Refuse values that cannot be used.

        Raises:
            OptionError: A field is of the wrong kind or outside its range, or ``low`` is above ``high``.
        """
        called = self.name or type(self).__name__
        check_parameters(self, name=called)
        low, high = getattr(self, "low", 0), getattr(self, "high", math.inf)
        if low > high:
            raise OptionError(f"{called} low={low} and high={high}; expected low <= high")

    def names(self) -> tuple[str, ...]:
        """Name the step and every step in its fields."""
        inner = (name for field in fields(self) for step in _steps(getattr(self, field.name)) for name in step.names())
        return tuple(dict.fromkeys((self.name, *inner)))

    def to_dict(self) -> dict[str, Any]:
        """Give the step as plain data: its name and every field."""
        return {"step": self.name, **super().to_dict()}

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Make a step of the table of a recipe; see `step_from_dict`."""
        if not isinstance(table, Mapping) or "step" not in table:
            raise OptionError(
                f"{where} is {shortened(table)}; expected a table with the step's name: {{step = 'rotate', ...}}"
            )
        name = table["step"]
        if not isinstance(name, str) or name not in STEPS:
            raise unknown("augmentation step", str(name)[:60], STEPS)
        values = {key: value for key, value in table.items() if key != "step"}
        step: Self = construct(STEPS[name], values, where if where.startswith("[") else name)  # type: ignore[assignment]
        return step


StepClass = TypeVar("StepClass", bound=type[Step])


def register(name: str, *, families: Sequence[str]) -> Callable[[StepClass], StepClass]:
    """Give a step class its name in recipes, and the corruptions that a training with it has seen.

    Args:
        name: Not the name of another step.
        families: Families of corruptions (``Corruption.family``) that the step resembles, on the strict side: whatever
            moves an image in the direction of a corruption counts. Empty where there is none.

    Raises:
        OptionError: The name is taken, or the families are not a list of names.

    Examples:
        >>> @register("dim", families=("brightness",))
        ... @dataclass(frozen=True, kw_only=True)
        ... class Dim(Step):
        ...     def emit(self, rng, program, active, strength):
        ...         level = np.arange(256) * (1 - 0.5 * strength)
        ...         program.table(active, np.tile(level.astype(np.uint8), (program.count, 1)))
        >>> step_from_dict({"step": "dim", "rate": 0.5})
        Dim(rate=0.5)
        >>> del STEPS["dim"]
    """
    if isinstance(families, str) or not all(isinstance(family, str) for family in families):
        raise OptionError(f"step {name!r}: families is {families!r}; expected a tuple of names, () for none")

    def keep(kind: StepClass) -> StepClass:
        taken = STEPS.get(name)
        # the same class again is a module that is reloaded, or a notebook's cell that is run twice
        if taken is not None and (taken.__module__, taken.__qualname__) != (kind.__module__, kind.__qualname__):
            raise OptionError(f"the step name {name!r} is taken by {taken.__qualname__}; expected another name")
        kind.name = name
        kind.families = tuple(families)
        STEPS[name] = kind
        return kind

    return keep


def run_steps(steps: Sequence[Step], rng: ImageRng, program: Program, active: Flags, strength: float) -> None:
    """Let the steps write their work in order, each with random numbers of its own."""
    for place, step in enumerate(steps):
        own = rng.child(f"{place}/{step.name}")
        step.emit(own, program, active & own.chance(step.rate), strength)


def step_from_dict(data: Mapping[str, Any]) -> Step:
    """Make a step from plain data.

    Raises:
        UnknownNameError: No step or no field has that name.
        OptionError: The name is missing, or a value is of the wrong kind.

    Examples:
        >>> step_from_dict({"step": "rotate", "degrees": 20})
        Rotate(rate=1.0, border='reflect', fill=(), degrees=20)
    """
    return Step.from_table(data, "a step")


def _steps(value: Any) -> Iterator[Step]:
    """Give the steps in a field, also those in lists."""
    if isinstance(value, Step):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _steps(item)


def scaled(rng: ImageRng, low: float, high: float, strength: float) -> Floats:
    """Draw factors from [low, high] whose distance to 1 is multiplied by the strength, never below 0."""
    return np.maximum(1 + strength * (rng.uniform(low, high) - 1), 0.0)


def log_scaled(rng: ImageRng, low: float, high: float, strength: float) -> Floats:
    """Draw factors evenly in their logarithm from [low, high]; the strength multiplies the logarithm."""
    return np.exp(strength * rng.uniform(math.log(low), math.log(high)))


def fill_colour(rng: ImageRng, fill: Sequence[int]) -> NDArray[np.int64]:
    """Draw (N, 3) fill colours: one of the grey levels, or any colour where there are none."""
    if not fill:
        return rng.integers(256, (3,))
    level = np.asarray(fill, np.int64)[rng.integers(len(fill))]
    return np.repeat(level[:, None], 3, axis=1)
