"""The laboratory that a continued run comes from: its images in the split, and what the training lost there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cellclf.data.classes import match_labels
from cellclf.data.cuts import whole
from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts, Split, components
from cellclf.errors import CellclfError, CellclfWarning, DataError, OptionError
from cellclf.evaluation.forgetting import Forgetting, measure_forgetting
from cellclf.pipeline.source import read_source
from cellclf.runs.run import Run
from cellclf.training.start import Parent
from cellclf.utils.spreadsheet import read_rows, restored

_DOMAINS = ("new", "home")
_PARTS = ("train", "val", "test")
_PASS = "pass labelled images of that laboratory: Pipeline.run(home=...), on the command line `cellclf run NEW OLD`"


def part_of(folder: Path | None) -> dict[str, str]:
    """Read which image was in which part of a run: id -> train, val or test; empty if it is not known."""
    path = None if folder is None else folder / "split.csv"
    if path is None or not path.exists():
        return {}
    try:
        (head, *rows), _ = read_rows(path, "columns id and part")
        id_, part = head.index("id"), head.index("part")
        return {restored(row[id_]): row[part] for row in rows if row[part] in _PARTS}
    except (DataError, ValueError, IndexError):  # saved by another program; nothing needs it to train
        return {}


def split_beside(split: Split, cells: ImageSet, known: Mapping[str, str]) -> Parts:
    """Split a set of which some images have a part already.

    Images that hang together with one of them (a patient, a duplicate) are in its part, and in the strictest one where
    they hang together with several: test before val before train.

    Args:
        split: Splits the others.
        cells: The whole set.
        known: Id -> "train", "val" or "test"; images of a test part are in val where the split makes none.

    Examples:
        >>> cells = ImageSet(np.zeros((8, 8, 8, 3), np.uint8), [0, 1] * 4)
        >>> parts = split_beside(Split(val=0.5), cells, {"0": "train", "1": "train", "2": "train", "3": "test"})
        >>> "3" in parts.val.ids, "0" in parts.train.ids, len(parts.val)
        (True, True, 3)
    """
    if not known:
        return split.apply(cells)
    places = {"train": 0, "val": 1, "test": 2 if split.test else 1}
    part = np.asarray([places[known[id_]] if id_ in known else -1 for id_ in cells.ids.tolist()], np.int64)
    component = components(cells)
    strictest = np.full(int(component.max(initial=0)) + 1, -1)
    np.maximum.at(strictest, component, part)
    part = np.where(part < 0, strictest[component], part)
    rest = np.flatnonzero(part < 0)
    if len(rest):
        others = split.apply(cells.subset(rest))
        place = {id_: k for k, name in enumerate(_PARTS) for id_ in getattr(others, name).ids.tolist()}
        part[rest] = [place[id_] for id_ in cells.ids[rest].tolist()]
    return Parts(*(cells.subset(part == k) for k in range(3)))


@dataclass(frozen=True, eq=False)
class Joined:
    """A set with the images of the run's own laboratory mixed in.

    Args:
        given: All images, those of the laboratory last, where its domain is "home"; or the parts of a cut that is
            given.
        home: Ids of those of the laboratory.
        parts: Id -> the part that an image had in the run's own training, where that is known.
    """

    given: ImageSet | Parts
    home: frozenset[str] = frozenset()
    parts: Mapping[str, str] = field(default_factory=dict)


def join_home(parent: Parent, given: ImageSet | Parts, home: Cells | None) -> Joined:
    """Give what a run is continued on: at its size, with its classes, and with images of its own laboratory.

    Args:
        parent: The run.
        given: New images, or the parts of a cut that is given.
        home: Labelled images of its own laboratory; None mixes none in.

    Raises:
        OptionError: ``home`` beside a cut that is given.
        DataError: Images of its own laboratory without labels.
    """
    if isinstance(given, Parts):
        if home is not None:
            raise OptionError("home= and a cut that is given; expected images in one set: cut='own' (--cut own)")
        return Joined(Parts(*parent.fitted(given.train, given.val, given.test)))
    if home is None:
        return Joined(parent.fitted(given)[0])
    cells, own = parent.fitted(given, as_cells(home, what="home"))
    if own.labels is None or not len(own):
        raise DataError(f"home holds {len(own)} images; expected some, with labels")
    both = ImageSet.concat([cells, own], names=_DOMAINS)
    ids = both.ids[len(cells) :].tolist()
    earlier = part_of(parent.folder)
    parts = {new: earlier[old] for old, new in zip(own.ids.tolist(), ids, strict=True) if old in earlier}
    if not parts:
        warnings.warn(
            f"{parent} does not say which of the home images it was trained on (its split.csv has none of their ids), "
            "so its score on them before this training is too high",
            CellclfWarning,
            stacklevel=4,
        )
    return Joined(both, frozenset(ids), parts)


@dataclass(frozen=True, eq=False)
class HomeCells:
    """Images of the laboratory that a run comes from, which it was not trained on.

    Args:
        cells: With labels in the run's classes; None if there are none.
        words: What they are; or why there are none.
    """

    cells: ImageSet | None
    words: str


def home_cells(parent: Parent, joined: Joined, val: ImageSet) -> HomeCells:
    """Give validation images of the laboratory that a run comes from.

    Args:
        parent: The run; without images of its laboratory, its own validation images are read from where its manifest
            says that they are, unless they have changed since.
        joined: What is trained on.
        val: The validation images of the training that continues it.
    """
    if joined.home:
        own = val.subset([id_ in joined.home for id_ in val.ids.tolist()])
        if not len(own):
            return HomeCells(None, "none of the home images is a validation image")
        return HomeCells(own, "validation images of home")
    data = (parent.manifest.get("data") or {}).get("val") or {}
    source = parent.manifest.get("source") or {}
    try:
        if "train" in source:
            found = whole(read_source(source["val"]))
        else:
            parts = part_of(parent.folder)
            if not parts:
                return HomeCells(None, f"{parent} does not name its validation images; {_PASS}")
            sources = [source, *([source["home"]] if "home" in source else [])]
            sets = parent.fitted(*(whole(read_source(one)) for one in sources))
            found = sets[0] if len(sets) == 1 else ImageSet.concat(sets, names=_DOMAINS)
            found = found.subset(np.asarray([parts.get(id_) == "val" for id_ in found.ids.tolist()], bool))
        (found,) = parent.fitted(found)
        if len(found) and found.fingerprint() == data.get("sha256"):
            return HomeCells(found, f"validation images of {parent}")
    except (CellclfError, OSError, KeyError, TypeError) as error:  # of another version, on another machine
        return HomeCells(None, f"the images of {parent} cannot be read ({str(error)[:120]}); {_PASS}")
    return HomeCells(None, f"the images of {parent} have changed since it was trained; {_PASS}")


def measure_home(parent: Parent, run: Run, home: HomeCells, *, show: bool | None = None) -> Forgetting:
    """Measure what a training lost in the laboratory that its run comes from.

    Args:
        parent: The run as it was.
        run: The run that continues it.
        home: Images of that laboratory.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
    """
    if home.cells is None:
        return Forgetting(images=home.words)
    truth = match_labels(home.cells, run.class_names)
    before, after = (one.predict_proba(home.cells, show=show) for one in (parent.load(), run))
    return measure_forgetting(truth, before, after, run.class_names, images=home.words, groups=home.cells.groups)
