"""Predictions in the form of a template: the columns, rows and order of a challenge's sample submission."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import Skipped
from cellclf.data.spelling import spelling
from cellclf.data.table_columns import NAMES, plain_name
from cellclf.errors import DataError
from cellclf.utils.atomic import write_json, write_text
from cellclf.utils.csv_tables import write_table
from cellclf.utils.results import Result
from cellclf.utils.spreadsheet import read_rows

ENDINGS = (".csv", ".json", ".jsonl", ".parquet", ".xlsx")
"""Of the files that predictions are written to, in a template or not."""
_IDS = {*NAMES["path"], *NAMES["id"], "name"}
_LABELS = {*NAMES["label"], "prediction", "predicted", "predictedclass", "predictedlabel", "pred", "predclass"}
_PREFIX = re.compile(r"^(p|prob|proba|probability|score)(?=[\s_.:(\[-])[\s_.:(\[-]+", re.IGNORECASE)
_NUMBER = re.compile(r"^(?:class|label|p|prob|proba|probability|score)?[\s_.:(\[-]*(\d+)[)\]]?$", re.IGNORECASE)
_SHOWN = 3


@dataclass(frozen=True, repr=False)
class Submission(Result):
    """Predictions as a template asks for them; made by ``Predictions.fill``.

    Args:
        columns: Names of the columns, as in the template.
        rows: One a row of the template, or one an image where the template has a head only: texts and probabilities.
        separator: Between the cells of a CSV, as in the template.
        notices: What the template left open, and how it was decided.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    separator: str = ","
    notices: tuple[str, ...] = ()

    def summary(self) -> str:
        """Give the number of rows, the columns, and the notices."""
        return "\n".join([f"{len(self.rows):,} rows: {', '.join(self.columns)}", *self.notices])

    def to_csv(self) -> str:
        """Write the table as CSV text, each id letter by letter as in the template: programs read it, not people."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Give columns, rows and notices as plain data."""
        return {"columns": list(self.columns), "rows": list(map(list, self.rows)), "notices": list(self.notices)}

    def save(self, path: str | Path) -> Path:
        """Write the table as CSV, JSON (a list of objects), JSON lines, Parquet or XLSX, by the ending of the name.

        Raises:
            OptionError: Another ending.
            MissingPackageError: Parquet without pyarrow, XLSX without openpyxl.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            return write_text(path, self.to_csv())
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        if path.suffix.lower() == ".json":
            return write_json(path, rows)
        first = self.rows[0] if self.rows else ("",) * len(self.columns)
        kinds = {
            name: "text" if isinstance(cell, str) else "number" for name, cell in zip(self.columns, first, strict=True)
        }
        return write_table(path, kinds, rows, what="a submission", endings=ENDINGS)


class Predicted(Protocol):
    """What of ``Predictions`` is put into a template."""

    @property
    def ids(self) -> NDArray[np.str_]:
        """(N,) the images."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """(C,) names in label order."""

    @property
    def probabilities(self) -> NDArray[np.floating[Any]]:
        """(N, C)."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable class."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Inputs that could not be read."""

    def __len__(self) -> int: ...

    def called(self, k: int) -> str:
        """Give the class of an image in a table."""


def fill_template(predictions: Predicted, template: str | Path) -> Submission:
    """Put predictions into the columns and rows of a template."""
    path = Path(template)
    rows, _ = read_rows(path, "a column of ids, and one of labels or one of probabilities for each class")
    head, body = rows[0], rows[1:]
    columns = _Columns(head, predictions.class_names, path.name)
    notices = columns.notices
    order, ids = _order(predictions, [row[columns.id].strip() for row in body], path.name)
    given = [row[columns.label].strip() for row in body] if columns.label is not None else []
    labels = _labels(predictions.class_names, given, notices)
    if columns.label is not None and (forced := sum(predictions.called(k) not in labels for k in order)):
        notices.append(
            f"{forced:,} images are out-of-distribution or below the threshold; the submission has their most probable "
            "class"
        )
    if body and (rest := len(predictions) - len(set(order))):
        notices.append(f"{rest:,} images are not in {path.name} and are left out")
    predicted = predictions.predicted
    found = []
    for k, id_ in zip(order, ids, strict=True):
        cells: list[str | float] = []
        for place in range(len(head)):
            if place == columns.id:
                cells.append(id_)
            elif place == columns.label:
                cells.append(labels[predictions.class_names[predicted[k]]])
            else:
                cells.append(round(float(predictions.probabilities[k, columns.classes[place]]), 6))
        found.append(tuple(cells))
    return Submission(tuple(head), tuple(found), _separator(path), tuple(notices))


class _Columns:
    """Which column of a template is what."""

    def __init__(self, head: Sequence[str], class_names: Sequence[str], where: str) -> None:
        self.notices: list[str] = []
        self.classes = {k: place for k, name in enumerate(head) if (place := _class_of(name, class_names)) is not None}
        free = [k for k in range(len(head)) if k not in self.classes]
        labels = [k for k in free if plain_name(head[k]) in _LABELS]
        self.label = labels[0] if labels else None
        free = [k for k in free if k != self.label]
        ids = [k for k in free if plain_name(head[k]) in _IDS] or free[:1]
        if not ids:
            raise DataError(f"{where} has no column of ids ({', '.join(head)[:300]}); expected one, such as id")
        self.id = ids[0]
        free = [k for k in free if k != self.id]
        numbers = {k: int(found[1]) for k in free if (found := _NUMBER.match(head[k].strip()))}
        first = min(numbers.values(), default=0)  # challenges count from 0 or from 1
        expected = list(range(first, first + len(class_names)))
        if free and not self.classes and first in (0, 1) and sorted(numbers.values()) == expected:
            self.classes, free = {k: number - first for k, number in numbers.items()}, []
            self.notices.append(f"the classes of {where} are numbers: {_numbered(class_names, first)}")
        if free:
            raise DataError(
                f"{where}: the column {head[free[0]]!r} is neither an id, a label nor a class of the run "
                f"({', '.join(class_names)}); rename it or take it out"
            )
        if self.label is None and not self.classes:
            raise DataError(
                f"{where} has no column to fill ({', '.join(head)[:300]}); expected one of labels (label, class), or "
                f"one for each class: {', '.join(class_names)}"
            )
        if twice := [
            name for place, n in Counter(self.classes.values()).items() if n > 1 for name in [class_names[place]]
        ]:
            raise DataError(f"{where} has two columns of the class {twice[0]!r}; expected one")
        absent = [name for place, name in enumerate(class_names) if place not in self.classes.values()]
        if self.classes and absent:
            self.notices.append(f"{where} has no column for {', '.join(absent)}, so that its rows do not sum to 1")


def _class_of(column: str, class_names: Sequence[str]) -> int | None:
    """Give the place of the class that a column is named after, with or without "p_" before it."""
    own = [spelling(name) for name in class_names]
    for text in (column, _PREFIX.sub("", column).rstrip(")] ")):
        if spelling(text) in own:
            return own.index(spelling(text))
    return None


def _labels(class_names: Sequence[str], given: Sequence[str], notices: list[str]) -> dict[str, str]:
    """Give how each class is written: as the template's rows write it, or by number where they have numbers."""
    examples = {text for text in given if text}
    if examples and all(text.isdecimal() for text in examples) and not any(name.isdecimal() for name in class_names):
        first, last = min(map(int, examples)), max(map(int, examples))
        if last > len(class_names):
            raise DataError(
                f"the template's label {last} is no number of the run's {len(class_names)} classes; expected 0 to "
                f"{len(class_names) - 1}, 1 to {len(class_names)}, or names"
            )
        if first == 0 and last == len(class_names):
            raise DataError(
                f"the template's labels 0 to {last} are too many for {len(class_names)} classes; expected 0 to "
                f"{len(class_names) - 1}, 1 to {len(class_names)}, or names"
            )
        start = int(last == len(class_names))
        notices.append(f"the labels of the template are numbers: {_numbered(class_names, start)}")
        return {name: str(place) for place, name in enumerate(class_names, start)}
    spelled = {spelling(text): text for text in sorted(examples)}
    strange = sorted(text for key, text in spelled.items() if key not in map(spelling, class_names))
    if strange:
        notices.append(
            f"the template's label {strange[0]!r} is no class of the run; classes are written as the run names them"
        )
    return {name: spelled.get(spelling(name), name) for name in class_names}


