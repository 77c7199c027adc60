"""What the rows of a table say: which file is of which class and patient; what they leave open or contradict."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cellclf.data.columns import MISSING, natural_order
from cellclf.data.csv_tables import Table
from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import Skipped
from cellclf.data.listing import Box, Listing
from cellclf.data.parts import choose, part_kind
from cellclf.data.path_patterns import PathPattern
from cellclf.data.spelling import spelling
from cellclf.data.table_columns import Columns, find_columns, number
from cellclf.errors import DataError, OptionError, printable, unknown
from cellclf.utils.spreadsheet import restored


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
    if found.head and (again := rows.count(table.rows[0])):
        rows = [row for row in rows if row != table.rows[0]]
        listing.notices.append(f"{again:,} rows of {table.where} repeat the names of the columns and are left out")
    rows = _of_part(rows, found, part, table.where, listing.notices)
    if root is not None and not root.is_dir():
        raise OptionError(
            f"root={str(root)!r} is not a folder; expected the one that the paths of {table.where} are in"
        )
    reader = _Rows(table, found, root or table.folder, pattern, labels)
    reader.read(rows, listing)
    _refuse_wrong_root(listing, root or table.folder, table.where)
    return listing


def _of_part(
    rows: list[list[str]], found: Columns, part: str | None, where: str, notices: list[str]
) -> list[list[str]]:
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
    if nowhere := sum(not _value(row[place]) for row in rows):
        notices.append(f"{nowhere:,} of {len(rows):,} rows of {where} name no part and are left out")
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
    domain: str


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
        patients = _whole_numbers([self.cell(row, "group") for row in rows])
        if self.labels:
            _refuse_no_classes(labels, self.where)
        labelled = self.labels and any(labels)
        unlabelled: list[str] = []
        in_field: Counter[str] = Counter()
        for row, label, group in zip(rows, labels, patients, strict=True):
            name, box = self.path_of(row), self.box(row)
            if not name:
                listing.skipped.append(Skipped(printable(",".join(row)), "the row names no file"))
                continue
            if isinstance(box, str):
                listing.skipped.append(Skipped(printable(name), box))
                continue
            file = self.file(name)
            label, group = self.from_path(name, label, group, labelled)
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
                cluster, domain = self.cell(row, "cluster"), self.domain(name, row)
                kept[key] = _Image(name, label if self.labels else "", group, file, box, id_, cluster, domain)
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

    def domain(self, name: str, row: Sequence[str]) -> str:
        """Give the domain of a row, from its column, else from the path."""
        found = None if self.pattern is None else self.pattern.match(name)
        return self.cell(row, "domain") or (found.domain if found is not None and found.domain else "")

    def path_of(self, row: Sequence[str]) -> str:
        """Give the path of a row; an apostrophe or a blank that is part of the name is kept."""
        place = self.columns.places["path"]
        assert place is not None
        raw = row[place]
        if raw[:1] in ("'", " ") and os.path.exists(self.folder / raw):
            return raw
        return restored(raw.strip())

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
        drawn_on = None if relative else self.drawn_on(row, right, bottom, (bottom - top, right - left))
        return Box(left, top, right, bottom, relative, None if margin is None else number(row[margin]), drawn_on)

    def drawn_on(
        self, row: Sequence[str], right: float, bottom: float, own: tuple[float, float]
    ) -> tuple[int, int] | None:
        """Give the size of the field that a row names; None if that is the size of the box itself, or cannot be."""
        if self.columns.field_size is None:
            return None
        height, width = (number(row[place]) or 0 for place in self.columns.field_size)
        is_own = abs(height - own[0]) <= 1 and abs(width - own[1]) <= 1
        return None if is_own or right > width + 1 or bottom > height + 1 else (int(height), int(width))

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
        domains = any(image.domain for image in kept)
        if nowhere := sum(not image.domain for image in kept) * domains:
            listing.notices.append(
                f"{nowhere:,} of {len(kept):,} images of {self.where} have no domain (laboratory, hospital, scanner) "
                "and count as 'unknown'"
            )
        numbers: dict[str, int] = {}
        for image in kept:
            listing.paths.append(image.file)
            listing.ids.append(printable(image.id))
            listing.labels += [image.label] if image.label else []
            listing.groups += [image.group] if image.group else []
            listing.domains += [image.domain or "unknown"] if domains else []
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
    return "" if text in MISSING else restored(text)


def _whole_numbers(labels: list[str]) -> list[str]:
    """Take the decimals off labels that are whole numbers, which a table with gaps writes as 3.0 or 3,0."""
    if any("." in label or "," in label for label in labels) and all(
        re.fullmatch(r"\d+([.,]0+)?", label) for label in labels if label
    ):
        return [re.split("[.,]", label)[0] for label in labels]
    return labels


_LIST = re.compile(r"""\s*[\[{(].*["',].*[\]})]\s*""", re.DOTALL)
_FEW_ROWS = 10


def _refuse_no_classes(labels: Sequence[str], where: str) -> None:
    """Refuse labels that cannot be classes: lists of several, and numbers that were measured."""
    if listed := next((label for label in labels if _LIST.fullmatch(label)), None):
        raise DataError(
            f"the label {printable(listed[:60])!r} of {where} is a list; expected one class an image: write the name "
            "alone, and leave images with several classes out"
        )
    values = [number(label) for label in labels if label]
    numbers = {value for value in values if value is not None and value != int(value)}
    if len(values) >= _FEW_ROWS and None not in values and len(numbers) > len(values) / 2:
        raise DataError(
            f"the labels of {where} are {len(numbers):,} different numbers with decimals ({labels[0]}, ...): "
            "measurements, not classes; name the column of the classes with columns={'label': ...} (--columns "
            "label=...), or say that there is none with columns={'label': None} (--columns label=)"
        )


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


def parts_of_table(table: Table, columns: Mapping[str, str | None] | None = None) -> list[str]:
    """List the parts that a column of a table names, in natural order.

    Args:
        table: The table.
        columns: Kind of column -> its name, see ``load``.
    """
    given = {kind: name for kind, name in (columns or {}).items() if kind in ("path", "part")}
    try:
        found = find_columns(
            table.rows, table.where, {"label": None, "group": None, "box": None, **given}, labels=False
        )
    except DataError:
        return []
    place = found.places["part"]
    rows = table.rows[found.head :]
    return [] if place is None else natural_order({value for row in rows if (value := _value(row[place]))})
