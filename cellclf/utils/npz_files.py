"""Npy and npz files of anyone: read without trusting a header, and nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 24


class DamagedFile(ValueError):
    """A file that is not what it has to be; the text says why, in a few words."""


def read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy file and compare it with the bytes that there are.

    Args:
        file: At the beginning of the npy; afterwards at its first number.
        size: Bytes of the npy, header included.

    Returns:
        Shape, whether it is in Fortran's order, and dtype.

    Raises:
        DamagedFile: No npy, a damaged header, one that claims more than the file holds, or Python objects.
    """
    try:
        start = file.tell()
        version = np.lib.format.read_magic(file)
        # version 3 differs in the encoding of field names alone
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        left = size - (file.tell() - start)
    # the header is Python source: a flipped bit in it makes numpy raise whatever its tokenizer stumbles over
    except Exception as error:
        raise DamagedFile(f"its header cannot be read: {_reason(error)}") from None
    if dtype.hasobject:
        raise DamagedFile("it holds Python objects, which could run code when read, and is never unpickled")
    if min((0, *shape)) < 0 or math.prod(shape) * dtype.itemsize > left:
        raise DamagedFile(f"shape {shape} of {dtype} does not fit into its {left:,} bytes")
    return tuple(shape), bool(fortran), dtype


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array of an npz, with the checksum of its bytes.

    Raises:
        DamagedFile: Damaged, larger than the memory, of Python objects, or packed in a way that cannot be unpacked.
    """
    if member.file_size > memory():
        raise DamagedFile(
            f"it unpacks to {member.file_size / 1e9:,.1f} GB and this machine has {memory() / 1e9:,.1f}; save it "
            "without compression (np.savez), and images are memory-mapped instead"
        )
    try:
        with archive.open(member) as file:
            read_header(file, member.file_size)
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except DamagedFile:
        raise
    # zipfile, its decompressors and numpy raise a dozen kinds
    except Exception as error:
        raise DamagedFile(_reason(error)) from None


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """List the arrays of an npz by name.

    Raises:
        DamagedFile: No zip file, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except OSError as error:
        raise DamagedFile(error.strerror or str(error)) from None
    except Exception as error:  # as above
        raise DamagedFile(_reason(error)) from None
    return {m.filename.removesuffix(".npy"): m for m in found if m.filename.endswith(".npy")}


def read_npz(path: Path, needed: Iterable[str] = ()) -> dict[str, NDArray[Any]]:
    """Read all arrays of an npz into memory.

    Args:
        path: The file.
        needed: Names that it has to have.

    Raises:
        DamagedFile: No npz, a damaged one, or one that lacks an array.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, n=np.arange(3))
        >>> read_npz(path, ["n"])["n"].tolist()
        [0, 1, 2]
    """
    found = members(path)
    if missing := [name for name in needed if name not in found]:
        raise DamagedFile(f"it lacks {', '.join(missing)}")
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name, member in found.items():
            try:
                arrays[name] = read_member(archive, member)
            except DamagedFile as error:
                raise DamagedFile(f"{name!r}: {error}") from None
    return arrays


def checksum(path: Path, start: int, size: int) -> int:
    """Give the CRC-32 of some bytes of a file, as a zip file stores it."""
    found = 0
    with path.open("rb") as file:
        file.seek(start)
        while size > 0 and (chunk := file.read(min(size, _CHUNK))):
            found = zlib.crc32(chunk, found)
            size -= len(chunk)
    return found


def memory() -> float:
    """Give the bytes of memory that this machine has; infinity where the system does not report it."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "allow_pickle" in text or "pickled" in text:
        return "it is no npy file"
    return text[:200] or type(error).__name__
