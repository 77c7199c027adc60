"""Checked columns of what is known of each image: labels, class names, ids, groups, domains, clusters, sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, printable

_MOST_CLASSES = 100_000

MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "-NaN", "NaT", "None", "NULL", "null")
)
"""Texts that stand for a missing value, as pandas reads them."""


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or pandas' NA or NaT; a text is a value.

    Examples:
        >>> [is_missing(value) for value in (None, float("nan"), "NA", 0)]
        [True, True, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def refuse_missing(name: str, values: Any) -> None:
    """Refuse a column of texts some of which stand for a missing value, such as ``"NA"`` or an empty one.

    Args:
        name: ``"labels"``, ``"groups"`` or ``"domains"``.
        values: The column.

    Raises:
        DataError: How many are missing, and what to do.
    """
    if hidden := int(np.asarray(values.mask).sum()) if isinstance(values, np.ma.MaskedArray) else 0:
        fix = _OWN_GROUP if name == "groups" else "remove these images, or complete them"
        raise DataError(f"{hidden} of {values.size} {name} are missing (masked); {fix}")
    column = np.asarray(values)
    if column.dtype.kind not in "OUT":
        return
    texts = [value.strip() if isinstance(value, str) else value for value in column.ravel().tolist()]
    missing = [value for value in texts if is_missing(value) or (isinstance(value, str) and value in MISSING)]
    if missing:
        fix = _OWN_GROUP if name == "groups" else "remove these images, or complete them"
        raise DataError(f"{len(missing)} of {len(texts)} {name} are missing ({str(missing[0])!r}); {fix}")


_OWN_GROUP = (
    "are these images of other patients? Then give each a group of its own, such as its id; if not, complete them"
)


def natural_order(names: Collection[str]) -> list[str]:
    """Sort names by value if all are whole numbers, else as text.

    Examples:
        >>> natural_order(["10", "9"]), natural_order(["b10", "b9"])
        (['9', '10'], ['b10', 'b9'])
    """
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def labels_and_names(
    values: Any, names: Sequence[str] | None, count: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Check labels against class names.

    Args:
        values: (N,) or (N, 1) whole numbers, or (N,) class names, or None.
        names: The class names in label order; None takes them from the labels.
        count: How many images there are.

    Returns:
        Labels (N,) int64 or None, and the class names.
    """
    names = None if names is None else _names(names)
    if values is None:
        return None, names or ()
    column = _flat("labels", values, count, ": from one-hot, pass labels.argmax(1)")
    if column.dtype == object and all(isinstance(value, str) for value in column.tolist()):
        column = column.astype(str)
    if column.dtype.kind in "SU":
        column = _texts("labels", column, count)
        names = tuple(natural_order(set(column.tolist()))) if names is None else names
        number = {name: k for k, name in enumerate(names)}
        unmatched = sorted(set(column.tolist()) - set(number))
        if unmatched:
            raise DataError(f"there is a label {unmatched[0]!r}; expected one of the classes {', '.join(names)}")
        return np.fromiter((number[name] for name in column.tolist()), np.int64, count), names
    labels = _whole("labels", column, "0, 1, ..., or class names")
    if count and labels.min() < 0:
        raise DataError(f"there is a label {labels.min()}; labels count from 0: leave images without a label out")
    highest = int(labels.max()) if count else -1
    if names is None:
        if highest >= _MOST_CLASSES:
            raise DataError(f"there is a label {highest}; labels number the classes 0, 1, ...: are these the labels?")
        return labels, tuple(str(k) for k in range(highest + 1))
    if highest >= len(names):
        raise DataError(f"there is a label {highest} but only {len(names)} class names; expected a name for each class")
    return labels, names


def in_order(names: Any) -> list[Any]:
    """Give class names in the order of their labels: of a list, or of a dict of numbers by name or names by number.

    Args:
        names: As a user holds them.

    Raises:
        DataError: One text, or a set, which has no order, or a dict that does not number its names 0, 1, ...

    Examples:
        >>> in_order({"round": 1, "lobed": 0}), in_order({0: "lobed", 1: "round"})
        (['lobed', 'round'], ['lobed', 'round'])
    """
    if isinstance(names, str | bytes):
        raise DataError(f"class_names={names!r} is one text; expected a list with a name for each class")
    if isinstance(names, Set):
        raise DataError("class_names is a set, which has no order; expected a list, in the order of the labels")
    if not isinstance(names, Mapping):
        return list(names)
    pairs = list(names.items())
    if not all(isinstance(number, int | np.integer) for number, _ in pairs):
        pairs = [(number, name) for name, number in pairs]
    found = {int(number): name for number, name in pairs if isinstance(number, int | np.integer)}
    if sorted(found) != list(range(len(names))):
        raise DataError("class_names is a dict that does not number its names 0, 1, ...; expected a list")
    return [found[number] for number in range(len(found))]


