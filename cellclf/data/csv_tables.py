"""Tables of images in CSV: path, label and group of each image, however the columns are named."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import Skipped
from cellclf.data.listing import Listing
from cellclf.errors import DataError, one_line, printable
from cellclf.utils.spreadsheet import restored

_NAMES = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path"),
    "label": ("label", "class", "class_name", "target"),
    "group": ("group", "patient", "slide", "patient_id", "slide_id", "subject"),
}


def list_csv(path: Path) -> Listing:
    """Read the rows of a CSV of path, label and group; the first line may name the columns.

    The separator is the most frequent of comma, semicolon and tab in the first line. Paths are relative to the CSV's
    folder. Rows that cannot be used are listed as skipped.
    """
    rows = _read_rows(path)
    head = [cell.strip().lower() for cell in rows[0]]
    columns = {kind: next((head.index(name) for name in names if name in head), None) for kind, names in _NAMES.items()}
    listing = Listing([], [])
    if columns["path"] is None:
        if os.path.splitext(head[0])[1] not in SUFFIXES:
            raise DataError(f"{path} has the columns {', '.join(rows[0])}; expected path, label and, if known, group")
        columns = {"path": 0, "label": 1 if len(head) > 1 else None, "group": 2 if len(head) > 2 else None}
    else:
        rows = rows[1:]
        unused = [name for k, name in enumerate(head) if name and k not in columns.values()]
        if unused:
            listing.notices.append(f"columns of {path.name} that were not used: {printable(', '.join(unused))}")

    def cell(row: list[str], kind: str) -> str:
        column = columns[kind]
        return restored(row[column].strip()) if column is not None and column < len(row) else ""

    def named(row: list[str], kind: str) -> str:
        return printable(cell(row, kind))

    labelled = any(cell(row, "label") for row in rows)
    grouped = any(cell(row, "group") for row in rows)
    seen: dict[str, str] = {}
    for row in rows:
        name, label = cell(row, "path"), named(row, "label")
        file = os.path.normpath(path.parent / (name if os.sep == "\\" else name.replace("\\", "/")))
        if not name:
            listing.skipped.append(Skipped(one_line(",".join(row)), "the row names no file"))
        elif file in seen:
            listing.skipped.append(
                Skipped(printable(name), f"listed in an earlier row{_other_label(seen[file], label)}")
            )
        elif labelled and not label:
            listing.skipped.append(Skipped(printable(name), "no label"))
        else:
            seen[file] = label
            listing.paths.append(file)
            listing.ids.append(printable(name))
            listing.labels += [label] if labelled else []
            listing.groups += [named(row, "group") or f"only {printable(name)}"] if grouped else []
    return listing


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            rows = [row for row in csv.reader(file, delimiter=separator) if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8 CSV") from None
    except csv.Error as error:
        raise DataError(
            f"{path} is not a CSV ({error}); expected the columns path, label and, if known, group"
        ) from None
    if not rows:
        raise DataError(f"{path} is empty; expected the columns path, label and, if known, group")
    return rows


def _other_label(first: str, second: str) -> str:
    return "" if first == second else f" with the label {first!r}, now {second!r}: the first one is used"
