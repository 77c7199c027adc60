"""Prepared: a set that is ready to be trained on, and where each of its images went."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.selection import Selection
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts
from cellclf.errors import CellclfWarning


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A set that is ready to be trained on, and how it came to be.

    Args:
        before: What came in.
        after: What stayed of it.
        parts: The split of what was no duplicate.
        train: What is trained on: without outliers, balanced, expanded.
        val: What choices are made on: without outliers.
        removals: Step -> what it took away and why.
        seconds: Step -> how long it took.
    """

    before: ImageSet
    after: ImageSet
    parts: Parts
    train: ImageSet
    val: ImageSet
    removals: Mapping[str, Selection]
    seconds: dict[str, float]


def split_table(prepared: Prepared) -> str:
    """Tell for every image that came in where it went: CSV of id, part and reason."""
    part = {id_: "train" for id_ in prepared.train.ids.tolist()}
    part |= {id_: "val" for id_ in prepared.val.ids.tolist()}
    part |= {id_: "test" for id_ in prepared.parts.test.ids.tolist()}
    reasons: dict[str, str] = {}
    for name, selection in prepared.removals.items():
        gone = ~selection.keep
        why = zip(selection.ids[gone].tolist(), selection.reasons[gone].tolist(), strict=True)
        reasons |= {id_: f"{name}: {reason}" for id_, reason in why}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "part", "reason"])
    for id_ in prepared.before.ids.tolist():
        writer.writerow([id_, part.get(id_, "dropped"), reasons.get(id_, "")])
    for skipped in prepared.before.skipped:
        writer.writerow([skipped.id, "skipped", skipped.reason])
    return text.getvalue()


def count_copies(prepared: Prepared, tests: Mapping[str, ImageSet], dedup: Dedup) -> dict[str, int]:
    """Count in each set the images that are copies of images that a training saw, and warn where there are any.

    Args:
        prepared: What the training sees: its ``train`` and ``val``.
        tests: Sets to report on, by name.
        dedup: What a copy is.

    Returns:
        Name of a set -> images. The split's own test part has none: copies went before it was cut.
    """
    seen = {*prepared.train.ids.tolist(), *prepared.val.ids.tolist()}
    cells = prepared.after.subset([id_ in seen for id_ in prepared.after.ids.tolist()])
    counts = {"test": 0} if len(prepared.parts.test) else {}
    for name, test in tests.items():
        counts[name] = len(np.unique(dedup.find(cells, against=test).pairs.second))
        if counts[name]:
            warnings.warn(
                f"the set {name!r}: {counts[name]:,} of its {len(test):,} images are copies of training or "
                "validation images, which flatters its figures; `cellclf leaks` lists them",
                CellclfWarning,
                stacklevel=3,
            )
    return counts
