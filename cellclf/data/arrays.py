"""Named arrays, in a dict or an npz: which ones are images, labels, ids and so on, and of which part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cellclf.data.columns import refuse_missing
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.data.parts import choose, part_kind
from cellclf.data.sources import as_source
from cellclf.errors import DataError, unknown

IMAGE_KEYS = ("images", "x", "X", "image")
LABEL_KEYS = ("labels", "y", "Y", "label")
_OTHER_KEYS = ("class_names", "ids", "groups", "domains", "clusters", "sizes", "notices", "skipped")


def from_arrays(
    arrays: Mapping[str, Any], part: str | None, where: str, bits: int | None = None, *, labels: bool = True
) -> ImageSet:
    """Make a set of the arrays with known names; a notice lists the others.

    Args:
        arrays: By name; only what is used is looked up.
        part: ``"train"`` takes ``train_images`` or ``x_train``; None takes the names as they are.
        where: What holds the arrays, for messages.
        bits: How many bits of 16-bit images are used; None takes all.
        labels: False leaves the labels unread.
    """
    keys = {key: key for key in arrays} if part is None else _keys_of_part(arrays, part, where)
    image_key = next((key for key in IMAGE_KEYS if key in keys), None)
    if image_key is None:
        parts = sorted(parts_of_arrays(arrays))
        some = choose(parts, "train") or parts[0] if parts else ""
        fix = f"choose part={some!r} (there are: {', '.join(parts)}), or name it in the path: FILE:{some}"
        raise DataError(
            f"{where} has no 'images' or 'x' but {', '.join(sorted(arrays)) or 'nothing'}; "
            + (fix if parts else "name them 'images' and 'labels'")
        )
    label_key = next((key for key in LABEL_KEYS if key in keys), None)
    known = {image_key, label_key, *_OTHER_KEYS}
    unused = sorted(keys[key] for key in keys if key not in known)
    found = {key: arrays[keys[key]] for key in _OTHER_KEYS if key in keys}
    try:
        source, notices = as_source(arrays[keys[image_key]], bits)
        if unused:
            notices.append(f"arrays of {where} that were not used: {', '.join(unused)}")
        column = arrays[keys[label_key]] if labels and label_key is not None else None
        if column is not None and "class_names" not in found:
            refuse_missing("labels", column)
        for name in ("groups", "domains"):
            if name in found:
                refuse_missing(name, found[name])
        cells = ImageSet(
            source,
            column,
            class_names=np.atleast_1d(found["class_names"]).tolist() if "class_names" in found else None,
            ids=found.get("ids"),
            groups=found.get("groups"),
            domains=found.get("domains"),
            clusters=found.get("clusters"),
            sizes=found.get("sizes"),
            notices=[*(str(notice) for notice in found.get("notices", ())), *notices],
            skipped=[Skipped(str(name), str(reason)) for name, reason in _pairs(found.get("skipped", ()))],
        )
        alone = part is None or part_kind(part) == "train"  # another part need not have every class
        gaps = number_gaps(cells) if alone and "class_names" not in found else []
        return cells.replace(notices=[*cells.notices, *gaps]) if gaps else cells
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(where) else f"{where}: {text}") from None


def number_gaps(cells: ImageSet) -> list[str]:
    """Name the numbers that no label has, where classes are known by their numbers only; in one line.

    Args:
        cells: Labels, if any, without class names.

    Examples:
        >>> number_gaps(ImageSet(np.zeros((2, 8, 8, 3), np.uint8), [1, 2]))
        ['no image has the label 0: if labels count from 1, pass labels - 1; else name the 3 classes with class_names']
    """
    counts = list(cells.counts().values())
    if cells.labels is None or not len(cells) or cells.class_names != tuple(map(str, range(len(counts)))):
        return []
    none = [number for number, count in enumerate(counts) if not count]
    if not none:
        return []
    some = ", ".join(map(str, none[:4])) + (f" and {len(none) - 4} more" if len(none) > 4 else "")
    fix = (
        "if labels count from 1, pass labels - 1"
        if none == [0]
        else f"if {len(counts) - 1} stands for no label, leave these images out; if numbers were left out, pass "
        "np.unique(labels, return_inverse=True)[1]"
    )
    return [f"no image has the label {some}: {fix}; else name the {len(counts)} classes with class_names"]


def _pairs(rows: Any) -> list[Any]:
    table = np.asarray(rows)
    if table.size and (table.ndim != 2 or table.shape[1] != 2):
        raise DataError(f"skipped has shape {table.shape}; expected a file and a reason in each row")
    return list(table.tolist())


def parts_of_arrays(arrays: Iterable[str]) -> dict[str, str]:
    """Find the parts of a file: ``{"train": "train_images"}``, or from ``x_train``."""
    found: dict[str, str] = {}
    for key in arrays:
        before, _, after = key.rpartition("_")
        if after in IMAGE_KEYS and before:
            found.setdefault(before, key)
        first, _, rest = key.partition("_")
        if first in IMAGE_KEYS and rest:
            found.setdefault(rest, key)
    return found


def _keys_of_part(arrays: Iterable[str], part: str, where: str) -> dict[str, str]:
    parts = parts_of_arrays(arrays)
    found = part if part in parts else choose(sorted(parts), part)
    if found is None:
        raise unknown(f"part of {where} named", part, parts)
    part = found
    keys = {"class_names": "class_names"} if "class_names" in arrays else {}
    keys |= {key.removeprefix(f"{part}_"): key for key in arrays if key.startswith(f"{part}_")}
    keys |= {key.removesuffix(f"_{part}"): key for key in arrays if key.endswith(f"_{part}")}
    return keys
