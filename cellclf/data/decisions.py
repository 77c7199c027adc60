"""What people decided about cells: a class, unsure, or not a cell; read from tables, joined, matched with a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cellclf.data.spelling import matched, one_spelling
from cellclf.errors import DataError, OptionError
from cellclf.utils.atomic import replacing
from cellclf.utils.spreadsheet import csv_line, read_rows, unguard

LABEL, UNSURE, NOT_A_CELL, UNANSWERED = "label", "unsure", "not_a_cell", ""

COLUMNS = ("id", "decision", "label", "note", "by", "time")
"""The columns of a table of decisions, as the labelling page and ``Decisions.save`` write it."""

_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "image_id", "cell_id", "path", "image_path", "file", "filename", "file_name", "image", "cell"),
    "decision": ("decision", "status"),
    "label": ("label", "class", "class_name", "labels", "category", "cell_type", "target"),
    "note": ("note", "notes", "comment"),
    "by": ("by", "annotator", "labelled_by", "labeled_by"),
    "time": ("time", "timestamp"),
}
_WORDS = {
    "label": LABEL,
    "labelled": LABEL,
    "labeled": LABEL,
    "unsure": UNSURE,
    "not sure": UNSURE,
    "?": UNSURE,
    "not a cell": NOT_A_CELL,
    "no cell": NOT_A_CELL,
    "non cell": NOT_A_CELL,
    "unanswered": UNANSWERED,
}
_MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "<na>"}
_EXPECTED = "the columns id and label (and, if known, decision, note, by, time)"


class Decision(NamedTuple):
    """One row of a table of decisions; every field is a text, "" where there is nothing."""

    id: str
    decision: str = UNANSWERED
    label: str = ""
    note: str = ""
    by: str = ""
    time: str = ""


@dataclass(frozen=True, repr=False)
class Decisions:
    """What people decided about cells, one row an id; made by ``load_decisions``.

    Args:
        rows: One ``Decision`` for each cell that was asked about, those without an answer included.
        notices: What was converted or is worth knowing, in words.

    Raises:
        DataError: An id twice, an unknown decision, or a class name where there should be none, or none where there
            should be one.

    Examples:
        >>> Decisions([Decision("a.png", "label", "basophil"), Decision("b.png", "unsure"), Decision("c.png")])
        Decisions: 3 cells, 1 labelled (1 class), 1 unsure, 1 unanswered
    """

    rows: Sequence[Decision]
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        for row in self.rows:
            if row.decision not in (LABEL, UNSURE, NOT_A_CELL, UNANSWERED):
                raise DataError(f"the decision about {row.id!r} is {row.decision!r}; expected {_words()}")
            if (row.decision == LABEL) != bool(row.label):
                raise DataError(
                    f"the decision about {row.id!r} is {row.decision!r} and its label {row.label!r}; expected a class "
                    f"name with the decision {LABEL!r}, and only there"
                )
        twice = [id_ for id_, times in Counter(self.ids).items() if times > 1]
        if twice:
            raise DataError(f"the id {twice[0]!r} has {self.ids.count(twice[0])} rows; expected each id once")

    @classmethod
    def from_labels(cls, labels: Mapping[Any, str]) -> Decisions:
        """Take a mapping of ids to class names; "unsure" and "not a cell" are understood.

        Examples:
            >>> Decisions.from_labels({"a": "basophil", "b": "not_a_cell"}).labels
            {'a': 'basophil'}
        """
        return cls(*_understood([Decision(str(id_), "", str(label)) for id_, label in labels.items()], "labels"))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, in the order of the table."""
        return tuple(row.id for row in self.rows)

    @property
    def labels(self) -> dict[str, str]:
        """The class name of each cell that was given one, by id."""
        return {row.id: row.label for row in self.rows if row.decision == LABEL}

    @property
    def unsure(self) -> tuple[str, ...]:
        """Ids of the cells about which somebody was unsure."""
        return self._decided(UNSURE)

    @property
    def not_a_cell(self) -> tuple[str, ...]:
        """Ids of the images that show no cell."""
        return self._decided(NOT_A_CELL)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Ids of the cells that still have no answer."""
        return self._decided(UNANSWERED)

    def _decided(self, decision: str) -> tuple[str, ...]:
        return tuple(row.id for row in self.rows if row.decision == decision)

    def counts(self) -> dict[str, int]:
        """Count the cells of each decision: label, unsure, not_a_cell, unanswered."""
        found = Counter(row.decision or "unanswered" for row in self.rows)
        return {name: found[name] for name in (LABEL, UNSURE, NOT_A_CELL, "unanswered")}

    def class_counts(self) -> dict[str, int]:
        """Count the labelled cells of each class, the most frequent first."""
        return dict(Counter(self.labels.values()).most_common())

    def __repr__(self) -> str:
        count = self.counts()
        classes = len(self.class_counts())
        parts = [f"{len(self):,} cell{'s' * (len(self) != 1)}"]
        parts.append(f"{count[LABEL]:,} labelled" + (f" ({classes} class{'es' * (classes != 1)})" if classes else ""))
        parts += [f"{count[kind]:,} {kind.replace('_', ' ')}" for kind in (UNSURE, NOT_A_CELL) if count[kind]]
        parts += [f"{count['unanswered']:,} unanswered"] if count["unanswered"] else []
        return f"Decisions: {', '.join(parts)}"

    def __str__(self) -> str:
        found = self.class_counts()
        width = max(map(len, found), default=0)
        lines = [repr(self), *(f"  {name:<{width}}  {n:,}" for name, n in found.items())]
        return "\n".join(lines + [f"note: {notice}" for notice in self.notices])

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: counts, classes, rows, notices."""
        rows = [row._asdict() for row in self.rows]
        return {**self.counts(), "classes": self.class_counts(), "rows": rows, "notices": list(self.notices)}

    def save(self, path: str | Path) -> Path:
        """Write the table as the labelling page does, so that a spreadsheet does no harm to it; whole or not at all.

        Args:
            path: Ends in ``.csv``.

        Raises:
            OptionError: Another ending.
        """
        path = Path(path)
        if path.suffix.lower() != ".csv":
            raise OptionError(f"cannot write decisions to {path.name!r}; expected a name that ends in .csv")
        with replacing(path) as new:
            text = "".join([csv_line(list(COLUMNS)), *(csv_line(list(row)) for row in self.rows)])
            # the mark by which Excel knows UTF-8: only where it is needed, since Python's csv and R read it as a part
            # of the first column's name
            new.write_bytes(text.encode("utf-8" if text.isascii() else "utf-8-sig"))
        return path

    def merge(self, other: Decisions) -> Decisions:
        """Join two tables: an answer before none, of two different answers the later one.

        Args:
            other: Of the same cells, of further ones, or of both.

        Returns:
            One row an id, those of this table first.

        Raises:
            DataError: Different answers to one id, and no times that say which came later.
        """
        rows, changed = _joined([*self.rows, *other.rows])
        notices = [*self.notices, *other.notices]
        if changed:
            notices.append(f"{_cells(len(changed))} had two different answers, of which the later one counts")
        return Decisions(rows, tuple(dict.fromkeys(notices)))

    def match(
        self, ids: Collection[str], class_names: Sequence[str] | None = None, *, new: Collection[str] = ()
    ) -> Decisions:
        """Match ids with those of a set, and labels with the classes of a run.

        Ids that differ only in what nobody sees (the apostrophe that protects them in a spreadsheet, blanks at their
        ends, composed or decomposed letters) become those of the set, class names that differ in capitals, blanks or
        Unicode form those of the run.

        Args:
            ids: The ids of the set.
            class_names: The classes of the run; None leaves the labels unexamined.
            new: Class names that are known to be new, and not misspelt.

        Returns:
            The same decisions with the ids of the set; new classes and other spellings stand in its notices.

        Raises:
            DataError: Ids that are not in the set, with the likeliest cause; or labels that look misspelt.

        Examples:
            >>> table = Decisions([Decision("7", "label", "round")])
            >>> table.match(["007", "008"])
            Traceback (most recent call last):
                ...
            cellclf.errors.DataError: the id '7' is not in the set (2 cells); did a spreadsheet turn '007' into '7'?
        """
        from cellclf.data.slips import by_ends, check_ids, check_names

        real = check_ids(self.ids, ids)
        rows, _ = _joined([row._replace(id=real[row.id]) for row in self.rows])
        paths = by_ends(real)
        said = [f"the id {id_!r} is read as {id_of_set!r}, whose path ends alike" for id_, id_of_set in paths[:1]]
        said += [f"so are {len(paths) - 1:,} more"] if len(paths) > 1 else []
        if class_names is None:
            return replace(self, rows=rows, notices=(*self.notices, *said))
        counts = self.class_counts()
        known = matched(list(counts), [*class_names, *new])
        known |= one_spelling({name: count for name, count in counts.items() if name not in known})
        other = {name: real for name, real in known.items() if name != real}
        found = replace(self, rows=[row._replace(label=other.get(row.label, row.label)) for row in rows])
        counts = found.class_counts()
        added = check_names(counts, class_names, new)
        named = ", ".join(f"{name!r} ({_cells(counts[name])})" for name in added)
        notices = [f"the label {name!r} is read as {real!r}" for name, real in other.items()]
        notices += [f"new class{'es' * (len(added) != 1)}: {named}"] if added else []
        return replace(found, notices=(*self.notices, *said, *notices))


