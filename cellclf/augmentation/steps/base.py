"""The base of every step of an augmenter: a rate, plain-data fields, a check, a name in the registry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.program import BORDERS, Program
from cellclf.augmentation.rng import Flags, Floats, ImageRng
from cellclf.errors import OptionError, unknown

STEPS: dict[str, type[Step]] = {}
"""Every registered step by the name that it has in a recipe."""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One thing that may happen to an image.

    Args:
        rate: Share of the images that get it, 0-1.

    Attributes:
        name: What recipes call it; set by `register`.
        families: Families of corruptions that it resembles ("blur", "compression" ...); set by `register`.
    """

    name: ClassVar[str] = ""
    families: ClassVar[tuple[str, ...]] = ()

    rate: float = 1.0

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
            OptionError: A field is of the wrong kind or outside its range.
        """
        within(self, "rate", 0, 1)

    def names(self) -> tuple[str, ...]:
        """Name the step and every step in its fields."""
        inner = (name for field in fields(self) for step in _steps(getattr(self, field.name)) for name in step.names())
        return tuple(dict.fromkeys((self.name, *inner)))

    def to_dict(self) -> dict[str, Any]:
        """Give the step as plain data: its name and every field."""
        data: dict[str, Any] = {"step": self.name}
        for field in fields(self):
            data[field.name] = _plain(getattr(self, field.name))
        return data


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
        OptionError: The name is missing.

    Examples:
        >>> step_from_dict({"step": "rotate", "degrees": 20})
        Rotate(rate=1.0, border='reflect', fill=(), degrees=20)
    """
    if not isinstance(data, Mapping) or "step" not in data:
        raise OptionError(f"a step is {data!r}; expected a table with the step's name: {{step = 'rotate', ...}}")
    name = data["step"]
    if name not in STEPS:
        raise unknown("augmentation step", name, STEPS)
    kind = STEPS[name]
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key == "step":
            continue
        if key not in known:
            raise unknown(f"field of the step {name!r}", key, known)
        values[key] = _read(value)
    return kind(**values)


def _steps(value: Any) -> Iterator[Step]:
    """Give the steps in a field, also those in lists."""
    if isinstance(value, Step):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _steps(item)


def _plain(value: Any) -> Any:
    if isinstance(value, Step):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return step_from_dict(value)
    if isinstance(value, tuple | list):
        return tuple(_read(item) for item in value)
    return value


def within(step: Step, field: str, low: float, high: float) -> None:
    """Refuse a number outside [low, high].

    Raises:
        OptionError: It is.
    """
    value = getattr(step, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(f"{step.name}: {field} is {value!r}; expected a number from {low:g} to {high:g}")


def ordered(step: Step, low: float = 0.0, high: float = math.inf, *, names: tuple[str, str] = ("low", "high")) -> None:
    """Refuse a range whose ends are not numbers in order within [low, high].

    Raises:
        OptionError: They are not.
    """
    for name in names:
        within(step, name, low, high)
    first, second = (getattr(step, name) for name in names)
    if first > second:
        raise OptionError(
            f"{step.name}: {names[0]} is {first!r} and {names[1]} is {second!r}; expected {names[0]} <= {names[1]}"
        )


def check_border(border: str) -> None:
    """Refuse an unknown border rule.

    Raises:
        UnknownNameError: There is no such rule.
    """
    if border not in BORDERS:
        raise unknown("border rule", border, BORDERS)


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


def check_fill(step: Step) -> None:
    """Refuse fill levels that are not whole numbers from 0 to 255.

    Raises:
        OptionError: They are not.
    """
    fill = getattr(step, "fill", ())
    if not isinstance(fill, tuple | list) or any(
        isinstance(v, bool) or not isinstance(v, int) or not 0 <= v <= 255 for v in fill
    ):
        raise OptionError(
            f"{step.name}: fill is {fill!r}; expected grey levels 0-255 to choose from, or [] for any colour"
        )
