"""Npz files: arrays are read on access, large ones memory-mapped, none unpickled; images are written in batches."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cellclf.data.sources import Images
from cellclf.errors import DataError
from cellclf.utils.atomic import replacing

_LEAST_MAPPED = 1 << 20


class NpzArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an npz file by name; each is read on access.

    An array of a mebibyte or more that is stored without compression is memory-mapped, not read.

    Args:
        path: The file.

    Raises:
        DataError: Not an npz file, a damaged one, or (on access) an array of Python objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise DataError(f"{path}: not a readable npz file ({error}); if it is truncated, copy it again") from None
        self._members = {m.filename.removesuffix(".npy"): m for m in members if m.filename.endswith(".npy")}

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
            if member.file_size > _memory():
                raise DataError(
                    f"{self.path}: {name!r} unpacks to {member.file_size / 1e9:,.1f} GB and this machine has "
                    f"{_memory() / 1e9:,.1f}; save it without compression (np.savez), and it is memory-mapped instead"
                )
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except DataError:
            raise
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{self.path}: {name!r} holds Python objects, which could run code when read, and is never "
                    "unpickled; save plain arrays instead (all images of one size, dtype uint8)"
                ) from None
            raise DataError(f"{self.path}: {name!r} cannot be read ({error})") from None
        except RuntimeError as error:  # a password, or a compression that zipfile does not know
            raise DataError(
                f"{self.path}: {name!r} cannot be unpacked ({error}); save it with np.savez or np.savez_compressed"
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # a damaged header raises whatever its reader stumbles over
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.path}: {name!r} is damaged ({text}); copy the file again") from None

    def _map(self, member: zipfile.ZipInfo) -> NDArray[Any] | None:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size < _LEAST_MAPPED:
            return None
        with self.path.open("rb") as file:
            file.seek(member.header_offset + 26)  # the lengths here can differ from those in the zip's directory
            name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
            start = member.header_offset + 30 + name_length + extra_length
            file.seek(start)
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                return None
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
        if dtype.hasobject:
            return None
        if offset - start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > member.file_size:
            raise ValueError(f"shape {shape} does not fit into its {member.file_size} bytes")
        return np.memmap(self.path, dtype, "r", offset, shape, "F" if fortran else "C")


def _memory() -> float:
    """Give the bytes of memory that this machine has; infinity where the system does not report it."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


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
