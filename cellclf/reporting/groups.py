"""What a selector removed, in groups that belong on one line: duplicates of each other, or one kind of reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.reporting.template import count, pictures, plain

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that stand on one line of a gallery.

    Args:
        kind: Why at least one of them goes: the part of a reason before the colon.
        rows: Their places in the searched set; what stays comes first.
        words: What the line says.
    """

    kind: str
    rows: NDArray[np.intp]
    words: str


def kinds(selection: Selection) -> dict[str, NDArray[np.intp]]:
    """Sort what goes by the kind of its reason, the most frequent kind first.

    Example:
        >>> from cellclf.cleaning.selection import Selection
        >>> found = Selection(np.array(["a", "b", "c"]), np.array([True, False, False]), np.array(["", "x: 1", "x: 2"]))
        >>> {kind: rows.tolist() for kind, rows in kinds(found).items()}
        {'x': [1, 2]}
    """
    gone = np.flatnonzero(~selection.keep)
    named = [str(selection.reasons[row]).partition(":")[0] for row in gone]
    order = [kind for kind, _ in Counter(named).most_common()]
    return {kind: gone[[name == kind for name in named]] for kind in order}


def groups_in(selection: Selection) -> list[Group]:
    """Give the groups of a duplicate search, the largest first; other selections have none."""
    members = getattr(selection, "groups", None)
    if not members:
        return []
    found = []
    for rows in (np.asarray(group, np.intp) for group in members):
        keep = selection.keep[rows]
        if keep.all():
            continue
        reasons = [str(reason) for reason in selection.reasons[rows[~keep]]]
        kind = Counter(reason.partition(":")[0] for reason in reasons).most_common(1)[0][0]
        found.append(Group(kind, np.concatenate([rows[keep], rows[~keep]]), _words(selection, rows)))
    return sorted(found, key=lambda group: -len(group.rows))


def _words(selection: Selection, rows: NDArray[np.intp]) -> str:
    keep = selection.keep[rows]
    text = f"{count(len(rows), 'picture')}: "
    text += (
        "all go" if not keep.any() else f"{count(int(keep.sum()))} stays" if keep.sum() == 1 else f"{keep.sum()} stay"
    )
    cells = selection.cells
    if cells is not None and cells.labels is not None:
        named = Counter(plain(cells.class_names[label]) for label in cells.labels[rows])
        if len(named) > 1:
            text += "; labelled " + ", ".join(f"{name} ({n:,})" for name, n in named.most_common(8))
        else:
            text += f"; all labelled {next(iter(named))}"
    return text


def strip(selection: Selection, cells: ImageSet, rows: NDArray[np.intp]) -> list[dict[str, str]]:
    """Make the thumbnails of one line: class as caption, a frame for what goes and what stays."""
    labels = cells.labels
    return pictures(
        cells,
        rows.tolist(),
        [_caption(selection, "" if labels is None else plain(cells.class_names[labels[row]]), row) for row in rows],
        ["stays" if selection.keep[row] else "gone" for row in rows],
    )


def _caption(selection: Selection, name: str, row: int) -> str:
    scores = getattr(selection, "scores", None)
    return name if scores is None else f"{name} ({float(scores[row]):.2f})".strip()


def ordered(selection: Selection, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Put the oddest first where a selection has scores; else leave the order."""
    scores = getattr(selection, "scores", None)
    return rows if scores is None else rows[np.argsort(-np.asarray(scores)[rows], kind="stable")]


def removal_view(name: str, selection: Selection, fallback: ImageSet | None) -> dict[str, Any]:
    """Say what a step removed, for the report: some groups of each kind, or some pictures of each kind.

    Args:
        name: What the step is called.
        selection: What it gave.
        fallback: Where the pictures are if the selection does not know them.
    """
    cells = selection.cells if selection.cells is not None else fallback
    if cells is not None and not np.array_equal(cells.ids, selection.ids):
        cells = None
    groups = groups_in(selection)
    shown: list[dict[str, Any]] = []
    for kind, rows in kinds(selection).items():
        of_kind = [group for group in groups if group.kind == kind]
        lines = []
        if cells is not None and of_kind:
            lines = [
                {
                    "words": group.words,
                    "pictures": strip(selection, cells, group.rows[:6]),
                    "more": max(0, len(group.rows) - 6),
                }
                for group in of_kind[:4]
            ]
        elif cells is not None:
            lines = [
                {
                    "words": "",
                    "pictures": strip(selection, cells, ordered(selection, rows)[:24]),
                    "more": max(0, len(rows) - 24),
                }
            ]
        shown.append({"kind": kind, "count": len(rows), "groups": len(of_kind), "lines": lines})
    return {
        "name": name,
        "before": len(selection),
        "gone": selection.dropped,
        "kinds": shown,
        "by_class": [] if cells is None or cells.labels is None else _by_class(selection, cells),
        "scored": getattr(selection, "scores", None) is not None,
    }


def _by_class(selection: Selection, cells: ImageSet) -> list[dict[str, Any]]:
    assert cells.labels is not None
    before = np.bincount(cells.labels, minlength=cells.num_classes)
    gone = np.bincount(cells.labels[~selection.keep], minlength=cells.num_classes)
    return [
        {"name": name, "before": int(before[k]), "gone": int(gone[k]), "share": float(gone[k] / max(1, before[k]))}
        for k, name in enumerate(cells.class_names)
    ]
