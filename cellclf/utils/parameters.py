"""What a parameter may be, declared once in the signature: checked, described, written down and read again.

An annotation says it: ``Annotated[float, Interval(gt=0)]``, ``Literal["avg", "max"]``, ``int | None``. pydantic checks
the value; the sentence about what was expected is made from the annotation, too, so that the two can't differ.
"""

from __future__ import annotations

import builtins
import copy
import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from annotated_types import Interval

from cellclf.errors import OptionError, unknown

_HUGE = 2**31
"""From here on a whole number overflows somewhere, and a rate or a weight means nothing; messages do not mention it."""

Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Interval(gt=0, lt=_HUGE)]
NotNegative = Annotated[float, Interval(ge=0, lt=_HUGE)]
Count = Annotated[int, Interval(ge=1, lt=_HUGE)]
Seed = Annotated[int, Interval(ge=0, lt=_HUGE)]
"""What NumPy, scikit-learn and every backend of Keras take."""


def plain(value: Any) -> Any:
    """Turn NumPy's scalars into Python's, inside lists, tuples and mappings, too; a number is a number.

    Examples:
        >>> import numpy as np
        >>> plain([np.int64(3), np.float32(0.5)])
        [3, 0.5]
    """
    if hasattr(value, "dtype") and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def check_value(value: Any, annotation: Any, name: str) -> None:
    """Refuse a value that an annotation does not allow.

    Args:
        value: NumPy's scalars count as Python's numbers, a list as a tuple; NaN and infinity are no numbers.
        annotation: What it may be.
        name: What it is called in the message, such as ``"Stage epochs"``.

    Raises:
        UnknownNameError: A text that is none of those allowed; the nearest is named.
        OptionError: Anything else.

    Examples:
        >>> check_value(0.5, Annotated[float, Interval(ge=0, le=1)], "val")
        >>> check_value("high", Annotated[float, Interval(ge=0, le=1)], "val")
        Traceback (most recent call last):
        cellclf.errors.OptionError: val='high'; expected a number from 0 to 1
    """
    import pydantic

    given = plain(value)
    try:
        _adapter(annotation).validate_python(_as_tuples(given))
        return
    except (pydantic.ValidationError, RecursionError):
        pass
    names = _names(annotation)
    if isinstance(given, str) and names and all(_is_literal(part) or part is type(None) for part in _parts(annotation)):
        raise unknown(f"{name}:", given[:60], names)
    raise OptionError(f"{name}={_short(given)}; expected {described(annotation)}")


