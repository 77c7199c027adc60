"""A cut that a source gives: folders train, val and test, a column of a table, an npz with parts, sets side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellclf.data.arrays import IMAGE_KEYS, parts_of_arrays
from cellclf.data.classes import match_labels
from cellclf.data.concat import apart, joined
from cellclf.data.csv_tables import is_frame, read_frame
from cellclf.data.folders import parts_root
from cellclf.data.image_set import ImageSet
from cellclf.data.loaders import load
from cellclf.data.npz import NpzArrays
from cellclf.data.parts import part_kind, parts_of, split_part
from cellclf.data.split import Parts
from cellclf.data.table_rows import parts_of_table
from cellclf.errors import DataError, UnknownNameError

NAMES = ("train", "val", "test")


def load_parts(src: Any, **reading: Any) -> Parts:
    """Read a source that is cut into train, val and test already.

    Classes are those of the training part; the other parts are matched with them by name. What a source does not have
    (a validation part, say) is empty.

    Args:
        src: An npz with ``train_images``, ``val_images`` and ``test_images`` (or ``x_train`` ...), a dict of such
            arrays, a folder with the folders train, val and test, or a table with a column ``split``.
        reading: How it is read: further arguments of ``load``.

    Returns:
        The parts, all of one size; their ids differ.

    Raises:
        DataError: A source without a training part, or parts that do not fit together.

    Examples:
        >>> import numpy as np
        >>> images = np.zeros((4, 8, 8, 3), np.uint8)
        >>> arrays = {"train_images": images, "train_labels": [0, 1, 0, 1], "test_images": images[:1]}
        >>> parts = load_parts(arrays | {"test_labels": [1]})
        >>> len(parts.train), len(parts.val), len(parts.test)
        (4, 0, 1)
    """
    names = given_names(src, reading)
    if not names:
        raise DataError(
            f"{src if isinstance(src, str | Path) else type(src).__name__} gives no cut; expected folders train and "
            "test, an npz with train_images and test_images, or a table whose column split says train and test"
        )
    if isinstance(src, str | Path) and (root := Path(src).expanduser()).is_dir():
        src = parts_root(root)
    train = load(src, part=names["train"], **reading)
    others: dict[str, ImageSet | None] = {}
    for kind in NAMES[1:]:
        # files are decoded to the size of the training part at once; arrays are resized as they are read
        size = None if _holds_arrays(src) else train.image_shape[:2]
        how = {**reading, "size": reading.get("size") or size}
        others[kind] = load(src, part=names[kind], **how) if kind in names else None
    return given_parts(train, **others)


def given_names(src: Any, reading: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Say what the parts of a source are called: ``{"train": "Training", "test": "test_set"}``.

    Args:
        src: A source.
        reading: Arguments of ``load``; with ``part``, a source is no cut but that part.

    Returns:
        Which of train, val and test there are -> its name; empty for a source that gives no cut.

    Raises:
        DataError: Two parts of one kind.
    """
    reading = reading or {}
    columns = reading.get("columns") or {}
    if reading.get("part") is not None:
        return {}
    names: list[str] = []
    where = src if isinstance(src, str | Path) else type(src).__name__
    if isinstance(src, str | Path):
        path = Path(src).expanduser()
        if split_part(str(src))[1] is not None:
            return {}
        if path.suffix.lower() == ".npz" and path.is_file():
            src = NpzArrays(path)
        else:
            names = parts_of(str(parts_root(path) if path.is_dir() else src), columns)
    if is_frame(src):
        names = parts_of_table(read_frame(src), columns)
    elif isinstance(src, Mapping):
        names = [] if {*IMAGE_KEYS} & {*src} else sorted(parts_of_arrays(src))  # images of no part are the set
    found: dict[str, str] = {}
    for name in names:
        kind = part_kind(name)
        if kind in found:
            raise DataError(
                f"{where} has two parts for {kind}, {found[kind]!r} and {name!r}; expected one: rename the other, or "
                f"name the part to read, as in {where}:{name}"
            )
        if kind is not None:
            found[kind] = name
    return found if "train" in found else {}


def given_parts(train: ImageSet, val: ImageSet | None = None, test: ImageSet | None = None) -> Parts:
    """Make a cut of sets that are given: of one size, with the classes of the training part, and with ids that differ.

    Args:
        train: With labels.
        val: Given for validation; None if it is not.
        test: Given for the test; None if it is not. Without labels it cannot be scored and is left out, with a notice.

    Raises:
        DataError: No labels, or a class that the training part lacks.
    """
    notices = list(train.notices)
    if test is not None and test.labels is None:
        notices.append(f"the {len(test):,} images of the test part have no labels and are not scored")
        test = None
    none = train.subset([])
    parts = [train.replace(notices=notices)]
    for name, part in (("val", val), ("test", test)):
        parts.append(none if part is None or not len(part) else _fitting(part, name, train))
    ids = apart([part.ids for part in parts], NAMES)
    return Parts(*(part.replace(ids=own) for part, own in zip(parts, ids, strict=True)))


def whole(cells: ImageSet | Parts) -> ImageSet:
    """Give all images of a cut as one set: of a set itself."""
    if isinstance(cells, ImageSet):
        return cells
    parts = [(name, part) for name in NAMES if len(part := getattr(cells, name))]
    if not parts:
        return cells.train
    return joined([part for _, part in parts], [name for name, _ in parts])


def _fitting(part: ImageSet, name: str, train: ImageSet) -> ImageSet:
    if part.labels is None:
        raise DataError(f"the {name} part has no labels; expected a class for each image")
    size = train.image_shape[:2]
    if part.image_shape[:2] != size:
        was, now = ("x".join(map(str, sides)) for sides in (part.image_shape[:2], size))
        text = f"images of {was} pixels are resized to the {now} of the training part"
        part = part.resized(size).replace(notices=[*part.notices, text])
    if train.labels is None:
        return part  # the check of the training part reports it
    names = train.class_names
    try:
        if _numbered(part) == _numbered(train):
            return part.align(names)
        return part.replace(labels=match_labels(part, names), class_names=names)
    except (DataError, UnknownNameError) as error:
        raise DataError(f"the {name} part has a class that the training part lacks: {error}") from None


def _numbered(cells: ImageSet) -> bool:
    return all(name.isdecimal() for name in cells.class_names)


def _holds_arrays(src: Any) -> bool:
    if isinstance(src, str | Path):
        return Path(src).suffix.lower() in (".npz", ".npy")
    return isinstance(src, Mapping) and not is_frame(src)
