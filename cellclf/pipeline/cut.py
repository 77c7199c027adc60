"""The cut of a job: given, then taken as it is, and only training gives images up; or one of the job's own."""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.losses import LossLimit
from cellclf.cleaning.selection import Selection
from cellclf.data.concat import joined
from cellclf.data.cuts import NAMES, given_names, given_parts, load_parts, whole
from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts, Split
from cellclf.errors import DataError, OptionError
from cellclf.utils.parameters import check_value

CutOf: TypeAlias = Literal["given", "own"]
"""``"given"`` takes the cut that a source gives, where it gives one; ``"own"`` makes one of all its images."""

_REMEDY = "use other training images, or make an own cut of all (cut='own', --cut own)"


def read_cut(cells: Cells | Parts, val: Cells | None = None, cut: CutOf = "given") -> ImageSet | Parts:
    """Give what a job is done on: a set that the job cuts itself, or parts that are given.

    Args:
        cells: A set, a source of one or of several parts, or ``Parts``.
        val: A set that is given for validation.
        cut: Whether a cut that is given is taken.

    Raises:
        OptionError: ``val`` beside ``cut="own"``.
        DataError: Nothing that holds images, or parts that do not fit together.
    """
    check_value(cut, CutOf, "cut")
    if cut == "own" and val is not None:
        raise OptionError("cut='own' makes a cut, and val gives one; expected one of them")
    if not isinstance(cells, Parts | ImageSet) and given_names(cells):
        cells = load_parts(cells)
    if isinstance(cells, Parts):
        if cut == "own":
            return whole(given_parts(cells.train, cells.val, cells.test))
        return given_parts(cells.train, cells.val if val is None else as_cells(val, what="val"), cells.test)
    cells = as_cells(cells)
    return cells if val is None else given_parts(cells, as_cells(val, what="val"))


def given_of(cells: ImageSet | Parts) -> tuple[str, ...]:
    """Name the parts that are given beside the training part."""
    return () if isinstance(cells, ImageSet) else tuple(name for name in NAMES[1:] if len(getattr(cells, name)))


def describe(cells: Parts, split: Split) -> str:
    """State in a line which cut is taken, and what ``split`` adds to it.

    Examples:
        >>> from cellclf.data import make_cells
        >>> describe(Split(val=0.25).apply(make_cells(40, size=32)), Split())
        'the cut that the source gives: train 30, val 10; there is no test'
    """
    counts = ", ".join(f"{name} {len(part):,}" for name in NAMES if len(part := getattr(cells, name)))
    cut = [name for name in NAMES[1:] if not len(getattr(cells, name)) and getattr(split, name)]
    text = f"the cut that the source gives: {counts}"
    if cut:
        text += f"; {' and '.join(cut)} {'are' if len(cut) > 1 else 'is'} cut off the training part"
    return text if len(cells.test) or "test" in cut else f"{text}; there is no test"


def completed(cells: Parts, split: Split) -> Parts:
    """Cut off the training part what is not given; parts that are given are left as they are."""
    own = copy.copy(split)
    own.val = 0.0 if len(cells.val) else split.val
    own.test = 0.0 if len(cells.test) else split.test
    if not own.val and not own.test:
        return cells
    cut = own.apply(cells.train)
    return Parts(cut.train, cells.val if len(cells.val) else cut.val, cells.test if len(cells.test) else cut.test)


def copies_across(cells: Parts, dedup: Dedup, clusters: NDArray[np.int64]) -> Selection:
    """Find the training images that are copies of validation or test images.

    Args:
        cells: The cut that is given.
        dedup: Finds the copies.
        clusters: (N,) of the training part: duplicates of a copy are copies, too, also those that differ so much from
            the image in the other part that the search would not find them.
    """
    reasons = np.full(len(cells.train), "", object)
    held = [(name, part) for name in NAMES[1:] if len(part := getattr(cells, name))]
    if held:
        found = dedup.find(cells.train, against=joined([part for _, part in held], [name for name, _ in held]))
        name_of = np.repeat([name for name, _ in held], [len(part) for _, part in held])
        part_of = dict(zip(found.pairs.first[::-1].tolist(), name_of[found.pairs.second[::-1]].tolist(), strict=True))
        cluster_of = {int(clusters[row]): name for row, name in part_of.items()}
        for row, cluster in enumerate(clusters.tolist()):
            if row in part_of:
                reasons[row] = f"copy in {part_of[row]}: {found.reasons[row]}"
            elif cluster in cluster_of:
                reasons[row] = f"copy in {cluster_of[cluster]}: duplicate of a copy"
    return _selection(cells.train, reasons)


def groups_across(train: ImageSet, cells: Parts) -> Selection:
    """Find the training images of patients or slides of which other images are in validation or test."""
    reasons = np.full(len(train), "", object)
    for name in ("val", "test"):
        part = getattr(cells, name)
        if train.groups is None or part.groups is None or not len(part):
            continue
        for row in np.flatnonzero(np.isin(train.groups, part.groups)).tolist():
            reasons[row] = reasons[row] or f"group in {name}: {train.groups[row]}"
    found = _selection(train, reasons)
    if len(train) and not found.keep.any():
        raise DataError(
            f"every patient or slide of the {len(train):,} training images is in val or test, too, so that nothing is "
            f"left to train on; {_REMEDY}"
        )
    return found


def _selection(train: ImageSet, reasons: NDArray[Any]) -> Selection:
    texts = np.asarray(reasons, np.str_)
    return Selection(train.ids, texts == "", texts, cells=train, limit=LossLimit(None, remedy=_REMEDY))
