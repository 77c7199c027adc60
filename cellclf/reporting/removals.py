"""What a selector removed, as lines of images: the copies of one image, or all images of one kind of reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.pages.template import count, plain, thumbnails

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet

Rows = NDArray[np.intp]

MEANINGS = {
    "conflicting labels": "Copies of one image with different labels. Which one is right is unknown: all are removed.",
    "too many copies": "More copies than anybody takes of a cell, unlike other images of the class: a placeholder or a "
    "non-cell image. All are removed.",
    "shared background": "Different cells on one and the same background. All are removed.",
    "identical": "The same image, pixel by pixel. One is kept.",
    "re-encoded": "The same image, saved again or made brighter or darker. One is kept.",
    "turned": "The same image, flipped or turned. One is kept.",
    "augmented": "The same image, turned by some degrees, shifted, zoomed, cropped or brightened. The least altered is "
    "kept.",
    "foreground": "The same cell on another background. One is kept.",
    "copy in val": "Copies of validation images. They are removed from training, and the validation images are kept.",
    "copy in test": "Copies of test images. They are removed from training, and the test images are kept.",
    "group in val": "Of patients or slides of which other images are in validation. They are removed from training.",
    "group in test": "Of patients or slides of which other images are in the test. They are removed from training.",
    "outlier": "Unlike the other images: perhaps a non-cell image, or an unusable one.",
    "surplus": "Nothing is wrong with them: chosen at random from a class that has more images than the others.",
}
"""Kinds of reasons in plain words; a kind that is not here is shown without an explanation."""


@dataclass(frozen=True, eq=False)
class Line:
    """Images that are shown side by side.

    Args:
        kind: Why they are removed: the part of a reason before the colon.
        rows: Their positions in the searched set; kept ones come first.
        words: Text above them; "" if the kind is enough.
    """

    kind: str
    rows: Rows
    words: str


def kinds(selection: Selection) -> dict[str, Rows]:
    """Sort removed images by the kind of reason, the most frequent first; within a kind, the highest score first.

    Examples:
        >>> from cellclf.cleaning.selection import Selection
        >>> found = Selection(np.array(["a", "b", "c"]), np.array([True, False, False]), np.array(["", "x: 1", "x: 2"]))
        >>> {kind: rows.tolist() for kind, rows in kinds(found).items()}
        {'x': [1, 2]}
    """
    removed = np.flatnonzero(~selection.keep)
    if (scores := scores_of(selection)) is not None:
        removed = removed[np.argsort(-scores[removed], kind="stable")]
    named = np.array([str(selection.reasons[row]).partition(":")[0] for row in removed])
    order = [kind for kind, _ in Counter(named.tolist()).most_common()]
    return {kind: removed[named == kind] for kind in order}


def scores_of(selection: Selection) -> NDArray[np.float64] | None:
    """Give the (N,) outlier scores of a selection that has them."""
    scores = getattr(selection, "scores", None)
    return None if scores is None else np.asarray(scores, np.float64)


def lines(selection: Selection) -> dict[str, list[Line]]:
    """Give every line of each kind: a group of copies each, the largest first; or all of one kind on one line."""
    found: dict[str, list[Line]] = {kind: [] for kind in kinds(selection)}
    for group in getattr(selection, "groups", ()):
        rows = np.asarray(group.members, np.intp)
        removed = rows[~selection.keep[rows]]
        if len(removed):
            reasons = (str(reason).partition(":")[0] for reason in selection.reasons[removed])
            kind = Counter(reasons).most_common(1)[0][0]
            kept = rows[selection.keep[rows]]
            found.setdefault(kind, []).append(Line(kind, np.concatenate([kept, removed]), _words(selection, rows)))
    for kind, rows in kinds(selection).items():
        grouped = [row for every in found.values() for line in every for row in line.rows.tolist()]
        alone = rows[~np.isin(rows, grouped)]
        if len(alone):
            found[kind].append(Line(kind, alone, ""))
    return {kind: every for kind, every in found.items() if every}


def _words(selection: Selection, rows: Rows) -> str:
    keep = selection.keep[rows]
    text = f"{count(len(rows), 'image')}: "
    text += "all removed" if not keep.any() else f"{keep.sum():,} kept"
    cells = selection.cells
    if cells is None or cells.labels is None:
        return text
    named = Counter(plain(cells.class_names[label]) for label in cells.labels[rows])
    if len(named) == 1:
        return f"{text}; labelled {next(iter(named))}"
    return f"{text}; labelled " + ", ".join(f"{name} ({n:,})" for name, n in named.most_common(10))


def searched(selection: Selection, fallback: ImageSet | None = None) -> ImageSet | None:
    """Give the set that was searched: the one that the selection holds, or the fallback if it has the same ids."""
    for cells in (selection.cells, fallback):
        if cells is not None and np.array_equal(cells.ids, selection.ids):
            return cells
    return None


def strip(selection: Selection, cells: ImageSet, rows: Rows) -> list[dict[str, str]]:
    """Make the thumbnails of one line: class and outlier score as caption, frames for removed and kept images."""
    scores, captions = scores_of(selection), []
    for row in rows.tolist():
        name = "" if cells.labels is None else plain(cells.class_names[cells.labels[row]])
        captions.append(name if scores is None else f"{name} ({scores[row]:.2f})".strip())
    return thumbnails(cells, rows.tolist(), captions, ["kept" if selection.keep[row] else "removed" for row in rows])


def removal_view(name: str, selection: Selection, fallback: ImageSet | None = None) -> dict[str, Any]:
    """Describe what a step removed, for the report: some lines of each kind, some images of each line.

    Args:
        name: The step.
        selection: Its result.
        fallback: The searched set, if the selection does not hold it.
    """
    cells = searched(selection, fallback)
    shown: list[dict[str, Any]] = []
    found = lines(selection)
    for kind, rows in kinds(selection).items():
        every = found.get(kind, [])
        groups = sum(bool(line.words) for line in every)
        each = 7 if groups else 24
        shown.append(
            {
                "kind": kind,
                "meaning": MEANINGS.get(kind, ""),
                "count": len(rows),
                "groups": groups,
                "lines": []
                if cells is None
                else [
                    {
                        "words": line.words,
                        "images": strip(selection, cells, _spread(selection, line.rows, each)),
                        "more": max(0, len(line.rows) - each),
                    }
                    for line in every[:4]
                ],
            }
        )
    return {
        "name": name,
        "before": len(selection),
        "removed": selection.removed,
        "kinds": shown,
        "lost": selection.lost(),
        "by_class": [] if cells is None or cells.labels is None else _by_class(selection, cells),
        "grouped": any(kind["groups"] for kind in shown),
        "scored": scores_of(selection) is not None,
    }


def _spread(selection: Selection, rows: Rows, most: int) -> Rows:
    """Take some: the highest scores where there are any, else evenly, so that every class is shown."""
    if scores_of(selection) is not None or len(rows) <= most:
        return rows[:most]
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]


def _by_class(selection: Selection, cells: ImageSet) -> list[dict[str, Any]]:
    assert cells.labels is not None
    before = np.bincount(cells.labels, minlength=cells.num_classes)
    removed = np.bincount(cells.labels[~selection.keep], minlength=cells.num_classes)
    share = removed / np.maximum(1, before)
    return [
        {"name": name, "before": int(before[k]), "removed": int(removed[k]), "share": float(share[k])}
        for k, name in enumerate(cells.class_names)
    ]
