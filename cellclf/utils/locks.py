"""One process at a time in a run folder or a temporary one; what a killed process left there is removed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cellclf.errors import CellclfWarning, RunFolderError
from cellclf.utils.atomic import PART

LOCK = ".lock"
BUDGET = ".budget"
"""Name of the file in which a run within a budget counts the time that it took."""
_SCRATCH = "cellclf-scratch-"
_GRACE = 60.0
"""Seconds for which the lock file of a temporary folder may exist unlocked: its owner is about to lock it."""
_WAIT = 0.2
"""Seconds to try: an owner that ends removes the file, and who had opened that one has to open the next."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
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
        RunFolderError: Another process or thread holds it, or it cannot be made.

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
    lock = _take(folder)
    _held.add(key)
    try:
        sweep(folder)
        yield
    finally:
        _held.discard(key)
        with contextlib.suppress(OSError):  # missing, or (on Windows) open until it is released, which removes it
            (folder / LOCK).unlink()
        lock.release()


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
        blocking = next((p for p in (folder, *folder.parents) if os.path.exists(p)), folder)
        why = f"{blocking} is a file" if blocking.is_file() else error.strerror or str(error)
        raise RunFolderError(f"the run folder {folder} cannot be made: {why}; choose another name") from None


def is_free(folder: Path) -> bool:
    """Decide whether a folder holds nothing but what a killed run may have left before it wrote its first file."""
    names = [item.name for item in folder.iterdir()] if folder.exists() else []
    return all(name in (LOCK, BUDGET) or PART.fullmatch(name) for name in names)


def sweep(folder: Path) -> None:
    """Remove half-written files from a run folder that is held."""
    for place in (folder, folder / "checkpoint"):
        if place.is_dir():
            for item in place.iterdir():
                if PART.fullmatch(item.name):
                    item.unlink(missing_ok=True)


def _is_abandoned(folder: Path) -> bool:
    """Decide whether the process that held a folder has ended; False if that cannot be known."""
    if any(os.path.realpath(folder) == name for name, _ in _held):
        return False
    try:
        if time.time() - (folder / LOCK).stat().st_mtime < _GRACE:
            return False
        with FileLock(folder / LOCK, blocking=False, fallback_to_soft=False):
            return True
    except OSError:  # no lock file, that of another user, or (filelock.Timeout) locked
        return False


def _take(folder: Path) -> FileLock:
    path = folder / LOCK
    lock = FileLock(path, timeout=_WAIT, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"the run folder {folder} is in use by {_owner(path)}; wait for it to end, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise RunFolderError(f"cannot write into the run folder {folder}: {error.strerror}") from None
        warnings.warn(
            f"the file system of {folder} has no locks; make sure that no second run writes there",
            CellclfWarning,
            stacklevel=4,
        )
    return lock


def _sign(file: int) -> None:
    """Write who holds the lock behind its first byte: Windows lets nobody read that one."""
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name, too
        os.truncate(file, 0)
        os.write(file, f" process {os.getpid()} on {socket.gethostname()}".encode())


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        file.seek(1)
        return file.read(200).decode(errors="replace").strip() or "another process"
    return "another process"
