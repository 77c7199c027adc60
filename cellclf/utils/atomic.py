"""Atomic writes: a kill at any moment leaves the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellclf.errors import OptionError, RunFolderError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STEM, _SUFFIX = 40, 20
"""Characters of a name that its temporary name repeats: a name may be as long as the file system allows."""

PART = re.compile(r"\..*\.\d+(-[0-9a-f]{16})?\.(part|old)(\.\w+)*")
"""What a temporary name looks like; without the random number before version 0.2."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends without an error, it becomes ``path`` in one step.

    Args:
        path: The file to write, with the suffix that the writer needs; its folder is made.

    Raises:
        RunFolderError: The disk is full, or nothing can be written there; the old file is unchanged.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(target) as new:
        ...     _ = new.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(os.path.realpath(path))  # through a link, so that the link is kept
    _make_parent(path)
    new = _beside(path, "part")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except (OSError, RuntimeError) as error:
        if not _is_full(error):
            if isinstance(error, OSError) and str(error.filename or "") == str(new):
                raise _unwritable(path, error.strerror or str(error)) from None
            raise
        written = new.stat().st_size if new.exists() else 0
        free = shutil.disk_usage(path.parent).free + written
        raise RunFolderError(
            f"no space to write {path}: {free / 1e6:,.1f} MB are free and the file needs more; the old file is "
            "unchanged, so make room and repeat the command"
        ) from None
    finally:
        new.unlink(missing_ok=True)


def expanded(path: str | Path) -> Path:
    """Give a path with the home folder for ``~``, which a shell expands and Python does not.

    Examples:
        >>> expanded("runs/a").as_posix(), expanded("~/runs/a") == Path.home() / "runs/a"
        ('runs/a', True)
    """
    if not isinstance(path, str | os.PathLike) or path == "":  # an empty one would be the working directory
        raise OptionError(f"{path!r} is no path; expected the name of a file or folder")
    made = Path(os.path.expanduser(path))
    try:
        os.stat(made)
    except (FileNotFoundError, NotADirectoryError):
        pass  # not there yet
    except (OSError, ValueError) as error:  # too long, a NUL, in a folder that may not be entered
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{str(path)[:80]!r} cannot be used ({reason}); choose another name or folder") from None
    return made


def check_writable(path: str | Path) -> Path:
    """Refuse a file or folder that could not be written, before the work whose result it is to hold.

    Nothing is left behind. Whether the disk has room for the result cannot be known.

    Args:
        path: To be written; it may exist, and the folders above it may be missing.

    Returns:
        The path.

    Raises:
        RunFolderError: A file is in the way, or the folder (or the file system) is read-only.

    Examples:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> check_writable(place / "new" / "table.csv").name, list(place.iterdir())
        ('table.csv', [])
    """
    path = Path(path)
    real = Path(os.path.realpath(path))
    there = next((one for one in real.parents if os.path.exists(one)), real)  # Path.exists raises for long names
    if not there.is_dir():
        raise _unwritable(path, f"{there} is a file")
    probe = _beside(there / real.name, "part")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(real)  # finds a name that is too long
        # by trying: permissions do not tell of read-only file systems, and root passes all of them
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8 with the line ends of the text, whole or not at all.

    Bytes of a file name that are not UTF-8, which Python carries as half a character, are written as an escape that
    JSON reads back as what it was.
    """
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
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
    _make_parent(path)
    new, old = (_beside(path, kind) for kind in ("part", "old"))
    try:
        new.mkdir()
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
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


def _beside(path: Path, kind: str) -> Path:
    """Name a temporary file beside a file.

    The number of the process does not tell two containers apart, in each of which it is 1; the random one does.
    """
    return path.with_name(f".{path.stem[:_STEM]}.{os.getpid()}-{secrets.token_hex(8)}.{kind}{path.suffix[:_SUFFIX]}")


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        blocking = next((one for one in path.parents if os.path.exists(one)), path)
        why = f"{blocking} is a file" if blocking.is_file() else error.strerror or str(error)
        raise _unwritable(path, why) from None


def _unwritable(path: Path, why: str) -> RunFolderError:
    return RunFolderError(f"cannot write {path}: {why}; choose another name or folder, the old file is unchanged")


def _is_full(error: BaseException) -> bool:
    if getattr(error, "errno", None) in _NO_SPACE:
        return True
    found = re.search(r"errno = (\d+)", str(error))  # how HDF5 reports it
    return found is not None and int(found[1]) in _NO_SPACE
