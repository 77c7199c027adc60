"""Npz files: arrays are read on access, large ones memory-mapped, none unpickled; images are written in batches."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cellclf.data.opening import known_kind
from cellclf.data.sources import Images
from cellclf.errors import DataError
from cellclf.utils.atomic import replacing
from cellclf.utils.npz_files import DamagedFile, checksum, members, read_header, read_member

_LEAST_MAPPED = 1 << 20


class MappedArray(np.memmap[Any, Any]):
    """A memory-mapped array of an npz; ``verify`` compares its bytes with the checksum that the file holds."""

    member: zipfile.ZipInfo | None = None
    start: int = 0

    def verify(self) -> None:
        """Read all bytes and compare.

        Raises:
            DataError: They are not those that were saved.
        """
        if self.member is None:
            return
        if checksum(Path(str(self.filename)), self.start, self.member.file_size) != self.member.CRC:
            name = self.member.filename.removesuffix(".npy")
            raise DataError(f"{self.filename}: {name!r} is damaged (its checksum differs); copy the file again")


class NpzArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an npz file by name; each is read on access.

    Images of a mebibyte or more that are stored without compression are memory-mapped, not read.

    Args:
        path: The file.

    Raises:
        DataError: Not an npz file, a damaged one, or (on access) an array of Python objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._members = members(path)
        except DamagedFile as error:
            raise DataError(f"{path}: not a readable npz file ({_reason(path, error)})") from None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __getitem__(self, name: str) -> NDArray[Any]:
        member = self._members[name]
        try:
            mapped = self._map(member)
            if mapped is not None:
                return mapped
            with zipfile.ZipFile(self.path) as archive:
                return read_member(archive, member)
        except DamagedFile as error:
            raise DataError(f"{self.path}: {name!r} {_advice(str(error))}") from None
        except OSError as error:
            raise DataError(f"{self.path}: {name!r} is damaged ({error}); copy the file again") from None

    def _map(self, member: zipfile.ZipInfo) -> NDArray[Any] | None:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or member.file_size < _LEAST_MAPPED:
            return None
        with self.path.open("rb") as file:
            file.seek(member.header_offset + 26)  # the lengths here can differ from those in the zip's directory
            lengths = file.read(4)
            if len(lengths) < 4:
                raise DamagedFile("it lies behind the end of the file")
            name_length, extra_length = np.frombuffer(lengths, "<u2").tolist()
            start = member.header_offset + 30 + name_length + extra_length
            file.seek(start)
            shape, fortran, dtype = read_header(file, member.file_size)
            offset = file.tell()
            file.seek(0, 2)
            if start + member.file_size > file.tell():
                raise DamagedFile(f"it lacks {start + member.file_size - file.tell():,} bytes at its end")
        if len(shape) < 3:  # labels and ids: read, and their checksum with them
            return None
        mapped = MappedArray(self.path, dtype, "r", offset, shape, "F" if fortran else "C")
        mapped.member, mapped.start = member, start
        return mapped


def _reason(path: Path, error: DamagedFile) -> str:
    """Say what a file is that is no npz, where its first bytes tell, else what is wrong with it."""
    try:
        with path.open("rb") as file:
            what = known_kind(file.read(1 << 10))
    except OSError:
        what = None
    if what in (None, "a zip archive"):
        return f"{error}; if it is truncated, copy it again"
    return f"it is {what}: copy it again"


def _advice(reason: str) -> str:
    """Put a reason for a damaged array into a sentence with the fix."""
    if "Python objects" in reason:
        return f"{reason.removeprefix('it ')}; save plain arrays instead (all images of one size, dtype uint8)"
    if "unpacks to" in reason:
        return reason.removeprefix("it ")
    if "password" in reason or "compression" in reason or "encrypted" in reason:
        return f"cannot be unpacked ({reason}); save it with np.savez or np.savez_compressed"
    return f"is damaged ({reason}); copy the file again"


def open_npy(path: Path) -> NDArray[Any]:
    """Map an npy file.

    Raises:
        DataError: Not an npy file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_header(file, path.stat().st_size)
            offset = file.tell()
        if not np.prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
    except DamagedFile as error:
        reason = str(error)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise DataError(f"{path}: not a readable npy file ({reason}); copy it again") from None


def write_npz(
    path: Path, columns: Mapping[str, NDArray[Any]], batches: Iterable[Images], shape: tuple[int, ...]
) -> None:
    """Write columns and images as an uncompressed npz; the same content gives the same bytes.

    Args:
        path: The file; replaced only when the new one is complete.
        columns: Arrays by name.
        batches: The images (n, H, W, 3) uint8 in order; only one batch is in memory at a time.
        shape: (N, H, W, 3), all of them.
    """
    with replacing(path) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(cast(BinaryIO, file), np.asarray(column), allow_pickle=False)
        with archive.open(zipfile.ZipInfo("images.npy"), "w", force_zip64=True) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(cast(BinaryIO, file), header)
            for batch in batches:
                file.write(np.ascontiguousarray(batch).data)
