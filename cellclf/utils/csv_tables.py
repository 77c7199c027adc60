"""Tables on disk: CSV and Parquet, written whole or not at all."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import MissingPackageError, OptionError
from cellclf.utils.atomic import replacing, write_text


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write a table as CSV text; what a row lacks is an empty cell.

    Args:
        columns: Names of the columns, in order.
        rows: One mapping a row; None is an empty cell.

    Examples:
        >>> print(csv_text(["id", "n"], [{"id": "a", "n": 1}, {"id": "b"}]))
        id,n
        a,1
        b,
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def check_table_path(path: str | Path, what: str = "the table") -> Path:
    """Refuse a table that could not be written, before the work that fills it.

    Args:
        path: The file to write.
        what: What messages call it.

    Raises:
        OptionError: The name ends neither in ".csv" nor in ".parquet".
        MissingPackageError: Parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise OptionError(f"{what} cannot be written to {path.name!r}; expected a name ending in .csv or .parquet")
    if path.suffix.lower() == ".parquet":
        try:
            importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise MissingPackageError(
                f"writing {path.name} needs pyarrow: pip install pyarrow, or write .csv"
            ) from None
    return path


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
