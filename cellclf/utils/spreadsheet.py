"""Tables that pass through a spreadsheet: written so that it changes nothing, read whatever it made of them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from cellclf.errors import DataError

_MONTHS = (
    "jan|fe[bv]|fév|m[aä]r|mr[tz]|a[pb]r|avr|ma[ijy]|mei|mag|ju[ln]|juil?|lug|giu|a[ug][gou]|aoû|sep|set|o[ck]t|ott|out"
    "|nov|d[eé][cz]|dic|ene|gen"
)
_TRUTHS = "true|false|wahr|falsch|vrai|faux|verdadero|falso|vero|waar|onwaar|verdadeiro"

PLAIN = (
    r"|0|[1-9][0-9]{0,9}"  # a longer number would be shown, and saved, as 1.23E+12
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
    r"|[0-9A-Za-z_](?:[\s\S]*)\.(?:png|jpe?g|tiff?|bmp|webp|gif)"
    rf"|(?!(?:{_TRUTHS})$)(?!(?:{_MONTHS})[\s\S]*[0-9])[A-Za-z_\u00c0-\u024f\u0370-\u1fff\u3041-\ud7ff](?:[\s\S]*\S)?"
)
"""What a spreadsheet leaves as it is, as a regular expression for the whole text, in the grammar that Python and
JavaScript share; case does not matter. Everything else gets an apostrophe: formulas, leading zeros, ``73928e05``,
dates, truth values, blanks at the ends. What gets one without need comes back unharmed all the same."""

_PLAIN = re.compile(PLAIN, re.IGNORECASE)
_FORMULA = re.compile(r"['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""What a cell begins with that a spreadsheet runs; the apostrophe, so that ``restored`` can tell one from the other.
The last four are the signs of full width, which East Asian editions read as the others."""
_QUOTED = re.compile(r"""[",;\t\r\n]|^\s|\s$""")


def guard(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula or rewrite as a number or date.

    Spreadsheets take no apostrophe out of a CSV file that they open, and write it back as it was; in a cell that
    somebody types, it makes the rest plain text. ``unguard`` undoes both.

    Args:
        text: Any text.

    Examples:
        >>> [guard(text) for text in ("007", "=1+1", "73928e05", "'a", "12", "BA_007.png", "Mar 1")]
        ["'007", "'=1+1", "'73928e05", "''a", '12', 'BA_007.png', "'Mar 1"]
    """
    return text if _PLAIN.fullmatch(text) else "'" + text


def unguard(text: str) -> str:
    """Undo ``guard``.

    Examples:
        >>> unguard("'007"), unguard("''a"), unguard("007")
        ('007', "'a", '007')
    """
    return text.removeprefix("'")


def disarmed(text: str) -> str:
    r"""Put an apostrophe before a text that a spreadsheet would run as a formula, and before nothing else.

    For tables that programs read more often than people: ``guard`` changes more texts. ``restored`` undoes it.

    Args:
        text: Any text.

    Examples:
        >>> [disarmed(text) for text in ('=HYPERLINK("http://a")', "-1", "007", "'a")]
        ['\'=HYPERLINK("http://a")', "'-1", '007', "''a"]
    """
    return "'" + text if _FORMULA.match(text) else text


def restored(text: str) -> str:
    """Undo ``disarmed`` or ``guard`` in a table that may have been written by anyone.

    An apostrophe that neither of them would have written belongs to the text.

    Examples:
        >>> restored("'=1+1"), restored("'007"), restored("''a"), restored("'cells'"), restored("a")
        ('=1+1', '007', "'a", "'cells'", 'a')
    """
    rest = text[1:]
    armed = _FORMULA.match(rest) or not _PLAIN.fullmatch(rest)
    return rest if text.startswith("'") and armed else text


def quoted(cell: str) -> str:
    """Quote a cell of a CSV where a separator, a line end or a blank at an end asks for it."""
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def csv_line(cells: list[str]) -> str:
    """Write one line of CSV, each cell guarded, and quoted where a comma, a semicolon or a blank asks for it.

    Quotes stand only where they are needed: a spreadsheet that separates by semicolons takes a line as one cell, and
    this is how it comes back unchanged.

    Examples:
        >>> print(csv_line(["007", "a, b", ""]).rstrip())
        '007,"a, b",
    """
    return ",".join(quoted(guard(cell)) for cell in cells) + "\r\n"


def read_rows(path: Path, expected: str) -> tuple[list[list[str]], list[str]]:
    """Read a CSV as a spreadsheet, a browser or a program wrote it.

    Commas, semicolons, tabs or upright strokes; a first line ``sep=;``; UTF-8 with or without its mark, UTF-16, or
    Windows-1252; lines that are one quoted cell, as a spreadsheet makes them where another separator is usual. Empty
    lines are left out, and all lines are as long as the first.

    Args:
        path: The file.
        expected: The columns, for messages.

    Returns:
        Rows of texts, the head first, and what was converted, in words.

    Raises:
        DataError: No file, no text, no table.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path}: {error.strerror}; expected a CSV with {expected}") from None
    text, notices = _decoded(raw, path, expected)
    found = re.match(r'"?sep=(.)"?[^\r\n]*(?:\r\n|\r|\n)', text, re.IGNORECASE)
    text = text[found.end() :] if found else text
    text = _without_comments(text)
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = found[1] if found else max(",;\t|", key=head.count)
    try:
        rows = _parsed(text, separator)
        if rows and len(rows[0]) == 1 and max(map(rows[0][0].count, ",;\t")):  # whole lines in one cell each
            separator = max(",;\t", key=rows[0][0].count)
            rows = [cells for row in rows for cells in _parsed(row[0], separator)]
    except csv.Error as error:
        raise DataError(f"{path.name} is no CSV ({error}); expected {expected}") from None
    if not rows:
        raise DataError(f"{path.name} is empty; expected a CSV with {expected}")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if any(cell.strip() for cell in row[width:]):
            raise DataError(
                f"row {number} of {path.name} has {len(row)} cells and its first row {width}: put quotation marks "
                f"round a cell that holds {separator!r}"
            )
    return [(row + [""] * width)[:width] for row in rows], notices


def _without_comments(text: str) -> str:
    """Leave out lines before the head that begin with ``#`` and have fewer separators than the head."""
    lines = re.match(r"(?:[ \t]*#[^\r\n]*(?:\r\n|\r|\n)|[ \t]*(?:\r\n|\r|\n))+", text)
    if lines is None:
        return text
    rest = text[lines.end() :]
    head = next(iter(rest.splitlines()), "")
    most = max(map(head.count, ",;\t"))
    if all(max(map(line.count, ",;\t")) < most for line in lines[0].splitlines() if line.strip()):
        return rest
    return text


def _decoded(raw: bytes, path: Path, expected: str) -> tuple[str, list[str]]:
    if raw.startswith(b"PK\x03\x04") or raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path.name} is a workbook; in the spreadsheet, save it as CSV UTF-8, with {expected}")
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16"), []
        if raw[:64:2].isascii() and raw[1:64:2] and not any(raw[1:64:2]):  # UTF-16 whose mark was lost
            return raw.decode("utf-16-le"), []
        text, notices = raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
        notices = [f"{path.name} is not UTF-8 and was read as Windows-1252; save it as CSV UTF-8 to be sure of letters"]
    if "\x00" in text:
        raise DataError(f"{path.name} is no text: it holds zero bytes; expected a CSV with {expected}")
    return text, notices


def _parsed(text: str, separator: str) -> list[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=False)
    return [row for row in rows if any(cell.strip() for cell in row)]
