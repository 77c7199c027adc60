"""Annotations read as declarations: of which parameters, in which words, checked by pydantic.

``Annotated[float, Interval(gt=0)]``, ``Literal["avg", "max"]``, ``int | None`` say what a value may be. The check and
the sentence about what was expected are both made from the annotation, so that the two can't differ.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Interval, Len, Predicate

HUGE = 2**31
"""From here on a whole number overflows somewhere, and a rate or a weight means nothing; messages rarely mention it."""


@dataclass(frozen=True)
class Example:
    """In ``Annotated[...]``: what to write instead, shown at the end of a message.

    Args:
        text: Python that is right, such as ``'Augmenter.preset("light")'``.
    """

    text: str


@dataclass(frozen=True)
class Called:
    """In ``Annotated[...]``: how messages call what is annotated.

    Args:
        text: Such as ``"a Keras optimizer"``.
    """

    text: str


def annotations_of(kind: Callable[..., Any]) -> dict[str, Any]:
    """Give the annotation of each argument of a class's constructor, or of a function.

    Args:
        kind: Its annotations must be importable where it stands: names under ``TYPE_CHECKING`` count as anything.
    """
    return dict(_annotations(kind))


def described(annotation: Any, *, toml: bool = False, full: bool = False) -> str:
    """Say in words what an annotation allows.

    Args:
        annotation: What a value may be.
        toml: In the words of a recipe: ``true``, a table, ``"none"``.
        full: Also the limit above which numbers overflow.

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
    for part in parts_of(annotation):
        if is_literal(part):
            choices += map(repr, get_args(part))
        else:
            words.append(_word(part, toml, full))
    if choices:
        words.insert(0, " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}")
    words = list(dict.fromkeys(words))
    if len(words) == 1:
        text = words[0]
    elif any(" or " in word or "," in word for word in words):
        text = f"{', '.join(words[:-1])}, or {words[-1]}"
    else:
        text = " or ".join(words)
    examples = [one.text for one in _metadata(annotation) if isinstance(one, Example)]
    return text if not examples or toml else f"{text}; such as {examples[0]}"