def load_decisions(path: str | Path) -> Decisions:
    """Read a table of decisions, such as the ``labelled.csv`` that the labelling page saves.

    Also read: what a spreadsheet made of it (semicolons, ``sep=;``, another encoding), the table that
    ``cellclf labels`` writes, and any CSV with an id and a class name in each row. The apostrophe that protects a cell
    in a spreadsheet is taken away.

    Args:
        path: A CSV with the columns ``id`` and ``label`` or names like these, and, if known, ``decision`` (label,
            unsure, not_a_cell, or empty where there is no answer), ``note``, ``by`` and ``time`` (ISO 8601; without a
            zone, UTC).

    Returns:
        One row an id: of several, the one with the latest answer.

    Raises:
        DataError: No such table, columns that are not there, predictions instead of labels, or different answers to
            one id without times that say which came later.

    Examples:
        >>> import tempfile
        >>> made = Decisions.from_labels({"a.png": "basophil", "b.png": "unsure"})
        >>> load_decisions(made.save(tempfile.mkdtemp() + "/labelled.csv"))
        Decisions: 2 cells, 1 labelled (1 class), 1 unsure
    """
    path = Path(path)
    table, notices = read_rows(path, _EXPECTED)
    head = [_cell(cell).lower().replace(" ", "_") for cell in table[0]]
    places = {kind: next((head.index(name) for name in names if name in head), None) for kind, names in _NAMES.items()}
    _refuse_other_tables(head, places, path)
    rows = [
        Decision(**{kind: _cell(row[at]) if at is not None else "" for kind, at in places.items()}) for row in table[1:]
    ]
    nameless = sum(not row.id for row in rows)
    if nameless:
        raise DataError(f"{nameless} of {len(rows)} rows of {path.name} have no id; expected one in every row")
    if "suggested" in head and "doubtful" in head:
        notices.append(_of_a_label_check(table, head, path))
    found, more = _understood(rows, path.name, worded=places["decision"] is not None)
    return Decisions(found, (*notices, *more))


