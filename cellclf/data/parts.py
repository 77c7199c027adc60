"""Parts of one source: ``FILE.npz:test``, folders train, val and test, a column of a table that says which part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cellclf.errors import DataError

KINDS = {
    "train": ("train", "training", "trn", "tr"),
    "val": ("val", "valid", "validation", "dev", "tune", "tuning"),
    "test": ("test", "testing", "tst", "holdout", "hold out"),
}
FILLERS = {"set", "data", "dataset", "images", "image", "imgs", "split", "part", "cells", "crops", ""}
_WITH_PARTS = (".npz", ".csv", ".tsv", ".parquet")


def part_kind(name: str) -> str | None:
    """Say which of train, val and test a name means, None if none of them.

    Examples:
        >>> [part_kind(name) for name in ("Training-set", "02_val", "x_test", "neutrophil", "contest")]
        ['train', 'val', None, None, None]
    """
    words = [word for word in re.split(r"[\W_\d]+", name.casefold()) if word not in FILLERS]
    found = [kind for kind, names in KINDS.items() if " ".join(words) in names]
    return found[0] if found else None


def are_parts(names: Iterable[str]) -> bool:
    """Whether names are those of parts: all of them, or a training part beside another one.

    Examples:
        >>> are_parts(["train", "val", "test"]), are_parts(["train", "test", "docs"]), are_parts(["test", "lobed"])
        (True, True, False)
    """
    kinds = [part_kind(name) for name in names]
    return bool(kinds) and (None not in kinds or ("train" in kinds and bool({"val", "test"} & {*kinds})))


def choose(names: Iterable[str], part: str) -> str | None:
    """Give the name that a part has, None if there is no such part.

    Examples:
        >>> choose(["train", "Testing"], "test"), choose(["train"], "Training"), choose(["train"], "val")
        ('Testing', 'train', None)
    """
    if part in (names := list(names)):
        return part
    kind = part_kind(part)
    return next((name for name in names if kind is not None and part_kind(name) == kind), None)


def split_part(src: str) -> tuple[str, str | None]:
    r"""Separate ``FILE:part`` into the file and the part.

    A file that exists under the whole name wins, so do ``C:\\...`` and everything whose front is no file or folder.

    Examples:
        >>> split_part("blood.npz:test"), split_part(r"C:\data\blood.npz"), split_part("D:blood.npz:val")
        (('blood.npz', 'test'), ('C:\\data\\blood.npz', None), ('D:blood.npz', 'val'))

    Raises:
        DataError: An empty text, which would be the working directory; the address of a page.
    """
    if not src.strip():  # of a shell variable that is not set
        raise DataError("the source is an empty text; expected a file or folder ('.' is the working directory)")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", src) and not Path(src).exists():
        raise DataError(f"{src!r} is an address; expected a file or folder of this machine: download it first")
    file, _, part = src.rpartition(":")
    if not file or not part or re.search(r"[/\\*?]", part) or Path(src).expanduser().exists():
        return src, None
    if re.fullmatch("[A-Za-z]", file) and os.name == "nt":  # C:blood.npz, in the current folder of that drive
        return src, None
    real = Path(file).expanduser()
    return (file, part) if real.exists() or real.suffix.lower() in _WITH_PARTS else (src, None)


def parts_of(src: str, columns: Mapping[str, str | None] | None = None) -> list[str]:
    """List the parts that a file or folder has: of an npz, of a table with a column for it, of a folder.

    Args:
        src: A path; where nothing is, there are no parts.
        columns: Of a table: see ``load``.
    """
    from cellclf.data.arrays import parts_of_arrays
    from cellclf.data.csv_tables import TABLES, read_table
    from cellclf.data.folders import parts_of_folder
    from cellclf.data.npz import NpzArrays
    from cellclf.data.table_rows import parts_of_table

    path = Path(src).expanduser()
    if path.is_dir():
        return parts_of_folder(path)
    if not path.is_file():
        return []
    if path.suffix.lower() == ".npz":
        return sorted(parts_of_arrays(NpzArrays(path)))
    if path.suffix.lower() in TABLES:
        return parts_of_table(read_table(path), columns)
    return []
