"""Tables on disk: CSV, Parquet, JSON lines and XLSX, written whole or not at all."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import MissingPackageError, OptionError, printable
from cellclf.utils.atomic import check_writable, replacing, write_text
from cellclf.utils.spreadsheet import disarmed, quoted

_PACKAGES = {".parquet": "pyarrow", ".xlsx": "openpyxl"}
_MOST_ROWS = 2**20 - 1  # of a sheet, without the head


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write a table as CSV text; what a row lacks is an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe, which the readers here take out again.

    Args:
        columns: Names of the columns, in order.
        rows: One mapping a row; None is an empty cell.

    Raises:
        ValueError: A row has a column that is not named.

    Examples:
        >>> print(csv_text(["id", "n"], [{"id": "a", "n": 1}, {"id": "b"}]))
        id,n
        a,1
        b,
        <BLANKLINE>
        >>> print(csv_text(["id"], [{"id": "=1+1"}]).splitlines()[1])
        '=1+1
    """
    lines = [",".join(map(_cell, columns))]
    for row in rows:
        if unnamed := row.keys() - set(columns):
            raise ValueError(f"a row has {', '.join(sorted(unnamed))}; expected the columns {', '.join(columns)}")
        lines.append(",".join(_cell(row.get(name)) for name in columns) or '""')
    return "\n".join([*lines, ""])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return quoted(disarmed(value)) if isinstance(value, str) else quoted(str(value))


def check_table_path(path: str | Path, what: str = "the table", endings: Sequence[str] = (".csv", ".parquet")) -> Path:
    """Refuse a table that could not be written, before the work that fills it.

    Args:
        path: The file to write.
        what: What messages call it.
        endings: What its name may end in.

    Raises:
        OptionError: The name ends in something else.
        MissingPackageError: Parquet without pyarrow, XLSX without openpyxl.
        RunFolderError: Nothing can be written there.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        named = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
        raise OptionError(f"{what} cannot be written to {path.name!r}; expected a name ending in {named}")
    require_writer(path)
    return check_writable(path)


def require_writer(path: Path) -> None:
    """Raise MissingPackageError if a table cannot be written because the package for its ending is missing."""
    package = _PACKAGES.get(path.suffix.lower())
    try:
        importlib.import_module("pyarrow.parquet" if package == "pyarrow" else package or "csv")
    except ImportError:
        raise MissingPackageError(
            f"writing {path.name} needs {package}: pip install {package}, or write .csv"
        ) from None


def write_table(
    path: str | Path,
    columns: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    *,
    what: str = "the table",
    endings: Sequence[str] = (".csv", ".parquet"),
) -> Path:
    """Write a table by the ending of its name.

    Args:
        path: Ends in one of ``endings``.
        columns: Name of each column -> "text", "whole", "number", or "texts" for lists, which CSV joins with "|".
        rows: One mapping a row.
        what: What messages call it.
        endings: Those that are welcome here: ".csv", ".parquet", ".jsonl" for a JSON object a line, ".xlsx".

    Raises:
        OptionError: Another ending, or more rows than a sheet of XLSX has.
        MissingPackageError: Parquet without pyarrow, XLSX without openpyxl.
    """
    path = check_table_path(path, what, endings)
    ending = path.suffix.lower()
    if ending == ".jsonl":
        lines = (json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) for row in rows)
        return write_text(path, "".join(f"{line}\n" for line in lines))
    joined = ({k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    if ending == ".csv":
        return write_text(path, csv_text(list(columns), joined))
    if ending == ".xlsx":
        return _write_xlsx(path, list(columns), joined)
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "texts": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with replacing(path) as new:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), new)
    return path


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write one sheet; texts are texts, so that none is run as a formula."""
    openpyxl = importlib.import_module("openpyxl")
    cells = importlib.import_module("openpyxl.cell")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("table")

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        made = cells.WriteOnlyCell(sheet, printable(value)[:32_767])  # the longest text of a cell
        made.data_type = "s"
        return made

    sheet.append([cell(name) for name in columns])
    for number, row in enumerate(rows, 1):
        if number > _MOST_ROWS:
            raise OptionError(
                f"{path.name} would have more than {_MOST_ROWS:,} rows, which XLSX cannot hold; write .csv"
            )
        sheet.append([cell(row.get(name)) for name in columns])
    with replacing(path) as new:
        book.save(new)
    return path