def _refuse_other_tables(head: list[str], places: dict[str, int | None], path: Path) -> None:
    if "label" not in head and "class" in head and {"probability", "ood_score"} & {*head}:
        raise DataError(
            f"{path.name} holds predictions, not labels: its column 'class' is what a run believes; label some cells "
            "(cellclf suggest), or rename the column to 'label' and remove those of the probabilities once somebody "
            "has looked at every row"
        )
    if places["id"] is None or places["label"] is None:
        raise DataError(f"{path.name} has the columns {', '.join(head)[:300]}; expected a first line with {_EXPECTED}")


def _of_a_label_check(table: list[list[str]], head: list[str], path: Path) -> str:
    at = head.index("doubtful")
    doubtful = sum(row[at].strip().lower() in ("true", "1", "wahr", "vrai") for row in table[1:])
    return (
        f"{path.name} is the table of a label check: the labels in its column 'label' are used, not those that are "
        f"suggested; {doubtful} of {len(table) - 1} are marked doubtful and are used all the same, so a wrong one "
        "teaches a wrong class: correct them or remove their rows"
    )


def _understood(rows: list[Decision], name: str, worded: bool = False) -> tuple[tuple[Decision, ...], tuple[str, ...]]:
    """Bring decisions, labels and times into their forms; ``worded`` where the table has a column of decisions."""
    notices: list[str] = []
    read: list[Decision] = []
    missing = lost = 0
    for row in rows:
        said = _WORDS.get(_spoken(row.decision), None if row.decision else UNANSWERED)
        if said is None:
            raise DataError(
                f"the decision about {row.id!r} in {name} is {row.decision!r}; expected {_words()}; class names "
                "stand in the column label"
            )
        meant = _WORDS.get(_spoken(row.label), LABEL)
        if meant not in (UNSURE, NOT_A_CELL):
            meant = LABEL if row.label else UNANSWERED
        if not worded and row.label.lower() in _MISSING:
            meant, missing = UNANSWERED, missing + 1
        if said in (UNSURE, NOT_A_CELL) and meant not in (said, UNANSWERED):
            raise DataError(
                f"the decision about {row.id!r} in {name} is {said!r} and its label {row.label!r}; expected one of "
                "the two: empty the other cell"
            )
        decision = said if said in (UNSURE, NOT_A_CELL) else meant
        lost += said == LABEL and decision == UNANSWERED
        when = _utc(row.time)
        read.append(
            row._replace(decision=decision, label=row.label if decision == LABEL else "", time=when or row.time)
        )
    if missing:
        some = "1 missing value" if missing == 1 else f"{missing:,} missing values"
        count = "counts" if missing == 1 else "count"
        notices.append(f"{name} has {some} in place of a label, which {count} as unanswered")
    if lost:
        notices.append(f"in {name}, {_cells(lost)} with the decision {LABEL!r} but without a label: unanswered")
    joined, changed = _joined(read)
    again = len(read) - len(joined)
    if again:
        more = f", {len(changed)} of them with another answer: the latest one counts" if changed else ""
        notices.append(f"{name} has {again} further rows of ids that it has already{more}")
    return tuple(joined), tuple(notices)


