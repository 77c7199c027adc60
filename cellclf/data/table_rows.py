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
from cellclf.data.named_files import Key, NamedFiles
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
    rows = _of_part(rows, found, part, table.where, listing.notices, columns)
    if root is not None and not root.is_dir():
        raise OptionError(
            f"root={str(root)!r} is not a folder; expected the one that the paths of {table.where} are in"
        )
    if found.head and not rows and table.rows[1:] == []:
        raise DataError(
            f"{table.where} has no rows below {', '.join(table.rows[0])[:200]}; expected one for each image"
        )
    reader = _Rows(table, found, root or table.folder, pattern, labels)
    reader.read(rows, listing)
    return listing


def _of_part(
    rows: list[list[str]],
    found: Columns,
    part: str | None,
    where: str,
    notices: list[str],
    columns: Mapping[str, str | None] | None,
) -> list[list[str]]:
    parts = _parts(rows, found, columns)
    if parts is None:
        if part is not None:
            raise OptionError(
                f"part={part!r} needs a column of {where} that says train, val or test; name it with "
                "columns={'part': ...} (--columns part=...), or remove part"
            )
        return rows
    names = natural_order({*parts} - {""})
    if part is None:
        if len(names) < 2:
            return rows
        some = choose(names, "train") or names[0]
        raise DataError(
            f"{where} holds the parts {', '.join(names[:6])}; choose one with part={some!r} (--part {some}), or read "
            "all of them with columns={'part': None} (--columns part=)"
        )
    kind = part_kind(part)
    chosen = {part} if part in names else {name for name in names if kind and part_kind(name) == kind}
    kept = [row for row, name in zip(rows, parts, strict=True) if name in chosen]
    if not kept:
        raise unknown(f"part of {where} named", part, names)
    if nowhere := parts.count(""):
        notices.append(f"{nowhere:,} of {len(rows):,} rows of {where} name no part and are left out")
    return kept


