"""Atomic writes: a kill at any moment leaves the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellclf.errors import RunFolderError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends without an error, it becomes ``path`` in one step.

    Args:
        path: The file to write, with the suffix that the writer needs; its folder is made.

    Raises:
        RunFolderError: The disk is full; the old file is unchanged.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(target) as new:
        ...     _ = new.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(os.path.realpath(path))  # through a link, so that the link is kept
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except (OSError, RuntimeError) as error:
        if not _is_full(error):
            raise
        written = new.stat().st_size if new.exists() else 0
        free = shutil.disk_usage(path.parent).free + written
        raise RunFolderError(
            f"no space to write {path}: {free / 1e6:,.1f} MB are free and the file needs more; the old file is "
            "unchanged, so make room and repeat the command"
        ) from None
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8 with the line ends of the text, whole or not at all."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="")
    return path


def write_json(path: Path, data: Any) -> Path:
    """Write plain data as a JSON file, whole or not at all."""
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replacing_folder(path: Path, *, sign: str) -> Iterator[Path]:
    """Give an empty folder beside ``path``; when the block ends without an error, it takes the place of ``path``.

    Args:
        path: The folder to write; its parent is made.
        sign: A file that every folder of this kind has; a folder without it is never replaced.

    Raises:
        RunFolderError: There is something else, or the disk is full; it is unchanged.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not (path / sign).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise RunFolderError(f"{path} exists and holds no {sign}, so it is not replaced: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except OSError as error:
        if not _is_full(error):
            raise
        raise RunFolderError(
            f"no space to write {path}; the old folder is unchanged: make room and repeat the command"
        ) from None
    finally:
        if old.exists() and not path.exists():  # an error between the two steps, Ctrl-C included
            os.replace(old, path)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_full(error: BaseException) -> bool:
    if getattr(error, "errno", None) in _NO_SPACE:
        return True
    found = re.search(r"errno = (\d+)", str(error))  # how HDF5 reports it
    return found is not None and int(found[1]) in _NO_SPACE