def _numbered(class_names: Sequence[str], start: int) -> str:
    return ", ".join(f"{place} is {name}" for place, name in enumerate(class_names, start))


def _order(predictions: Predicted, listed: Sequence[str], where: str) -> tuple[list[int], list[str]]:
    """Give the image of each row of a template, and its id; of a template without rows, all images in their order.

    An id is the whole one, or the name of the file, or that without its ending, where only one image fits.
    """
    own = predictions.ids.tolist()
    if not listed:
        return list(range(len(own))), own
    if twice := next((id_ for id_, n in Counter(listed).items() if n > 1), None):
        raise DataError(f"{where} lists the id {twice!r} twice; expected each once")
    every = [*own, *(one.id for one in predictions.skipped)]
    by_id = {id_: [k] for k, id_ in enumerate(every)}
    by_name: dict[str, list[int]] = {}
    by_stem: dict[str, list[int]] = {}
    for k, id_ in enumerate(every):
        by_name.setdefault(_name(id_), []).append(k)
        by_stem.setdefault(PurePosixPath(_name(id_)).stem, []).append(k)
    order, missing = [], []
    for id_ in listed:
        name = _name(id_)
        bare = PurePosixPath(name).suffix.lower() not in SUFFIXES
        fits = by_id.get(id_) or by_name.get(name) or (by_stem.get(name) if bare else None) or []
        if len(fits) > 1:
            raise DataError(
                f"the id {id_!r} of {where} fits {len(fits)} images ({every[fits[0]]}, {every[fits[1]]}); expected "
                "ids that tell them apart, such as paths"
            )
        if not fits or fits[0] >= len(own):
            reason = f" ({predictions.skipped[fits[0] - len(own)].reason})" if fits else ""
            missing.append(f"{id_}{reason}")
        order += fits
    if missing:
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{len(missing):,} of {len(listed):,} ids of {where} have no prediction: "
            f"{', '.join(missing[:_SHOWN])}{more}; expected an image for each (they are called "
            f"{', '.join(every[:_SHOWN])}{', ...' if len(every) > _SHOWN else ''})"
        )
    return order, list(listed)


def _name(id_: str) -> str:
    return PurePosixPath(id_.replace("\\", "/")).name


def _separator(path: Path) -> str:
    """Give what separates the cells of the template's first line."""
    with path.open("rb") as file:
        line = file.readline()
    text = line.decode("utf-16" if line[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    best = max(",;\t", key=text.count)
    return best if best in text else ","
