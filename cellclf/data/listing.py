"""Finding picture files: a folder for each class, a CSV; what cannot be a picture is listed, never dropped unseen."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decode import SUFFIXES, FileSource, scan
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.errors import DataError

_PART_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_CSV_NAMES = {
    "path": ("path", "file", "filename", "image", "image_path"),
    "label": ("label", "class", "class_name", "target"),
    "group": ("group", "patient", "slide", "patient_id", "slide_id", "subject"),
}


@dataclass(frozen=True)
class FileOptions:
    """How files are read: the arguments of ``load`` that concern them."""

    size: tuple[int, int] | None
    mixed: str
    verify: bool
    show: bool | None


@dataclass
class Listing:
    """Files that were named, before any is opened; ``labels`` and ``groups`` are class and group names, or empty."""

    paths: list[Path]
    ids: list[str]
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """Find the pictures below a folder; each folder in it is a class, however deep its pictures stand."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    loose = sorted(p for p in root.iterdir() if p.is_file() and not p.name.startswith("."))
    listing = Listing([], [])
    found: dict[str, list[Path]] = {}
    for folder in folders:
        inside = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        found[folder.name] = [p for p in inside if p.suffix.lower() in SUFFIXES]
        listing.skipped += [_other_kind(p, root) for p in inside if p.suffix.lower() not in SUFFIXES]
    named = {name: paths for name, paths in found.items() if paths}
    if named and {name.lower() for name in named} <= _PART_FOLDERS:
        some = sorted(named)[0]
        raise DataError(
            f"{root} holds the folders {', '.join(sorted(named))}, which are parts and no classes; "
            f"load one of them: {root / some}"
        )
    pictures = [p for p in loose if p.suffix.lower() in SUFFIXES]
    listing.skipped += [_other_kind(p, root) for p in loose if p.suffix.lower() not in SUFFIXES]
    for name in sorted(set(found) - set(named)):
        listing.notices.append(f"the folder {name!r} holds no picture and is no class")
    if not named:
        if not pictures:
            raise DataError(
                f"{root} holds no picture ({', '.join(sorted(SUFFIXES))}); wanted one folder for each class"
            )
        listing.paths, listing.ids = pictures, [p.name for p in pictures]
        return listing
    for picture in pictures:
        listing.skipped.append(Skipped(picture.name, "no label: it stands outside the class folders"))
    for name in sorted(named, key=_natural(named)):
        listing.paths += named[name]
        listing.ids += [p.relative_to(root).as_posix() for p in named[name]]
        listing.labels += [name] * len(named[name])
    return listing


def _other_kind(path: Path, root: Path) -> Skipped:
    return Skipped(path.relative_to(root).as_posix(), f"no picture: the suffix is {path.suffix or 'missing'}")


def _natural(names: Iterable[str]) -> Any:
    """Order names that are all whole numbers by their value, others as text."""
    return int if all(name.isdecimal() for name in names) else str


def list_csv(path: Path) -> Listing:
    """Read the rows of a CSV of path, label and group; the first line may name the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8 CSV") from None
    if not rows:
        raise DataError(f"{path} is empty; wanted the columns path, label and, if known, group")
    head = [cell.strip().lower() for cell in rows[0]]
    columns = {
        kind: next((head.index(name) for name in names if name in head), None) for kind, names in _CSV_NAMES.items()
    }
    if columns["path"] is None:
        if Path(rows[0][0].strip()).suffix.lower() not in SUFFIXES:
            raise DataError(f"{path} has the columns {', '.join(rows[0])}; wanted path, label and, if known, group")
        columns = {"path": 0, "label": 1 if len(head) > 1 else None, "group": 2 if len(head) > 2 else None}
    else:
        rows = rows[1:]

    def cell(row: list[str], kind: str) -> str:
        column = columns[kind]
        return row[column].strip() if column is not None and column < len(row) else ""

    labelled = any(cell(row, "label") for row in rows)
    grouped = any(cell(row, "group") for row in rows)
    listing = Listing([], [])
    seen: dict[str, str] = {}
    for row in rows:
        name, label = cell(row, "path"), cell(row, "label")
        if not name:
            listing.skipped.append(Skipped(",".join(row), "the row names no file"))
        elif name in seen:
            listing.skipped.append(Skipped(name, f"named before{_as_label(seen[name], label)}"))
        elif labelled and not label:
            listing.skipped.append(Skipped(name, "no label"))
        else:
            seen[name] = label
            listing.paths.append(path.parent / name)
            listing.ids.append(name)
            listing.labels += [label] if labelled else []
            listing.groups += [cell(row, "group") or f"only {name}"] if grouped else []
    return listing


def _as_label(first: str, second: str) -> str:
    return "" if first == second else f" with the label {first!r}, now {second!r}: the first one counts"


def read_listing(listing: Listing, options: FileOptions) -> ImageSet:
    """Open the files of a listing and make a set of those that are pictures."""
    scans = scan(listing.paths, verify=options.verify, show=options.show)
    good = [k for k, found in enumerate(scans) if found.size is not None]
    skipped = listing.skipped + [
        Skipped(listing.ids[k], found.problem) for k, found in enumerate(scans) if found.size is None
    ]
    if not good:
        why = f"; the first: {skipped[0].id} ({skipped[0].reason})" if skipped else ""
        raise DataError(f"none of {len(skipped)} files is a readable picture{why}")
    sizes = np.asarray([scans[k].size for k in good], np.int64)
    notices = listing.notices + _conversions([(listing.ids[k], scans[k].note) for k in good])
    shape = options.size or _common_size(sizes, options.mixed, notices)
    kept_labels = [listing.labels[k] for k in good] if listing.labels else []
    names = sorted(set(listing.labels), key=_natural(set(listing.labels)))
    lost = set(names) - set(kept_labels)
    if lost and kept_labels:
        notices.append(f"no picture of the class {', '.join(sorted(lost))} can be read")
        names = [name for name in names if name not in lost]
    return ImageSet(
        FileSource([listing.paths[k] for k in good], shape),
        [names.index(label) for label in kept_labels] if kept_labels else None,
        class_names=names or None,
        ids=[listing.ids[k] for k in good],
        groups=[listing.groups[k] for k in good] if listing.groups else None,
        sizes=sizes,
        notices=notices,
        skipped=skipped,
    )


def _conversions(notes: list[tuple[str, str]]) -> list[str]:
    counts = Counter(note for _, note in notes if note)
    first = {note: name for name, note in reversed(notes)}
    return [f"{count} converted: {note} (the first: {first[note]})" for note, count in sorted(counts.items())]


def _common_size(sizes: NDArray[np.int64], mixed: str, notices: list[str]) -> tuple[int, int]:
    counts = Counter(map(tuple, sizes.tolist()))
    if len(counts) > 1:
        ranked = sorted(counts, key=lambda s: (counts[s], s[0] * s[1], s), reverse=True)
        text = ", ".join(f"{h}x{w}: {counts[h, w]}" for h, w in ranked[:3]) + (", ..." if len(ranked) > 3 else "")
        height, width = ranked[0]
        if mixed == "refuse":
            raise DataError(
                f"pictures have {len(ranked)} sizes ({text}); "
                f"pass size=({height}, {width}) or mixed='resize' to resize them"
            )
        count = len(sizes) - counts[height, width]
        notices.append(
            f"{count} pictures were resized to {height}x{width}, the most frequent of {len(ranked)} sizes ({text})"
        )
        return height, width
    return next(iter(counts))
