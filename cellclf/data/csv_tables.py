"""Tables of images, read and written: CSV, Parquet and DataFrames of path, label, group and, of fields, boxes."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellclf.data.columns import MISSING, is_missing, natural_order
from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.data.listing import Box, Listing
from cellclf.data.parts import choose, part_kind
from cellclf.data.path_patterns import PathPattern
from cellclf.data.spelling import spelling
from cellclf.data.table_columns import Columns, find_columns, number
from cellclf.errors import DataError, MissingPackageError, OptionError, printable, unknown
from cellclf.utils.atomic import write_text
from cellclf.utils.csv_tables import write_table
from cellclf.utils.spreadsheet import guard, read_rows, unguard

if TYPE_CHECKING:
    import pandas

TABLES = (".csv", ".tsv", ".parquet")
_EXPECTED = "the columns path, label and, if known, group"


@dataclass
class Table:
    """A table of texts.

    Args:
        rows: All of one length; the first may name the columns.
        where: What it is called in messages.
        folder: What its paths are relative to.
        notices: What was converted.
    """

    rows: list[list[str]]
    where: str
    folder: Path
    notices: list[str] = field(default_factory=list)

    def parts(self) -> list[str]:
        """List the parts that a column names, in natural order."""
        try:
            columns = find_columns(self.rows, self.where, {"label": None, "group": None, "box": None}, labels=False)
        except DataError:
            return []
        place = columns.places["part"]
        rows = self.rows[columns.head :]
        return [] if place is None else natural_order({value for row in rows if (value := _value(row[place]))})


def read_table(path: Path) -> Table:
    """Read a CSV, as a spreadsheet or a program wrote it, or a Parquet file.

    Raises:
        DataError: No table.
        MissingPackageError: Parquet without pyarrow.
    """
    if path.suffix.lower() != ".parquet":
        rows, notices = read_rows(path, _EXPECTED)
        return Table(rows, path.name, path.parent, notices)
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackageError(
            f"reading {path.name} needs pyarrow: pip install pyarrow, or save it as .csv"
        ) from None
    try:
        found = parquet.read_table(path)
    except Exception as error:  # pyarrow raises what its many readers raise
        raise DataError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    return _from_columns(
        found.column_names, zip(*(column.to_pylist() for column in found.columns), strict=True), path.name, path.parent
    )


def is_frame(src: object) -> bool:
    """Whether an object is a table in memory: a DataFrame of pandas or polars, or a table of pyarrow."""
    module = type(src).__module__.partition(".")[0]
    return module in ("pandas", "polars", "pyarrow", "modin", "dask") and hasattr(src, "columns")


def read_frame(frame: Any) -> Table:
    """Read a DataFrame, whose paths are relative to the current folder; a named index is a column, too."""
    where, folder = "the DataFrame", Path()
    if hasattr(frame, "itertuples"):
        named = any(name is not None for name in frame.index.names)
        frame = frame.reset_index() if named else frame
        return _from_columns(list(frame.columns), frame.itertuples(index=False, name=None), where, folder)
    if hasattr(frame, "rows"):
        return _from_columns(list(frame.columns), frame.rows(), where, folder)
    if hasattr(frame, "to_pylist"):
        names = list(frame.column_names)
        return _from_columns(names, ([row[name] for name in names] for row in frame.to_pylist()), where, folder)
    raise DataError(
        f"cannot read a {type(frame).__name__}; expected a DataFrame in memory: call .compute() or .collect()"
    )


def _from_columns(names: Sequence[object], rows: Iterable[Sequence[object]], where: str, folder: Path) -> Table:
    head = [str(name) for name in names]
    if not head:
        raise DataError(f"{where} has no columns; expected {_EXPECTED}")
    return Table([head, *([_text(value, where) for value in row] for row in rows)], where, folder)


def _text(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if (hasattr(value, "shape") and getattr(value, "shape", ()) != ()) or isinstance(value, bytes | dict):
        raise DataError(
            f"{where} holds {type(value).__name__} values; expected texts and numbers: pass images as load((images, "
            "labels))"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def list_table(
    table: Table,
    *,
    root: Path | None = None,
    columns: Mapping[str, str | None] | None = None,
    part: str | None = None,
    labels: bool = True,
    pattern: PathPattern | None = None,
) -> Listing:
    """Find the files that a table names, with the label and the group of each.

    Args:
        table: The table.
        root: What paths are relative to; None takes the folder of the table.
        columns: Kind of column -> its name, where it is not a usual one.
        part: Only rows of this part.
        labels: False reads no labels, so that rows without one are kept.
        pattern: Gives groups, and labels that the table lacks, from paths.

    Returns:
        The files. Rows that cannot be used are listed as skipped: without a file, without a label where others have
        one, a second row for a file, and all rows of a file with two labels.

    Raises:
        DataError: Columns that are not there or not clear, or rows without a group where others have one.
    """
    found = find_columns(table.rows, table.where, columns, labels=labels)
    rows = table.rows[found.head :]
    listing = Listing([], [], notices=[*table.notices, *found.notices])
    rows = _of_part(rows, found, part, table.where)
    if root is not None and not root.is_dir():
        raise OptionError(
            f"root={str(root)!r} is not a folder; expected the one that the paths of {table.where} are in"
        )
    reader = _Rows(table, found, root or table.folder, pattern, labels)
    reader.read(rows, listing)
    _refuse_wrong_root(listing, root or table.folder, table.where)
    return listing


def _of_part(rows: list[list[str]], found: Columns, part: str | None, where: str) -> list[list[str]]:
    place = found.places["part"]
    if place is None:
        if part is not None:
            raise OptionError(
                f"part={part!r} needs a column of {where} that says train, val or test; name it with "
                "columns={'part': ...} (--columns part=...), or remove part"
            )
        return rows
    names = natural_order({value for row in rows if (value := _value(row[place]))})
    if part is None:
        if len(names) < 2:
            return rows
        some = choose(names, "train") or names[0]
        raise DataError(
            f"{where} holds the parts {', '.join(names[:6])}; choose one with part={some!r} (--part {some}), or read "
            "all of them with columns={'part': None} (--columns part=)"
        )
    kind = part_kind(part)
    kept = [row for row in rows if _value(row[place]) == part] or [
        row for row in rows if kind and part_kind(_value(row[place])) == kind
    ]
    if not kept:
        raise unknown(f"part of {where} named", part, names)
    return kept


class _Image(NamedTuple):
    """What a row says of an image; "" for what it does not say."""

    name: str
    label: str
    group: str
    file: str
    box: Box | None
    id: str
    cluster: str


class _Rows:
    """Reads rows with known columns."""

    def __init__(self, table: Table, columns: Columns, folder: Path, pattern: PathPattern | None, labels: bool) -> None:
        self.where = table.where
        self.head = table.rows[0]
        self.columns = columns
        self.folder = folder
        self.pattern = pattern
        self.labels = labels
        self.endings = sorted(SUFFIXES)

    def cell(self, row: Sequence[str], kind: str) -> str:
        """Give the text of a cell, "" for a missing one."""
        place = self.columns.places[kind]
        return "" if place is None else _value(row[place])

    def file(self, name: str) -> str:
        """Give the file that a row names; one without an ending is looked for."""
        text = name if os.sep == "\\" else name.replace("\\", "/")
        path = os.path.normpath(self.folder / text)
        if os.path.splitext(text)[1].lower() in SUFFIXES or os.path.exists(path):
            return path
        for ending in (*self.endings, *(ending.upper() for ending in self.endings)):
            if os.path.exists(path + ending):
                self.endings = [ending.lower(), *(other for other in self.endings if other != ending.lower())]
                return path + ending
        return path

    def read(self, rows: Sequence[Sequence[str]], listing: Listing) -> None:
        """Read rows into a listing."""
        kept: dict[tuple[str, Box | None], _Image] = {}
        spoilt: dict[tuple[str, Box | None], str] = {}
        labels = _whole_numbers([self.cell(row, "label") for row in rows])
        labelled = self.labels and any(labels)
        unlabelled: list[str] = []
        in_field: Counter[str] = Counter()
        for row, label in zip(rows, labels, strict=True):
            name, box = self.path_of(row), self.box(row)
            if not name:
                listing.skipped.append(Skipped(printable(",".join(row)), "the row names no file"))
                continue
            if isinstance(box, str):
                listing.skipped.append(Skipped(printable(name), box))
                continue
            file = self.file(name)
            label, group = self.from_path(name, label, self.cell(row, "group"), labelled)
            key = (os.path.normcase(file), box)
            if labelled and not label:
                unlabelled.append(name)
                listing.skipped.append(Skipped(printable(name), "no label"))
            elif key in spoilt:
                listing.skipped.append(Skipped(printable(name), spoilt[key]))
            elif key in kept:
                clash = _clash((kept[key].label, kept[key].group), (label, group))
                if clash:
                    spoilt[key] = clash
                    listing.skipped.append(Skipped(printable(kept.pop(key).name), clash))
                listing.skipped.append(Skipped(printable(name), clash or "listed in an earlier row"))
            else:
                id_ = self.cell(row, "id") or (name if box is None else f"{name}#{in_field[file]}")
                in_field[file] += 1
                kept[key] = _Image(name, label if self.labels else "", group, file, box, id_, self.cell(row, "cluster"))
        self.fill(listing, list(kept.values()))
        if unlabelled:
            listing.notices.append(
                f"{len(unlabelled):,} of {len(rows):,} rows of {self.where} have no label (empty, NA) and are left "
                f"out; the first: {unlabelled[0]}"
            )
        if spoilt:
            (file, _), first = next(iter(spoilt.items()))
            listing.notices.append(
                f"{len(spoilt):,} image{'s' * (len(spoilt) != 1)} of {self.where} left out, because rows contradict "
                f"each other: {os.path.basename(file)} is {first}"
            )

    def from_path(self, name: str, label: str, group: str, labelled: bool) -> tuple[str, str]:
        """Give label and group of a row; a pattern gives groups, and labels where no column does."""
        if self.pattern is None:
            return label, group
        found = self.pattern.match(name)
        if found is None:
            raise DataError(f"{self.pattern.no_match([name])} ({self.where})")
        return found.label if not labelled and found.label is not None else label, found.group or group

    def path_of(self, row: Sequence[str]) -> str:
        """Give the path of a row; an apostrophe that is part of the name is kept."""
        place = self.columns.places["path"]
        assert place is not None
        raw = row[place].strip()
        if raw.startswith("'") and os.path.exists(self.folder / raw):
            return raw
        return unguard(raw)

    def box(self, row: Sequence[str]) -> Box | str | None:
        """Give the box of a row, or why there is none; None in a table without boxes."""
        if not self.columns.box:
            return None
        values = {edge: number(row[place]) for edge, place in self.columns.box.items()}
        if any(value is None for value in values.values()):
            return "the row has no box"
        edges = {edge: value for edge, value in values.items() if value is not None}
        relative = max(edges.values()) <= 1
        left, top = edges["xmin"], edges["ymin"]
        if "width" in edges:
            left -= edges["width"] / 2 * self.columns.centred
            top -= edges["height"] / 2 * self.columns.centred
            right, bottom = left + edges["width"], top + edges["height"]
        else:
            right, bottom = edges["xmax"], edges["ymax"]
        margin = self.columns.places["margin"]
        return Box(left, top, right, bottom, relative, None if margin is None else number(row[margin]))

    def fill(self, listing: Listing, kept: Sequence[_Image]) -> None:
        """Write the rows that are used."""
        lacking = [image.name for image in kept if not image.group]
        if lacking and len(lacking) < len(kept):
            place = self.columns.places["group"]
            column = "" if place is None or not self.columns.head else f" in the column {self.head[place]!r}"
            raise DataError(
                f"{len(lacking):,} of {len(kept):,} images of {self.where} have no group{column} (the first: "
                f"{lacking[0]}): whose are they? Fill in the patient, or the image's own name if it is nobody else's, "
                "or read no groups with columns={'group': None} (--columns group=)"
            )
        numbers: dict[str, int] = {}
        for image in kept:
            listing.paths.append(image.file)
            listing.ids.append(printable(image.id))
            listing.labels += [image.label] if image.label else []
            listing.groups += [image.group] if image.group else []
            listing.boxes += [image.box] if image.box is not None else []
            if self.columns.places["cluster"] is not None:
                listing.clusters.append(numbers.setdefault(image.cluster or f"only {image.id}", len(numbers)))


def _clash(one: tuple[str, str], two: tuple[str, str]) -> str:
    """Say in what two rows for one image contradict each other, "" if in nothing."""
    for what, first, second in zip(("label", "group"), one, two, strict=True):
        if first and second and spelling(first) != spelling(second):
            return f"listed with the {what} {first!r} and with {second!r}: neither is taken"
    return ""


def _value(text: str) -> str:
    """Give a cell without what a spreadsheet needs round it; "" for one that is missing."""
    text = text.strip()
    return "" if text in MISSING else unguard(text)


def _whole_numbers(labels: list[str]) -> list[str]:
    """Take the decimals off labels that are whole numbers, which a table with gaps writes as 3.0 or 3,0."""
    if any("." in label or "," in label for label in labels) and all(
        re.fullmatch(r"\d+([.,]0+)?", label) for label in labels if label
    ):
        return [re.split("[.,]", label)[0] for label in labels]
    return labels


def _refuse_wrong_root(listing: Listing, folder: Path, where: str) -> None:
    """If no file is there, look where they may be, and say it."""
    some = listing.paths[:: max(1, len(listing.paths) // 20)][:20]
    if not some or any(os.path.lexists(path) for path in some):
        return
    relative = [os.path.relpath(path, folder) for path in some]
    folders = [Path(), folder.parent, *(path for path in sorted(folder.glob("*")) if path.is_dir())][:200]
    for other in folders:
        if any((other / name).exists() for name in relative):
            raise DataError(
                f"no file of {where} is in {str(folder)!r}, but {relative[0]!r} and others are in {str(other)!r}; pass "
                f"root={str(other)!r} (--root {other})"
            )


def table_rows(cells: ImageSet, folder: Path | None) -> Iterator[dict[str, Any]]:
    """Give one row an image: path, label, group, cluster, the edges of a box, and the id if it is not the path.

    Args:
        cells: Images that are files, or boxes in files.
        folder: What paths are relative to; None gives absolute ones.
    """
    for k, place in enumerate(cells.file_places()):
        path = os.path.abspath(place.path)
        if folder is not None:
            with contextlib.suppress(ValueError):  # on another drive
                path = os.path.relpath(path, os.path.abspath(folder)).replace(os.sep, "/")
        row: dict[str, Any] = {"path": path}
        if cells.labels is not None:
            row["label"] = cells.class_names[cells.labels[k]]
        if cells.groups is not None:
            row["group"] = str(cells.groups[k])
        if cells.clusters is not None:
            row["cluster"] = int(cells.clusters[k])
        if place.box is not None:
            row |= dict(zip(("xmin", "ymin", "xmax", "ymax"), map(int, place.box), strict=True)) | {"margin": 0}
        if str(cells.ids[k]) != path:
            row["id"] = str(cells.ids[k])
        yield row


_KINDS = {
    "path": "text", "label": "text", "group": "text", "cluster": "whole", "xmin": "whole", "ymin": "whole",
    "xmax": "whole", "ymax": "whole", "margin": "whole", "id": "text",
}  # fmt: skip


def write_cells(cells: ImageSet, path: Path) -> Path:
    """Write a set as a table that ``load`` reads, its paths relative to the table.

    Args:
        cells: Images that are files, or boxes in files.
        path: Ends in ``.csv`` or ``.parquet``.

    Raises:
        OptionError: Images that are no files.
        MissingPackageError: Parquet without pyarrow.
    """
    rows = list(table_rows(cells, path.parent))
    kinds = {name: kind for name, kind in _KINDS.items() if any(name in row for row in rows)} or {"path": "text"}
    if path.suffix.lower() == ".parquet":
        return write_table(path, kinds, rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(kinds)
    for row in rows:
        writer.writerow([_guarded(name, str(row.get(name, ""))) for name in kinds])
    try:
        return write_text(path, text.getvalue())
    except UnicodeEncodeError:
        bad = next(row["path"] for row in rows if not _is_text(row["path"]))
        raise DataError(f"the file name {printable(bad)!r} is not text and fits in no table; rename the file") from None


def _guarded(name: str, text: str) -> str:
    """Protect a cell from a spreadsheet; a path only where it would run as a formula: ``../a.png`` is left as it is."""
    if name == "path" and not re.match(r"[=+\-@'\s]", text):
        return text
    return guard(text) if text else ""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_frame(cells: ImageSet) -> pandas.DataFrame:
    """See ``ImageSet.to_frame``."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise MissingPackageError("to_frame needs pandas: pip install pandas, or .save a .csv") from None
    found: dict[str, Any] = {"id": [str(id_) for id_ in cells.ids]}
    if cells.has_files:
        rows = list(table_rows(cells, None))
        names = ("path", "xmin", "ymin", "xmax", "ymax", "margin")
        found |= {name: [row[name] for row in rows] for name in names if rows and name in rows[0]}
    if cells.labels is not None:
        found["label"] = [cells.class_names[label] for label in cells.labels]
    if cells.groups is not None:
        found["group"] = [str(group) for group in cells.groups]
    if cells.clusters is not None:
        found["cluster"] = cells.clusters.copy()
    found |= {"height": cells.sizes[:, 0].copy(), "width": cells.sizes[:, 1].copy()}
    return pandas.DataFrame(found)
