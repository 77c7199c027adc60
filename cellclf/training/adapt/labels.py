"""The labels that a run is adapted with: read, joined with those of earlier rounds, matched with the cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decisions import LABEL, Decisions, load_decisions
from cellclf.data.image_set import ImageSet
from cellclf.data.spelling import matched
from cellclf.errors import DataError, OptionError, unknown
from cellclf.utils.parameters import shortened

Labels = NDArray[np.int64]

MOST_LABELS = 1_000
"""So many labelled cells are used at most; more are what training is for."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is known of a laboratory's cells, in the numbers that an adaptation works with.

    Args:
        decisions: Of all rounds, also about cells that are not in this set; None without labels.
        rows: (n,) positions of the labelled cells that are used, rising.
        labels: (n,) their places in ``class_names``.
        class_names: The C classes that can be answered.
        columns: (C,) the run's column of each, -1 for a new class.
        non_cells: Positions of images that somebody called no cell.
        notices: What is worth knowing.
        costs: Those of them that say that something given is not used.
    """

    decisions: Decisions | None
    rows: Labels
    labels: Labels
    class_names: tuple[str, ...]
    columns: Labels
    non_cells: Labels
    notices: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()


def read_decisions(labels: Any) -> Decisions:
    """Give the decisions of whatever a user holds: a table, decisions, a mapping of ids to class names, a labelled set.

    Raises:
        OptionError: Something else.
        DataError: A table that holds no labels, or a set without.
    """
    if isinstance(labels, Decisions):
        return labels
    if isinstance(labels, str | Path):
        if Path(labels).is_dir():
            raise OptionError(f"labels={str(labels)!r} is a folder; expected a table; of a labelled set: load(...)")
        return load_decisions(labels)
    if isinstance(labels, ImageSet):
        if labels.labels is None:
            raise DataError("the set that is given as labels has none; expected labelled cells")
        names = np.asarray(labels.class_names)[labels.labels].tolist()
        return Decisions.from_labels(dict(zip(labels.ids.tolist(), names, strict=True)))
    if isinstance(labels, Mapping):
        return Decisions.from_labels(labels)
    raise OptionError(
        f"labels={shortened(labels)}; expected the path of a table, decisions, a mapping of ids to class names, or a "
        "labelled ImageSet"
    )


def joined(earlier: Decisions | None, later: Decisions | None) -> Decisions | None:
    """Join the decisions of two rounds: a later answer counts, by the times that are known, else by the rounds.

    Examples:
        >>> first, second = Decisions.from_labels({"a": "round", "b": "round"}), Decisions.from_labels({"b": "lobed"})
        >>> joined(first, second).labels
        {'a': 'round', 'b': 'lobed'}
    """
    if earlier is None or later is None:
        return later if earlier is None else earlier
    left = {row.id: row for row in later}
    rows, changed = [], 0
    for old in earlier:
        new = left.pop(old.id, None)
        if new is None or not new.decision or (old.decision and _is_later(old.time, new.time)):
            rows.append(old)
            continue
        changed += bool(old.decision) and (old.decision, old.label) != (new.decision, new.label)
        rows.append(new)
    more = (f"{changed} answer{'s' * (changed != 1)} of earlier rounds changed",) if changed else ()
    return Decisions([*rows, *left.values()], (*later.notices, *more))


def _is_later(one: str, other: str) -> bool:
    """Whether both times are known and the first is the later one."""
    try:
        return datetime.fromisoformat(one) > datetime.fromisoformat(other)
    except (ValueError, TypeError):  # no time, or only one of both with a zone
        return False


def match(
    decisions: Decisions | None,
    cells: ImageSet,
    run_names: Sequence[str],
    classes: Sequence[str] | None = None,
    *,
    earlier: Decisions | None = None,
    earlier_classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Labelled:
    """Match decisions with the cells and the classes of a run, and join them with those of earlier rounds.

    Args:
        decisions: Of this round; None without labels.
        cells: Of the new laboratory.
        run_names: K classes of the run.
        classes: Those that can occur; None for all of the run and those that labels add.
        earlier: Of earlier rounds; cells that are not in this set may be among them.
        earlier_classes: What ``classes`` was then; it counts where there is none now, and new labels add to it.
        seed: Of the choice among very many labels.

    Raises:
        DataError: Ids that are not in the set, misspelt class names, no label, labels of one class, or of classes that
            ``classes`` leaves out.
        UnknownNameError: ``classes`` names one that nothing is known of.
        OptionError: ``classes`` is no list of names, or of fewer than two.
    """
    named = _class_list(classes)
    if named is not None:
        other = matched(named, run_names)
        named = list(dict.fromkeys(other.get(name, name) for name in named))
    ids = {str(id_): place for place, id_ in enumerate(cells.ids.tolist())}
    if decisions is not None:
        new = [*(named or ()), *(() if earlier is None else earlier.labels.values())]
        decisions = decisions.match(list(ids), run_names, new=new)
    everything = joined(earlier, decisions)
    if everything is None:
        answered = _answered(run_names, named or earlier_classes, [])
        none = np.empty(0, np.int64)
        return Labelled(None, none, none, answered, _columns(answered, run_names), none)
    costs = []
    found = Decisions([row for row in everything if row.id in ids])
    if gone := len(everything) - len(found):
        costs.append(
            f"{gone} decision{'s' * (gone != 1)} of earlier rounds cannot be used: the cells are not in this set; "
            "adapt with all cells to keep them"
        )
    counts = found.class_counts()
    _check_counts(counts, found)
    if named is None and earlier_classes is not None:
        named = list(dict.fromkeys([*earlier_classes, *counts]))
    answered = _answered(run_names, named, list(counts))
    few = [name for name, n in counts.items() if n < 2]
    notices = list(everything.notices)
    if few:
        notices.append(
            f"a single label of {', '.join(few)}: the class is learnt from one cell and cannot be checked; label one "
            "more of each"
        )
    rows = np.asarray([ids[id_] for id_ in found.labels], np.int64)
    labels = np.asarray([answered.index(name) for name in found.labels.values()], np.int64)
    order = np.argsort(rows)
    rows, labels = rows[order], labels[order]
    if len(rows) > MOST_LABELS:
        from cellclf.runs.features.stored import kept_rows

        kept = kept_rows(labels, MOST_LABELS, seed)
        costs.append(
            f"{len(kept):,} of {len(rows):,} labels are used, each class in proportion: with so many, training brings "
            "more"
        )
        rows, labels = rows[kept], labels[kept]
    return Labelled(
        decisions=Decisions(everything.rows),
        rows=rows,
        labels=labels,
        class_names=answered,
        columns=_columns(answered, run_names),
        non_cells=np.sort(np.asarray([ids[id_] for id_ in found.not_a_cell], np.int64)),
        notices=tuple(dict.fromkeys([*notices, *costs])),
        costs=tuple(costs),
    )


def _columns(answered: Sequence[str], run_names: Sequence[str]) -> Labels:
    places = {name: place for place, name in enumerate(run_names)}
    return np.asarray([places.get(name, -1) for name in answered], np.int64)


def _class_list(classes: Sequence[str] | None) -> list[str] | None:
    if classes is None:
        return None
    if isinstance(classes, str | bytes) or not all(isinstance(name, str) for name in classes):
        raise OptionError(f"classes={shortened(classes)}; expected a list of class names")
    names = list(dict.fromkeys(name.strip() for name in classes))
    if len(names) < 2:
        raise OptionError(f"classes={shortened(names)}; expected two classes or more")
    return names


def _answered(run_names: Sequence[str], named: Sequence[str] | None, labelled: Sequence[str]) -> tuple[str, ...]:
    """Give the classes that can be answered: those of the run in its order, then new ones."""
    if named is None:
        return (*run_names, *(name for name in labelled if name not in run_names))
    known = [*run_names, *labelled]
    for name in named:
        if name not in known:
            raise unknown("class of the run, and no label is of the class", name, known)
    left_out = [name for name in labelled if name not in named]
    if left_out:
        raise DataError(
            f"cells are labelled {', '.join(map(repr, left_out))}, which classes= ({', '.join(named)}) leaves out; "
            "add it there, or correct the labels"
        )
    return (*(name for name in run_names if name in named), *(name for name in named if name not in run_names))


def _check_counts(counts: Mapping[str, int], found: Decisions) -> None:
    if not counts:
        said = ", ".join(f"{n} {kind}" for kind, n in found.counts().items() if n and kind != LABEL)
        raise DataError(
            f"none of the {len(found)} cells has a label ({said or 'the table is empty'}); expected class names for "
            "some; without labels, leave the table out"
        )
    if len(counts) < 2:
        (name, n), *_ = counts.items()
        raise DataError(
            f"the {n} labels are all {name!r}; expected two classes or more: what else occurs in this laboratory?"
        )
    if max(counts.values()) < 2:
        raise DataError(
            f"no class has two labels ({', '.join(Counter(counts))}); expected two cells or more of some classes, to "
            "compare candidates on"
        )
