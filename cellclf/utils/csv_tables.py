"""Tables on disk: CSV and Parquet, written whole or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import MissingPackageError, OptionError
from cellclf.utils.atomic import check_writable, replacing, write_text
from cellclf.utils.spreadsheet import disarmed, quoted


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


def check_table_path(path: str | Path, what: str = "the table") -> Path:
    """Refuse a table that could not be written, before the work that fills it.

    Args:
        path: The file to write.
        what: What messages call it.

    Raises:
        OptionError: The name ends neither in ".csv" nor in ".parquet".
        MissingPackageError: Parquet without pyarrow.
        RunFolderError: Nothing can be written there.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise OptionError(f"{what} cannot be written to {path.name!r}; expected a name ending in .csv or .parquet")
    if path.suffix.lower() == ".parquet":
        require_pyarrow(path)
    return check_writable(path)


def require_pyarrow(path: Path) -> None:
    """Raise MissingPackageError if a Parquet file cannot be written because its package is missing."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackageError(f"writing {path.name} needs pyarrow: pip install pyarrow, or write .csv") from None


def write_table(
    path: str | Path,
    columns: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    *,
    what: str = "the table",
) -> Path:
    """Write a table as CSV or Parquet, by the ending of its name.

    Args:
        path: Ends in ".csv" or ".parquet".
        columns: Name of each column -> "text", "whole", "number", or "texts" for lists, which CSV joins with "|".
        rows: One mapping a row.
        what: What messages call it.

    Raises:
        OptionError: Another ending.
        MissingPackageError: Parquet without pyarrow.
    """
    path = check_table_path(path, what)
    if path.suffix.lower() == ".csv":
        joined = ({k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
        return write_text(path, csv_text(list(columns), joined))
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "texts": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with replacing(path) as new:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), new)
    return path
