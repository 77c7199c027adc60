"""How the images of a run can be read again: plain data of a manifest in, a set or a cut out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.data.concat import joined
from cellclf.data.cuts import NAMES, given_names, given_parts, load_parts, whole
from cellclf.data.image_set import ImageSet
from cellclf.data.loaders import load
from cellclf.data.split import Parts
from cellclf.errors import DataError, RunFolderError

_READING = ("part", "class_names", "size", "columns", "root", "group_from", "margin", "fit", "bits", "pages")


def read_source(source: Mapping[str, Any]) -> ImageSet | Parts:
    """Read the images that a job is done on.

    Args:
        source: ``src`` and arguments of ``load``; or ``sources``, a list of such tables, each with a ``name``; or
            ``made``, the arguments of ``make_cells``. ``cut`` is "given" or "own" where a source may give a cut,
            ``val`` a further table.

    Returns:
        A set; or the parts of a cut that is given.

    Raises:
        RunFolderError: It does not say where the images are.
        DataError: Nothing readable, or a cut that only some of several sources give.
    """
    if "made" in source:
        from cellclf.data.generated import make_cells

        return make_cells(**source["made"])
    several = source.get("sources")
    if not several and "src" not in source:
        raise RunFolderError("the source of the images is not named")
    cut = source.get("cut")
    found = _several(several, cut) if several else _one(source, cut)
    if (val := source.get("val")) is None:
        return found
    parts = found if isinstance(found, Parts) else Parts(found, found.subset([]), found.subset([]))
    return given_parts(parts.train, load(val["src"], **_reading(val)), parts.test)


def source_of(cells: Any, val: Any, cut: str) -> dict[str, Any]:
    """Describe what a job was given, where that was paths; nothing for images in memory."""
    given = [cells] if val is None else [cells, val]
    if not all(isinstance(one, str | Path) for one in given):
        return {}
    paths = [os.path.abspath(Path(one).expanduser()) for one in given]
    return {"src": paths[0], "cut": cut} | ({"val": {"src": paths[1]}} if val is not None else {})


def _one(source: Mapping[str, Any], cut: str | None) -> ImageSet | Parts:
    src, reading = source["src"], _reading(source)
    if cut is None or not given_names(src, reading):
        return load(src, **reading)
    parts = load_parts(src, **reading)
    return whole(parts) if cut == "own" else parts


def _several(sources: Sequence[Mapping[str, Any]], cut: str | None) -> ImageSet | Parts:
    """Read several sources as one set, or part by part, at the size of the first."""
    names = [str(one["name"]) for one in sources]
    found: list[ImageSet | Parts] = []
    for one in sources:
        first = None if not found else whole(found[0]).image_shape[:2]
        arrays = Path(str(one["src"])).suffix.lower() in (".npz", ".npy")  # resized as they are read
        found.append(_one(one if first is None or arrays else {"size": first, **one}, cut))
    sets = [one for one in found if isinstance(one, ImageSet)]
    if len(sets) == len(found):
        return joined(sets, names, sources=True)
    if sets:
        giving = next(name for name, one in zip(names, found, strict=True) if isinstance(one, Parts))
        other = next(name for name, one in zip(names, found, strict=True) if isinstance(one, ImageSet))
        raise DataError(
            f"{giving} gives a cut and {other} gives none; expected one of each, a part of {giving} by its name, such "
            "as SRC:train, or an own cut of all (--cut own)"
        )
    parts: dict[str, ImageSet | None] = {}
    for part in NAMES:
        here = [
            (name, _apart(own, name)) for name, one in zip(names, found, strict=True) if len(own := getattr(one, part))
        ]
        parts[part] = joined([one for _, one in here], [name for name, _ in here], sources=True) if here else None
    train = parts.pop("train")
    assert train is not None  # given_names asks for one
    return given_parts(train, **parts)


def _apart(cells: ImageSet, name: str) -> ImageSet:
    """Keep the patients of a source apart from those of others, in all parts alike."""
    return cells if cells.groups is None else cells.replace(groups=[f"{name}/{group}" for group in cells.groups])


def _reading(source: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: source[name] for name in _READING if source.get(name) is not None}
    return found | ({"size": tuple(found["size"])} if "size" in found else {})