def _names(names: Sequence[str]) -> tuple[str, ...]:
    names = in_order(names)
    # bytes are how MATLAB and h5py give texts; names are printed, in tables as well
    texts = tuple(printable(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n)) for n in names)
    if len(set(texts)) < len(texts):
        twice = sorted({name for name in texts if texts.count(name) > 1})
        raise DataError(f"the class name {twice[0]!r} occurs twice; expected each name once")
    return texts


def ids(values: Any, count: int) -> NDArray[np.str_]:
    """Check that each image has its own id; None counts them "0", "1", ..."""
    if values is None:
        return np.arange(count).astype(str)
    column = _texts("ids", values, count)
    known: set[str] = set()
    for text in column.tolist():
        if text in known:
            times = int((column == text).sum())
            raise DataError(f"the id {text!r} occurs {times} times; expected each id once")
        known.add(text)
    return column


def groups(values: Any, count: int) -> NDArray[np.str_] | None:
    """Check the patient or slide of each image."""
    return None if values is None else _texts("groups", values, count)


def domains(values: Any, count: int) -> NDArray[np.str_] | None:
    """Check the laboratory, hospital or scanner of each image."""
    return None if values is None else _texts("domains", values, count)


def clusters(values: Any, count: int) -> NDArray[np.int64] | None:
    """Check the cluster numbers of the images."""
    return None if values is None else _whole("clusters", _flat("clusters", values, count), "")


def sizes(values: Any, count: int, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Check the original heights and widths; None takes those of the images."""
    if values is None:
        return np.broadcast_to(np.asarray(shape[:2], np.int64), (count, 2))
    column = np.asarray(values)
    if column.shape != (count, 2):
        raise DataError(f"sizes have shape {column.shape}; expected ({count}, 2), height and width of each image")
    return _whole("sizes", column, "of pixels")


def _flat(name: str, values: Any, count: int, fix: str = "") -> NDArray[Any]:
    try:
        column = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} are not a column ({error}); expected one for each image") from None
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if not column.ndim:
        raise DataError(f"{name} is a single {type(values).__name__}; expected one for each image, in their order")
    if column.ndim != 1:
        raise DataError(f"{name} have shape {column.shape}; expected (N,) or (N, 1){fix}")
    if len(column) != count:
        raise DataError(f"{len(column)} {name} for {count} images; expected one for each image")
    return column


def _whole(name: str, column: NDArray[Any], expected: str) -> NDArray[np.int64]:
    missing = 0
    if column.dtype.kind == "f":
        missing = int(np.isnan(column).sum())
    elif column.dtype == object:
        missing = sum(map(is_missing, column.ravel().tolist()))
    if missing:
        raise DataError(f"{missing} of {len(column)} {name} are missing; remove these images, or complete them")
    if not column.size:
        return column.astype(np.int64)
    whole = column.dtype.kind == "f" and np.isfinite(column).all() and (column == column.round()).all()
    if column.dtype.kind not in "iub" and not whole:
        raise DataError(f"{name} have dtype {column.dtype}; expected whole numbers {expected}".rstrip())
    if float(np.abs(column, dtype=float).max()) >= 2**63:
        raise DataError(f"{name} go up to {column.max()}; expected whole numbers below 2**63")
    return column.astype(np.int64)


def _texts(name: str, values: Any, count: int) -> NDArray[np.str_]:
    column = _flat(name, values, count)
    if column.dtype.kind == "f" or column.dtype == object:
        missing = sum(map(is_missing, column.tolist()))
        if missing:
            fix = _OWN_GROUP if name == "groups" else f"give these images {name} of their own"
            raise DataError(f"{missing} of {count} {name} are missing; {fix}")
    try:
        texts = np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column.astype(str)
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{name} are not text ({error}); expected texts or whole numbers") from None
    if "".join(texts.tolist()).isprintable():
        return texts
    return np.asarray([printable(text) for text in texts.tolist()], np.str_)
