"""One process at a time in a run folder or a temporary one, and what a killed one left there swept away."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from cellclf.errors import CellclfWarning, RunFolderError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
_PART = re.compile(r"\..+\.\d+\.part(\.\w+)*")
_SCRATCH = "cellclf-scratch-"
_TAKING = 60.0
"""Seconds for which the lock of a temporary folder may be there without being held: it is being taken."""
_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_held: set[tuple[str, int]] = set()
"""Folders that this process holds, and by which thread: a pipeline holds the folder that its trainer then asks for."""


@contextlib.contextmanager
def held(folder: Path | None) -> Iterator[None]:
    """Hold a run folder, so that no other process or thread writes there.

    The operating system drops the lock when the process ends, however it ends, so none is ever left behind. Files
    that a killed process had half written are removed.

    Args:
        folder: The run folder, made if missing; None holds nothing.

    Raises:
        RunFolderError: Another one holds it, or it cannot be made.

    Examples:
        >>> import tempfile
        >>> with held(Path(tempfile.mkdtemp())):
        ...     pass
    """
    if folder is None:
        yield
        return
    key = os.path.realpath(folder), threading.get_ident()
    if key in _held:
        yield
        return
    make_folder(folder)
    file = _take(folder)
    _held.add(key)
    try:
        sweep(folder)
        yield
    finally:
        _held.discard(key)
        with contextlib.suppress(OSError):  # gone, or (on Windows) open until the next line
            (folder / LOCK).unlink()
        os.close(file)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a temporary folder, and remove those whose process was killed, from a minute after they were made.

    Examples:
        >>> with scratch() as folder:
        ...     _ = (folder / "large").write_bytes(b"...")
        >>> folder.exists()
        False
    """
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True) as made, held(Path(made)):
        for other in Path(made).parent.glob(f"{_SCRATCH}*"):
            if _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
        yield Path(made)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        RunFolderError: There is a file in the way, or no permission.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        blocking = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        why = f"{blocking} is a file" if blocking.is_file() else error.strerror or str(error)
        raise RunFolderError(f"the run folder {folder} cannot be made: {why}; choose another name") from None


def is_free(folder: Path) -> bool:
    """Tell whether nothing is in a folder but what a killed run may have left before it wrote its first file."""
    return not folder.exists() or all(item.name == LOCK or _PART.fullmatch(item.name) for item in folder.iterdir())


def sweep(folder: Path) -> None:
    """Remove half-written files from a run folder that is held."""
    for place in (folder, folder / "checkpoint"):
        if place.is_dir():
            for item in place.iterdir():
                if _PART.fullmatch(item.name):
                    item.unlink(missing_ok=True)


def _is_abandoned(folder: Path) -> bool:
    """Tell whether the process that held a folder is gone; False if that cannot be known."""
    if any(os.path.realpath(folder) == name for name, _ in _held):
        return False
    try:
        if time.time() - (folder / LOCK).stat().st_mtime < _TAKING:
            return False
        file = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # without a lock, or another user's
        return False
    try:
        _lock(file)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _take(folder: Path) -> int:
    path = folder / LOCK
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"cannot write into the run folder {folder}: {error.strerror}") from None
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _BUSY:
                owner = os.read(file, 200).decode(errors="replace").strip() or "another process"
                os.close(file)
                raise RunFolderError(
                    f"the run folder {folder} is in use by {owner}; wait for it to end, or choose another folder"
                ) from None
            if error.errno not in _CANNOT_LOCK:
                os.close(file)
                raise
            warnings.warn(
                f"the file system of {folder} knows no locks; make sure that no second run writes there",
                CellclfWarning,
                stacklevel=4,
            )
        with contextlib.suppress(OSError):  # the one before may have removed its file in between: then try again
            if os.fstat(file).st_ino == path.stat().st_ino:
                with contextlib.suppress(OSError):  # a full disk: the lock holds without a name, too
                    os.truncate(file, 0)
                    os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return file
        os.close(file)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        os.lseek(file, 1 << 20, os.SEEK_SET)  # far behind the name, which others shall be able to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
