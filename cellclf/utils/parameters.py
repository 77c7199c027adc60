"""What a parameter may be, declared once in the signature: checked, described, written down and read again.

An annotation says it: ``Annotated[float, Interval(gt=0)]``, ``Literal["avg", "max"]``, ``int | None``. pydantic checks
the value; the sentence about what was expected is made from the annotation, too, so that the two can't differ.
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from os import PathLike, fspath
from typing import Annotated, Any, Self, TypeVar, cast

from annotated_types import Interval

from cellclf.errors import CellclfError, OptionError, joined, unknown
from cellclf.utils.annotations import (
    HUGE,
    Called,
    Example,
    allows_none,
    annotations_of,
    classes_of,
    described,
    entry_of,
    fits,
    item_of,
    literals_of,
    takes_names_only,
)

Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Interval(gt=0, lt=HUGE)]
NotNegative = Annotated[float, Interval(ge=0, lt=HUGE)]
Count = Annotated[int, Interval(ge=1, lt=HUGE)]
Whole = Annotated[int, Interval(ge=0, lt=HUGE)]
Seed = Annotated[int, Interval(ge=0, lt=HUGE)]
"""What NumPy, scikit-learn and every backend of Keras take."""
Jobs = Annotated[
    Annotated[int, Interval(ge=1, le=4096)] | Annotated[int, Interval(ge=-4096, le=-1)],
    Called("a whole number of 1 or more, -1 for every core"),
]
"""Tasks at a time, as joblib counts them: -2 is every core but one, 0 means nothing."""

Made = TypeVar("Made")

__all__ = [
    "Called",
    "Count",
    "Example",
    "Jobs",
    "NotNegative",
    "Params",
    "Positive",
    "Seed",
    "Share",
    "Whole",
    "annotations_of",
    "check_arguments",
    "check_parameters",
    "check_value",
    "construct",
    "described",
    "plain",
]


def plain(value: Any) -> Any:
    """Turn NumPy's scalars into Python's, inside lists, tuples, mappings and objects with parameters, too.

    An array of one axis is a list of numbers.

    Examples:
        >>> import numpy as np
        >>> plain([np.int64(3), np.float32(0.5)])
        [3, 0.5]
    """
    if isinstance(value, Params):
        made = copy.copy(value)
        _set(made, {name: plain(given) for name, given in _given(value).items()})
        return made
    return _numbers(value, plain)


def _numbers(value: Any, inside: Callable[[Any], Any]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        item = getattr(value, "item", None)  # numpy.float64 is a float, too
        return value if item is None else item()
    if isinstance(value, Mapping):
        return {inside(key): inside(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(inside(item) for item in value)
    is_array = hasattr(value, "dtype") and hasattr(value, "tolist") and not isinstance(value, type)
    return value.tolist() if is_array and len(value.shape) < 2 else value


def _outer(value: Any) -> Any:
    """Do as ``plain``, but leave objects as they are."""
    return _numbers(value, _outer)


def check_value(value: Any, annotation: Any, name: str, *, limits: bool = True) -> None:
    """Refuse a value that an annotation does not allow.

    Args:
        value: NumPy's scalars count as Python's numbers, a list as a tuple; NaN and infinity are no numbers.
        annotation: What it may be.
        name: What it is called in the message, such as ``"Stage epochs"``; one that begins with a bracket is a place in
            a recipe, and the message speaks as recipes do.
        limits: False checks the kind only, not the limits of numbers and lengths, and not which text it is.

    Raises:
        UnknownNameError: A text that is none of those allowed; the nearest is named.
        OptionError: Anything else.

    Examples:
        >>> check_value(0.5, Annotated[float, Interval(ge=0, le=1)], "val")
        >>> check_value("high", Annotated[float, Interval(ge=0, le=1)], "val")
        Traceback (most recent call last):
        cellclf.errors.OptionError: val='high'; expected a number from 0 to 1
    """
    try:
        given = _outer(value)
    except RecursionError:  # a list that holds itself
        given = object()
    if fits(given, annotation, limits=limits):
        return
    for entry, inner, place in _entries(given, annotation):
        if not fits(entry, inner, limits=limits):
            check_value(entry, inner, f"{name}[{place!r}]"[:120], limits=limits)
    names = literals_of(annotation)
    if isinstance(given, str) and takes_names_only(annotation):
        raise unknown(f"{name}:", given[:60], names)
    expected = described(annotation, toml=_in_recipe(name), full=_is_huge(given))
    near = difflib.get_close_matches(given, names, n=1) if isinstance(given, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"{name}={shortened(value)}; expected {expected}{hint}")


def check_parameters(thing: Any, *, name: str | None = None) -> None:
    """Refuse an object whose stored arguments are not what its constructor declares.

    Args:
        thing: Keeps its constructor's arguments under their own names.
        name: What it is called in messages; None takes its class's name.

    Raises:
        OptionError: A value that the annotation does not allow; all such values are named.
        UnknownNameError: A text that is none of those allowed.
    """
    called = type(thing).__name__ if name is None else name
    mistakes: list[CellclfError] = []
    for parameter, annotation in annotations_of(type(thing)).items():
        try:
            check_value(getattr(thing, parameter), annotation, f"{called} {parameter}")
        except CellclfError as error:
            mistakes.append(error)
    if len(mistakes) > 1:
        raise OptionError(joined(map(str, mistakes)))
    if mistakes:
        raise mistakes[0]


def check_arguments(function: Callable[..., Any], **given: Any) -> None:
    """Refuse arguments of a function that are not what its signature declares.

    Args:
        function: Has the annotations.
        given: Some of its arguments.

    Raises:
        OptionError: A value that the annotation does not allow.
        UnknownNameError: A text that is none of those allowed.
    """
    declared = annotations_of(function)
    for name, value in given.items():
        check_value(value, declared[name], f"{function.__name__} {name}")


def construct(kind: Callable[..., Made], table: Any, where: str) -> Made:
    """Make an object from a table whose keys are the names of its arguments.

    What a value may be is read from the constructor's annotations: a table becomes the object that is declared there,
    a list a tuple. Only kinds are checked, not limits: ``check`` finds those, all at once.

    Args:
        kind: A class whose arguments are all keywords.
        table: The values. In a recipe the text ``"none"`` stands for None where it is allowed, since TOML has none.
        where: Name of the table in messages; in a recipe with brackets, such as ``"[split]"``.

    Raises:
        UnknownNameError: A key that is not an argument.
        OptionError: A value that is missing or of another kind than the argument's.

    Examples:
        >>> from cellclf import Stage
        >>> construct(Stage, {"epochs": 3, "learning_rate": 0.001, "patience": "none"}, "[stage]").patience is None
        True
    """
    parameters = inspect.signature(kind).parameters
    check_table(table, where, parameters)
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in table]
    if missing:
        raise OptionError(f"{where} lacks {', '.join(missing)}")
    declared = annotations_of(kind)
    found = {}
    for key, value in table.items():
        found[key] = _read(value, declared.get(key, Any), where, key)
        check_value(found[key], declared.get(key, Any), f"{where} {key}", limits=False)
    return kind(**found)


def check_table(table: Any, where: str, names: Iterable[str]) -> None:
    """Refuse what is no table, or has a key that is none of the names.

    Raises:
        OptionError: No table.
        UnknownNameError: Another key.
    """
    names = list(names)
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} is {shortened(table)}; expected a table with some of: {', '.join(names)}")
    for key in table:
        if key not in names:
            raise unknown(f"option of {where}:", str(key)[:60], names)


def inside(where: str, key: object) -> str:
    """Name a table inside a table: ``"[trainer]"`` and ``"head"`` are ``"[trainer.head]"``."""
    return f"{where[:-1]}.{key}]" if where.endswith("]") else f"{where}.{key}"


class Params:
    """For objects that store their constructor's arguments under their own names, as scikit-learn asks for it.

    Two are equal if they are of one class and their arguments are: a list counts as a tuple, NumPy's numbers as
    Python's.

    Examples:
        >>> class Step(Params):
        ...     def __init__(self, *, size: Count = 3) -> None:
        ...         self.size = size
        >>> Step().set_params(size=5).get_params()
        {'size': 5}
        >>> Step.from_dict(Step(size=4).to_dict()) == Step(size=4)
        True
    """

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(_comparable(self) == _comparable(other))

    def __hash__(self) -> int:
        return hash(_comparable(self))

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        given = (f"{n}={v!r}" for n, v in _given(self).items() if repr(v) != repr(defaults[n].default))
        return f"{type(self).__name__}({', '.join(given)})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Args:
            deep: Also those of the objects among them: ``"trainer__stages__0__learning_rate"``.
        """
        found: dict[str, Any] = {}
        for name, value in _given(self).items():
            found[name] = value
            if deep:
                found |= {f"{name}__{key}": inner for key, inner in _inner(value)}
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        _set(self, {name: value})  # what was made of the old value is made anew

    def set_params(self, **params: Any) -> Self:
        """Change arguments by name; objects that were handed in stay as they are, and changed copies take their place.

        Args:
            params: ``size=5``, or with a path ``stages__0__learning_rate=1e-4``.

        Raises:
            UnknownNameError: There is no argument of that name.
        """
        for path, value in params.items():
            name, _, rest = path.partition("__")
            names = _names(type(self))
            if name not in names:
                raise unknown(f"parameter of {type(self).__name__}", name, names)
            _set(self, {name: _changed(getattr(self, name), rest, value) if rest else value})
        return self

    def to_dict(self) -> dict[str, Any]:
        """Give all arguments as plain data that JSON can hold and ``from_dict`` reads again; None is kept.

        What no file can hold, such as a function, is there by its name, which ``from_dict`` refuses: it has to be given
        again.
        """
        return {name: written(value) for name, value in _given(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make an object from plain data: what ``to_dict`` gave, or some of it.

        Raises:
            UnknownNameError: A name that is no argument.
            OptionError: A value of another kind than the argument's, or one that is missing.
        """
        return cls.from_table(data, cls.__name__)

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Do the work of ``from_dict`` for the table of a recipe: ``where`` is its name in messages."""
        return construct(cls, table, where)


def written(value: Any) -> Any:
    """Give a value as plain data that JSON can hold."""
    value = plain(value)
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [written(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PathLike):
        return str(fspath(value))
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{'function' if callable(value) else 'object'} {name}"


def shortened(value: Any) -> str:
    """Show a value in at most 60 characters of one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return f"a whole number of {int(math.log10(abs(value))) + 1} digits"
    try:
        text = " ".join(repr(plain(value) if hasattr(value, "dtype") else value).split())
    except Exception:  # a value of any kind was handed in, and its repr is its own matter
        text = f"a {type(value).__name__}"
    text = text.encode("unicode_escape" if not text.isprintable() else "utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- reading and changing


def _read(value: Any, annotation: Any, where: str, key: object) -> Any:
    """Make of plain data what is declared: objects of tables, tuples of lists, in a recipe None of "none"."""
    if isinstance(value, Mapping):
        readers = [kind for kind in classes_of(annotation) if hasattr(kind, "from_table")]
        if readers:
            return readers[0].from_table(value, inside(where, key))
        return dict(value)
    if type(value) in (list, tuple):
        item = item_of(annotation)
        place = inside(where, key)
        return tuple(value) if item is None else tuple(_read(one, item, place, k) for k, one in enumerate(value))
    means_none = isinstance(value, str) and value == "none" and _in_recipe(where)
    return None if means_none and allows_none(annotation) and value not in literals_of(annotation) else value


def _entries(value: Any, annotation: Any) -> list[tuple[Any, Any, object]]:
    """Give the entries of a list or mapping, what each may be, and its place; none of what may be no such thing."""
    if isinstance(value, list | tuple) and (item := item_of(annotation)) is not None:
        return [(entry, item, place) for place, entry in enumerate(value)]
    if isinstance(value, Mapping) and (item := entry_of(annotation)) is not None:
        return [(entry, item, key) for key, entry in value.items() if isinstance(key, str)]
    return []


def _in_recipe(where: str) -> bool:
    return where.startswith("[")


def _is_huge(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_huge(item) for item in value)
    return isinstance(value, int | float) and value >= HUGE


def _names(kind: type) -> tuple[str, ...]:
    return _described(cast(Hashable, kind))[0]


@functools.cache
def _described(kind: Hashable) -> tuple[tuple[str, ...], frozenset[str]]:
    """Give the names of a class's arguments, and those of what it computes once and keeps."""
    assert isinstance(kind, type)
    computed = (n for base in kind.__mro__ for n, v in vars(base).items() if isinstance(v, functools.cached_property))
    return tuple(inspect.signature(kind).parameters), frozenset(computed)


def _given(thing: Any) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in _names(type(thing))}


def _set(thing: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        object.__setattr__(thing, name, value)  # frozen ones, too: only copies and what sklearn changes come here
    for name in _described(cast(Hashable, type(thing)))[1]:
        vars(thing).pop(name, None)  # it was made of the old values


def _comparable(value: Any) -> Any:
    """Give a value that compares and hashes by content."""
    value = plain(value) if not isinstance(value, Params) else value
    if isinstance(value, Params):
        return type(value), tuple(_comparable(item) for item in _given(value).values())
    if isinstance(value, Mapping):
        return frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_comparable(item) for item in value)
    return str(fspath(value)) if isinstance(value, PathLike) else value


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
        raise OptionError(f"{shortened(value)} has no parameter {name!r}")
    return copy.copy(value).set_params(**{path: new})