def _cell(text: str) -> str:
    """Undo what protects a cell; blanks at the ends are somebody's slip only where nothing protects them."""
    return unguard(text) if text.startswith("'") else text.strip()


def _spoken(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())


def _words() -> str:
    return f"{LABEL}, {UNSURE}, {NOT_A_CELL}, or nothing where there is no answer"


def _cells(count: int) -> str:
    return f"{count:,} cell{'s' * (count != 1)}"


def _utc(text: str) -> str | None:
    """Write a time as UTC to the second; None for what is no ISO 8601."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _joined(rows: Sequence[Decision]) -> tuple[list[Decision], list[str]]:
    """Keep one row an id; also give the ids of which the answer changed."""
    kept: dict[str, Decision] = {}
    changed: list[str] = []
    contradictory: list[tuple[Decision, Decision]] = []
    for row in rows:
        old = kept.setdefault(row.id, row)
        if old is row:
            continue
        differ = bool(old.decision and row.decision) and (old.decision, old.label) != (row.decision, row.label)
        times = _utc(old.time), _utc(row.time)
        if differ and (None in times or times[0] == times[1]):
            contradictory.append((old, row))
            continue
        changed += [row.id] if differ else []
        if bool(row.decision) == bool(old.decision):
            last = row if (times[1] or "") >= (times[0] or "") else old
        else:  # an answer is never replaced by none, whenever that was
            last = row if row.decision else old
        first = old if last is row else row
        kept[row.id] = last._replace(note=last.note or first.note, by=last.by or first.by)
    if contradictory:
        some = "; ".join(
            f"{old.id[:60]!r} ({old.label or old.decision}, then {new.label or new.decision})"
            for old, new in contradictory[:6]
        )
        more = f"; and {len(contradictory) - 6} more" if len(contradictory) > 6 else ""
        raise DataError(
            f"different answers to {_cells(len(contradictory))}, and no times that say which came later: {some}{more}; "
            "remove the rows that are wrong"
        )
    return list(kept.values()), list(dict.fromkeys(changed))