def described(annotation: Any) -> str:
    """Say in words what an annotation allows.

    Examples:
        >>> described(Annotated[int, Interval(ge=1)] | None)
        'a whole number of 1 or more, or None'
        >>> described(Annotated[float, Interval(gt=0, lt=1)])
        'a number above 0 and below 1'
        >>> described(Literal["avg", "max"])
        "'avg' or 'max'"
    """
    choices: list[str] = []
    words: list[str] = []
    for part in _parts(annotation):
        if _is_literal(part):
            choices += map(repr, get_args(part))
        else:
            words.append(_word(part))
    if choices:
        words.insert(0, " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, or {words[-1]}"


def annotations_of(kind: Callable[..., Any]) -> dict[str, Any]:
    """Give the annotation of each argument of a class's constructor, or of a function.

    Args:
        kind: Its annotations must be importable where it stands: names under ``TYPE_CHECKING`` count as anything.
    """
    return dict(_annotations(kind))


def check_parameters(thing: Any, *, name: str | None = None) -> None:
    """Refuse an object whose stored arguments are not what its constructor declares.

    Args:
        thing: Keeps its constructor's arguments under their own names.
        name: What it is called in messages; None takes its class's name.

    Raises:
        OptionError: A value that the annotation does not allow.
        UnknownNameError: A text that is none of those allowed.
    """
    called = type(thing).__name__ if name is None else name
    for parameter, annotation in annotations_of(type(thing)).items():
        check_value(getattr(thing, parameter), annotation, f"{called} {parameter}")


class Params:
    """For objects that store their constructor's arguments under their own names, as scikit-learn asks for it.

    Examples:
        >>> class Step(Params):
        ...     def __init__(self, *, size: Count = 3) -> None:
        ...         self.size = size
        >>> Step().set_params(size=5).get_params()
        {'size': 5}
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Args:
            deep: Also those of the objects among them: ``"trainer__stages__0__learning_rate"``.
        """
        found: dict[str, Any] = {}
        for name in inspect.signature(type(self)).parameters:
            value = getattr(self, name)
            found[name] = value
            if deep:
                found |= {f"{name}__{key}": inner for key, inner in _inner(value)}
        return found

    def set_params(self, **params: Any) -> Self:
        """Change arguments by name; objects that were handed in stay as they are, and changed copies take their place.

        Args:
            params: ``size=5``, or with a path ``stages__0__learning_rate=1e-4``.

        Raises:
            UnknownNameError: There is no argument of that name.
        """
        for path, value in params.items():
            name, _, rest = path.partition("__")
            names = list(inspect.signature(type(self)).parameters)
            if name not in names:
                raise unknown(f"parameter of {type(self).__name__}", name, names)
            object.__setattr__(self, name, _changed(getattr(self, name), rest, value) if rest else value)
        return self


def _inner(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        pairs = []
        for place, item in enumerate(value):
            inner = _inner(item)
            if inner:
                pairs += [(str(place), item), *((f"{place}__{key}", one) for key, one in inner)]
        return pairs
    if hasattr(value, "get_params") and not isinstance(value, type):
        return list(value.get_params(deep=True).items())
    return []


def _changed(value: Any, path: str, new: Any) -> Any:
    """Give a copy of ``value`` in which the argument at ``path`` is another one."""
    name, _, rest = path.partition("__")
    if isinstance(value, list | tuple):
        if not name.isdecimal() or int(name) >= len(value):
            raise OptionError(f"there are {len(value)} entries, counted from 0, and no {name!r}")
        items = list(value)
        items[int(name)] = _changed(items[int(name)], rest, new) if rest else new
        return type(value)(items)
    if not hasattr(value, "set_params"):
        raise OptionError(f"{_short(value)} has no parameter {name!r}")
    return copy.copy(value).set_params(**{path: new})


# --- annotations


@functools.cache
def _annotations(kind: Any) -> Mapping[str, Any]:
    names = list(inspect.signature(kind).parameters)
    if dataclasses.is_dataclass(kind):  # the generated constructor keeps no module to look names up in
        homes = [(inspect.get_annotations(base), vars(inspect.getmodule(base))) for base in _bases(kind)]
    else:
        function = getattr(kind, "__init__") if isinstance(kind, type) else kind  # noqa: B009 - of a class, not an instance
        homes = [(function.__annotations__, function.__globals__)]
    found = {name: _resolved(text, space) for written, space in homes for name, text in written.items()}
    return {name: found[name] for name in names if name in found}


def _bases(kind: Any) -> list[Any]:
    return [base for base in reversed(kind.__mro__) if base is not object]


class _Anything(dict[str, Any]):
    """Names for ``eval``: what is not there at run time stands for anything."""

    def __missing__(self, key: str) -> Any:
        if hasattr(builtins, key):
            raise KeyError(key)
        return Any


def _resolved(annotation: Any, space: Mapping[str, Any]) -> Any:
    if isinstance(annotation, str):
        return eval(annotation, {}, _Anything(space))
    return annotation


def _parts(annotation: Any) -> list[Any]:
    """Split a union; of ``Annotated[union]`` too."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return [annotation]


def _is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _names(annotation: Any) -> list[str]:
    return [c for part in _parts(annotation) if _is_literal(part) for c in get_args(part) if isinstance(c, str)]


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    type(None): "None",
    None: "None",
    Any: "anything",
}
_ABSTRACT = {
    "Mapping": "a mapping",
    "Callable": "a function",
    "Sequence": "a list",
    "PathLike": "a path",
    "Path": "a path",
}


def _word(part: Any) -> str:
    origin, arguments = get_origin(part), get_args(part)
    if origin is Annotated:
        limits = [limit for limit in arguments[1:] if isinstance(limit, Interval)]
        return " ".join([_word(arguments[0]), *(_limits(limit) for limit in limits)]).strip()
    if origin in (tuple, list, Sequence):
        inner = [one for one in arguments if one is not Ellipsis]
        items = described(inner[0]) if inner else "anything"
        if origin is tuple and inner and Ellipsis not in arguments:
            return f"{len(inner)} values, each {items}"
        return f"a list, each entry {items}"
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping to {described(arguments[1])}" if len(arguments) == 2 else "a mapping"
    if origin is not None:
        return _ABSTRACT.get(getattr(origin, "__name__", ""), str(origin))
    if part in _WORDS:
        return _WORDS[part]
    name = getattr(part, "__name__", str(part))
    return _ABSTRACT.get(name, f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}")


def _limits(limit: Interval) -> str:
    low, high = (limit.ge, limit.gt), (limit.le, None if limit.lt == _HUGE else limit.lt)
    if limit.ge is not None and limit.le is not None:
        return f"from {limit.ge} to {limit.le}"
    words = [f"of {limit.ge} or more" if high == (None, None) else f"from {limit.ge}"] if limit.ge is not None else []
    words += [f"above {limit.gt}"] if limit.gt is not None else []
    words += [f"at most {limit.le}"] if limit.le is not None else []
    words += [f"below {high[1]}"] if high[1] is not None else []
    return " and ".join(words) if low != (None, None) or words else ""


# --- checking


@functools.cache
def _cached_adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    return TypeAdapter(_checkable(annotation), config=config)


def _adapter(annotation: Any) -> Any:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that can't be hashed
        return _cached_adapter.__wrapped__(annotation)


def _checkable(annotation: Any) -> Any:
    """Replace what pydantic would look into by what it shall only recognise: classes, and sequences of them."""
    import pydantic

    origin, arguments = get_origin(annotation), tuple(map(_checkable, get_args(annotation)))
    kind = getattr(origin, "__name__", "")
    if origin in (Union, types.UnionType):
        return Union.__getitem__(arguments)
    if origin in (Literal, Annotated):
        return annotation
    if origin in (tuple, list, Sequence):
        of_any_length = origin is not tuple or Ellipsis in arguments
        return tuple.__class_getitem__((arguments[0], ...) if of_any_length else arguments) if arguments else tuple
    if kind in ("Mapping", "dict"):
        return dict.__class_getitem__(arguments) if arguments else dict
    if kind == "Callable":
        return Callable
    if isinstance(annotation, type) and annotation not in (int, float, str, bool, bytes, type(None), object, Any):
        return pydantic.InstanceOf[annotation]  # type: ignore[misc]  # made at run time
    return annotation


def _as_tuples(value: Any) -> Any:
    if type(value) in (list, tuple):
        return tuple(_as_tuples(item) for item in value)
    if isinstance(value, Mapping):
        return dict(value)
    return value


def _short(value: Any) -> str:
    """Show a value in at most 60 characters of one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return f"a whole number of {int(math.log10(abs(value))) + 1} digits"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a value of any kind was handed in, and its repr is its own matter
        text = f"a {type(value).__name__}"
    text = text.encode("unicode_escape" if not text.isprintable() else "utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 60 else f"{text[:57]}..."
