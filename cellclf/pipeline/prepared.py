"""Prepared: a set that is ready to be trained on, and the part of each of its images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.selection import Selection
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts
from cellclf.errors import CellclfWarning
from cellclf.utils.csv_tables import csv_text


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A set that is ready to be trained on, and what each step removed.

    Args:
        before: The given set.
        after: The kept images of it.
        parts: The split of the set without duplicates.
        train: What is trained on: without outliers, balanced, expanded.
        val: What choices are made on: without outliers.
        removals: Step -> what it removed and why.
        seconds: Step -> how long it took.
        given: Which of val and test were given with the set, and so left as they are.
        cut: What was done with the cut, in a line; "" for one of the job's own.
    """

    before: ImageSet
    after: ImageSet
    parts: Parts
    train: ImageSet
    val: ImageSet
    removals: Mapping[str, Selection]
    seconds: dict[str, float]
    given: tuple[str, ...] = ()
    cut: str = ""


def split_table(prepared: Prepared) -> str:
    """List the part of every given image: CSV of id, part and reason."""
    part = {id_: "train" for id_ in prepared.train.ids.tolist()}
    part |= {id_: "val" for id_ in prepared.val.ids.tolist()}
    part |= {id_: "test" for id_ in prepared.parts.test.ids.tolist()}
    reasons: dict[str, str] = {}
    for name, selection in prepared.removals.items():
        removed = ~selection.keep
        each = zip(selection.ids[removed].tolist(), selection.reasons[removed].tolist(), strict=True)
        reasons |= {id_: f"{name}: {reason}" for id_, reason in each}
    rows = [
        {"id": id_, "part": part.get(id_, "dropped"), "reason": reasons.get(id_, "")}
        for id_ in prepared.before.ids.tolist()
    ]
    rows += [{"id": one.id, "part": "skipped", "reason": one.reason} for one in prepared.before.skipped]
    return csv_text(["id", "part", "reason"], rows)


def count_copies(prepared: Prepared, tests: Mapping[str, ImageSet], dedup: Dedup) -> dict[str, int]:
    """Count the images of each set that are copies of training or validation images, and warn where there are any.

    Args:
        prepared: Holds the training and the validation images.
        tests: Sets to report on, by name.
        dedup: Finds the copies.

    Returns:
        Name of a set -> images. The split's own test part has none: copies were removed before the split. Of a test
        part that is given, copies were removed from training; those of validation images are left, and counted here.
    """
    seen = {*prepared.train.ids.tolist(), *prepared.val.ids.tolist()}
    cells = prepared.after.subset([id_ in seen for id_ in prepared.after.ids.tolist()])
    counts = {"test": 0} if len(prepared.parts.test) else {}
    if "test" in prepared.given:
        tests = {"test": prepared.parts.test, **tests}
    for name, test in tests.items():
        counts[name] = len(np.unique(dedup.find(cells, against=test).pairs.second))
        if counts[name]:
            warnings.warn(
                f"the set {name!r}: {counts[name]:,} of its {len(test):,} images "
                f"{'is a copy' if counts[name] == 1 else 'are copies'} of training or "
                "validation images, which makes its scores too high; `cellclf leaks` lists them",
                CellclfWarning,
                stacklevel=3,
            )
    return counts