def _parts(rows: Sequence[Sequence[str]], found: Columns, columns: Mapping[str, str | None] | None) -> list[str] | None:
    """Give the part of each row, from its column, else from the folders train, test ... in the paths; None for none."""
    place = found.places["part"]
    if place is not None:
        return [_value(row[place]) for row in rows]
    if "part" in (columns or {}):
        return None
    places = [place for kind in ("folder", "path") if (place := found.places[kind]) is not None]
    paths = ["/".join(row[place].strip() for place in places).replace("\\", "/") for row in rows]
    folders = [path.split("/")[:-1] for path in paths]
    for depth in range(min(map(len, folders), default=0)):
        kinds = {part_kind(name) for name in {names[depth] for names in folders}}
        if None not in kinds and len(kinds) > 1:
            return [names[depth] for names in folders]
    return None


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
        self.found: dict[Key, str] = {}
        self.finder = NamedFiles(folder, table.where)

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

    def drop_folders(self, rows: Sequence[Sequence[str]]) -> None:
        """Take a column of folders for none if files are where their names alone say, and none where both say."""
        place, some = self.columns.places["folder"], rows[:20]
        if place is None or any(os.path.exists(self.file(self.path_of(row))) for row in some):
            return
        self.columns.places["folder"] = None
        if not any(os.path.exists(self.file(name)) for row in some if (name := self.path_of(row))):
            self.columns.places["folder"] = place

    def find(self, rows: Sequence[Sequence[str]], labels: Sequence[str], notices: list[str]) -> None:
        """Find the file of every name, also where it is spelt otherwise or lies in another folder.

        Raises:
            DataError: No file is there, but one folder holds them all, or they have other endings.
        """
        self.drop_folders(rows)
        names = map(self.path_of, rows)
        self.found = {(name, label): self.file(name) for name, label in zip(names, labels, strict=True) if name}
        missing = [key for key, path in self.found.items() if not os.path.lexists(path)]
        if not missing:
            return
        named = self.finder.find(missing)
        if not named.files and len(missing) == len(self.found):
            _refuse_wrong_root([self.found[key] for key in missing], self.folder, self.where)
            named = self.finder.find_below(missing)
            if not named.files and (hint := self.finder.hint(missing)):
                first = printable(missing[0][0])
                raise DataError(f"no file of {self.where} is there: the first is {first!r}, and {hint}")
        self.found |= named.files
        notices += named.notices

    def read(self, rows: Sequence[Sequence[str]], listing: Listing) -> None:
        """Read rows into a listing."""
        kept: dict[tuple[str, Box | None], _Image] = {}
        spoilt: dict[tuple[str, Box | None], str] = {}
        labels = _whole_numbers([self.cell(row, "label") for row in rows])
        patients = _whole_numbers([self.cell(row, "group") for row in rows])
        if self.labels:
            _refuse_no_classes(labels, self.where)
        labelled = self.labels and any(labels)
        self.find(rows, labels, listing.notices)
        unlabelled: list[str] = []
        again = 0
        several = {name for name, n in Counter(name for name, _ in self.found).items() if n > 1}
        in_field: Counter[str] = Counter()
        for row, label, group in zip(rows, labels, patients, strict=True):
            name, box = self.path_of(row), self.box(row)
            if not name:
                listing.skipped.append(Skipped(printable(",".join(row)), "the row names no file"))
                continue
            if isinstance(box, str):
                listing.skipped.append(Skipped(printable(name), box))
                continue
            file = self.found[name, label]
            if (problem := self.finder.problem(name)) and not os.path.lexists(file):
                listing.skipped.append(Skipped(printable(name), problem))
                continue
            if name in several and os.path.basename(name) == name:  # the same name in the folder of each class
                name = os.path.relpath(file, self.folder).replace(os.sep, "/")
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
                again += not clash
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
        if again > len(rows) / 2:
            listing.notices.append(
                f"{again:,} of {len(rows):,} rows of {self.where} name a file of an earlier row and are left out: if "
                "each row is one of several cells in an image, add xmin, ymin, xmax and ymax of each"
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
        name = raw if raw[:1] in ("'", " ") and os.path.exists(self.folder / raw) else restored(raw.strip())
        folder = self.cell(row, "folder")
        return f"{folder.rstrip('/')}/{name}" if name and folder else name

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
    """Refuse labels that cannot be classes: lists of several, several in one, and numbers that were measured."""
    if listed := next((label for label in labels if _LIST.fullmatch(label)), None):
        raise DataError(
            f"the label {printable(listed[:60])!r} of {where} is a list; expected one class an image: write the name "
            "alone, and leave images with several classes out"
        )
    known = {*labels} - {""}
    for label in sorted(known):
        names = {name.strip() for name in re.split(r"[|;,+&/]", label)}
        if len(names) > 1 and names <= known:
            raise DataError(
                f"the label {printable(label[:60])!r} of {where} names several classes; expected one an image: leave "
                "images with several classes out, or rename it if it is a class of its own"
            )
    values = [number(label) for label in labels if label]
    numbers = {value for value in values if value is not None and value != int(value)}
    if len(values) >= _FEW_ROWS and None not in values and len(numbers) > len(values) / 2:
        raise DataError(
            f"the labels of {where} are {len(numbers):,} different numbers with decimals ({labels[0]}, ...): "
            "measurements, not classes; name the column of the classes with columns={'label': ...} (--columns "
            "label=...), or say that there is none with columns={'label': None} (--columns label=)"
        )


def _refuse_wrong_root(paths: Sequence[str], folder: Path, where: str) -> None:
    """If no file is there, look for the one folder that they may be in, and say it."""
    some = paths[:: max(1, len(paths) // 20)][:20]
    relative = [os.path.relpath(path, folder) for path in some]
    folders = [Path(), folder.parent, *(path for path in sorted(folder.glob("*")) if path.is_dir())][:200]
    holding: dict[Path, tuple[Path, str]] = {}
    for other in folders:
        for name in relative:
            if (other / name).exists():
                holding.setdefault(other.resolve(), (other, name))
    if len(holding) == 1:
        other, name = next(iter(holding.values()))
        raise DataError(
            f"no file of {where} is in {str(folder)!r}, but {name!r} and others are in {str(other)!r}; pass "
            f"root={str(other)!r} (--root {other})"
        )


def parts_of_table(table: Table, columns: Mapping[str, str | None] | None = None) -> list[str]:
    """List the parts that a column of a table names, or its paths, in natural order.

    Args:
        table: The table.
        columns: Kind of column -> its name, see ``load``.
    """
    given = {kind: name for kind, name in (columns or {}).items() if kind in ("path", "folder", "part")}
    try:
        found = find_columns(
            table.rows, table.where, {"label": None, "group": None, "box": None, **given}, labels=False
        )
    except DataError:
        return []
    parts = _parts(table.rows[found.head :], found, columns)
    return natural_order({*(parts or ())} - {""})
