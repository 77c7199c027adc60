"""Tables of images as files: CSV and Parquet read and written, DataFrames read and made."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.data.columns import is_missing
from cellclf.data.image_set import ImageSet
from cellclf.data.opening import SUFFIXES
from cellclf.errors import DataError, MissingPackageError, printable
from cellclf.utils.atomic import write_text
from cellclf.utils.csv_tables import write_table
from cellclf.utils.spreadsheet import guard, read_rows

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
        named = any(name is not None for name in frame.index.names) or _names_images(frame.index)
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


def _names_images(index: Any) -> bool:
    """Whether an index without a name holds image files."""
    some = list(index[:20])
    return bool(some) and all(
        isinstance(name, str | os.PathLike) and os.path.splitext(name)[1].lower() in SUFFIXES for name in some
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
        if isinstance(value, bytes | dict):
            raise DataError(
                f"{where} holds images inside ({type(value).__name__} values); expected texts and numbers: save them "
                "as files, and name these in a column path, or pass load((images, labels))"
            )
        raise DataError(
            f"{where} holds {type(value).__name__} values; expected texts and numbers: pass images as load((images, "
            "labels))"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def table_rows(cells: ImageSet, folder: Path | None) -> Iterator[dict[str, Any]]:
    """Give one row an image: path, label, group, domain, cluster, the edges of a box, and the id if it is not the path.

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
        if cells.domains is not None:
            row["domain"] = str(cells.domains[k])
        if cells.clusters is not None:
            row["dedup_cluster"] = int(cells.clusters[k])
        if place.box is not None:
            row |= dict(zip(("xmin", "ymin", "xmax", "ymax"), map(int, place.box), strict=True)) | {"margin": 0}
        if str(cells.ids[k]) != path:
            row["id"] = str(cells.ids[k])
        yield row


_KINDS = {
    "path": "text", "label": "text", "group": "text", "domain": "text", "dedup_cluster": "whole", "xmin": "whole",
    "ymin": "whole", "xmax": "whole", "ymax": "whole", "margin": "whole", "id": "text",
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
    if bad := [row["path"] for row in rows if not _is_text(row["path"])]:
        raise DataError(f"the file name {printable(bad[0])!r} is not text and fits in no table; rename the file")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(kinds)
    for row in rows:
        writer.writerow([_guarded(name, str(row.get(name, ""))) for name in kinds])
    return write_text(path, text.getvalue())


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
    if cells.domains is not None:
        found["domain"] = [str(domain) for domain in cells.domains]
    if cells.clusters is not None:
        found["dedup_cluster"] = cells.clusters.copy()
    found |= {"height": cells.sizes[:, 0].copy(), "width": cells.sizes[:, 1].copy()}
    return pandas.DataFrame(found)