def parts_of(annotation: Any) -> list[Any]:
    """Split a union, also one in ``Annotated[...]``, unless it is ``Called`` something as a whole."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [part for one in arguments for part in parts_of(one)]
    if origin is Annotated and get_origin(arguments[0]) in (Union, types.UnionType):
        return [annotation] if _called(annotation) else parts_of(arguments[0])
    return [annotation]


def allows_none(annotation: Any) -> bool:
    """Return whether None is among what an annotation allows."""
    return any(part in (None, type(None)) for part in parts_of(annotation))


def is_literal(annotation: Any) -> bool:
    """Return whether an annotation is a ``Literal``."""
    return get_origin(annotation) is Literal


def literals_of(annotation: Any) -> list[str]:
    """Give the texts among the literals of an annotation."""
    return [c for part in parts_of(annotation) if is_literal(part) for c in get_args(part) if isinstance(c, str)]


def takes_names_only(annotation: Any) -> bool:
    """Return whether the literals are all that an annotation allows beside None and objects of classes."""
    plain = {int, float, bool, str}
    rest = [part for part in parts_of(annotation) if not is_literal(part) and part is not type(None)]
    return bool(literals_of(annotation)) and all(set(classes_of(part)) - plain for part in rest)


def item_of(annotation: Any) -> Any:
    """Give what the entries of a list are annotated with; None if an annotation allows no list."""
    for part in parts_of(annotation):
        base = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(base) in (tuple, list, Sequence):
            return next((one for one in get_args(base) if one is not Ellipsis), Any)
    return None


def entry_of(annotation: Any) -> Any:
    """Give what the values of a mapping are annotated with; None if an annotation allows no mapping."""
    for part in parts_of(annotation):
        if isinstance(origin := get_origin(part), type) and issubclass(origin, Mapping):
            return get_args(part)[1] if len(get_args(part)) == 2 else Any
    return None


def classes_of(annotation: Any) -> Iterator[type]:
    """Give the classes among what an annotation allows."""
    for part in parts_of(annotation):
        base = get_args(part)[0] if get_origin(part) is Annotated else part
        if isinstance(base, type):
            yield base


@functools.cache
def _annotations(kind: Any) -> Mapping[str, Any]:
    names = list(inspect.signature(kind).parameters)
    homes: list[tuple[Mapping[str, Any], Mapping[str, Any]]]
    if dataclasses.is_dataclass(kind):  # the generated constructor keeps no module to look names up in
        bases = [base for base in reversed(kind.__mro__) if base is not object]  # type: ignore[union-attr]  # a class
        homes = [(inspect.get_annotations(base), _module_of(base)) for base in bases]
    else:
        function = inspect.unwrap(kind.func if isinstance(kind, functools.partial) else kind)
        if isinstance(function, type):
            function = getattr(function, "__init__")  # noqa: B009 - of the class, which mypy takes for an instance's
        homes = [(getattr(function, "__annotations__", {}), getattr(function, "__globals__", {}))]
    found = {name: _resolved(text, space) for written, space in homes for name, text in written.items()}
    return {name: found[name] for name in names if name in found}


def _module_of(kind: type) -> Mapping[str, Any]:
    return vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}


class _Anything(dict[str, Any]):
    """Names for ``eval``: what is not there at run time stands for anything."""

    def __missing__(self, key: str) -> Any:
        if hasattr(builtins, key):
            raise KeyError(key)
        return Any


def _resolved(annotation: Any, space: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Anything(space))
    except Exception:  # a plugin's annotation, which is its own matter
        return Any


# --- words


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    type(None): "None",
    None: "None",
    Any: "anything",
}
_TOML_WORDS: Mapping[Any, str] = {bool: "true or false", type(None): '"none"', None: '"none"'}
_ABSTRACT = {
    "Mapping": "a mapping",
    "Callable": "a function",
    "Sequence": "a list",
    "PathLike": "a path",
    "Path": "a path",
}


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _called(annotation: Any) -> str | None:
    return next((one.text for one in _metadata(annotation) if isinstance(one, Called)), None)


def _word(part: Any, toml: bool, full: bool) -> str:
    origin, arguments = get_origin(part), get_args(part)
    if origin is Annotated:
        if (called := _called(part)) is not None:
            return called
        limits = [_limits(one, full) for one in arguments[1:] if isinstance(one, Interval)]
        length = next((one for one in arguments[1:] if isinstance(one, Len)), None)
        if length is not None:
            return _list_of(arguments[0], toml, full, _length(length))
        return " ".join([_word(arguments[0], toml, full), *limits]).strip()
    if origin in (tuple, list, Sequence):
        return _list_of(part, toml, full)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if toml:
            return "a table"
        key, value = arguments if len(arguments) == 2 else (Any, Any)
        words = " from names" if key is str else ""
        return f"a mapping{words}" + ("" if value is Any else f" to {_plural(described(value, full=full))}")
    if origin is not None:
        return _ABSTRACT.get(getattr(origin, "__name__", ""), str(origin))
    if toml and (part in _TOML_WORDS or hasattr(part, "from_dict")):
        return _TOML_WORDS.get(part, "a table")
    if part in _WORDS:
        return _WORDS[part]
    name = getattr(part, "__name__", str(part))
    return _ABSTRACT.get(name, f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}")


def _list_of(part: Any, toml: bool, full: bool, length: str = "") -> str:
    item = item_of(part)
    return f"a list{length}, each entry {described(item, toml=toml, full=full)}"


def _length(length: Len) -> str:
    if length.max_length == length.min_length:
        return f" of {length.min_length}"
    return f" of {length.min_length} or more" if length.max_length is None else f" of up to {length.max_length}"


def _plural(words: str) -> str:
    return f"numbers{words.removeprefix('a number')}" if words.startswith("a number") else words


def _limits(limit: Interval, full: bool) -> str:
    lt = None if limit.lt == HUGE and not full else limit.lt
    if limit.ge is not None and limit.le is not None:
        return f"from {limit.ge} to {limit.le}"
    high = [f"at most {limit.le}"] if limit.le is not None else [f"below {lt}"] if lt is not None else []
    if limit.ge is not None:
        return " to ".join([f"from {limit.ge}", *high]) if high else f"of {limit.ge} or more"
    return " and ".join([*([f"above {limit.gt}"] if limit.gt is not None else []), *high])


# --- checking


def fits(value: Any, annotation: Any, *, limits: bool = True) -> bool:
    """Return whether a value is what an annotation allows.

    Args:
        value: Plain: Python's numbers, lists for sequences.
        annotation: What it may be.
        limits: False checks the kind only, not the limits of numbers and lengths, and not which text it is.
    """
    import pydantic

    try:
        _adapter(annotation, limits).validate_python((_as_tuples(value),))
    except (pydantic.ValidationError, RecursionError):
        return False
    return True


def _adapter(annotation: Any, limits: bool) -> Any:
    try:
        return _cached_adapter(annotation, limits)
    except TypeError:  # an annotation that can't be hashed
        return _cached_adapter.__wrapped__(annotation, limits)


@functools.cache
def _cached_adapter(annotation: Any, limits: bool) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    # in a tuple: pydantic takes no config for a dataclass by itself
    wrapped: Any = tuple.__class_getitem__((_checkable(annotation, limits),))
    return TypeAdapter(wrapped, config=config)


_PLAIN = (int, float, str, bool, bytes, type(None), object)


def _checkable(annotation: Any, limits: bool) -> Any:
    """Replace what pydantic would look into by what it shall only recognise: classes, and sequences of them."""
    import pydantic

    origin = get_origin(annotation)
    if origin is Literal:
        return annotation if limits else Union.__getitem__(tuple({type(choice) for choice in get_args(annotation)}))
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        kept = tuple(one for one in metadata if limits and isinstance(one, Interval | Len | Predicate))
        return Annotated.__class_getitem__((_checkable(inner, limits), *kept)) if kept else _checkable(inner, limits)
    arguments = tuple(one if one is Ellipsis else _checkable(one, limits) for one in get_args(annotation))
    if origin in (Union, types.UnionType):
        return Union.__getitem__(arguments)
    if origin in (tuple, list, Sequence):
        if limits and origin is tuple and Ellipsis not in arguments:
            return tuple.__class_getitem__(arguments)
        return tuple.__class_getitem__((arguments[0], ...)) if arguments else tuple
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return dict.__class_getitem__(arguments) if arguments else dict
    if getattr(origin, "__name__", "") == "Callable":
        return Callable
    kind = annotation if origin is None else origin
    if isinstance(kind, type) and kind not in _PLAIN and kind is not Any:
        recognised: Any = pydantic.InstanceOf
        return recognised[kind]
    return annotation


def _as_tuples(value: Any) -> Any:
    if type(value) in (list, tuple):
        return tuple(_as_tuples(item) for item in value)
    if isinstance(value, Mapping):
        return dict(value)
    return value
