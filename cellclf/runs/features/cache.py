"""The feature cache: the output of the frozen layers for every image, computed once, on disk, memory-mapped.

A cache is one ``.npy`` file. Its name is the hash of all that determines its content, so that a changed network, set or
augmentation never finds an old cache; it is written beside its place and renamed, so that none is found half-written.
Files of other names are never touched.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.rng import ImageRng
from cellclf.backends import current
from cellclf.errors import OptionError, RunFolderError
from cellclf.utils.atomic import replacing
from cellclf.utils.parameters import shortened
from cellclf.utils.progress import track

OWN_FOLDER = "cellclf-features"
"""Name of the folder in the user's ``cache_dir`` in which caches are made, and removed when they take too much."""

_NAME = re.compile(r"features-[0-9a-f]{40}\.npy")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class Caching:
    """How one run uses feature caches: what ``cellclf.training.Cache`` means for it.

    Args:
        mode: ``"auto"``, ``"disk"`` or None.
        views: Augmented views of each training image in the cache.
        limit: Bytes that the caches in the folder may take together.
        folder: Folder of the caches; None takes a temporary one.
        kept: Whether they are kept for other runs; else a stage's cache is removed after the stage.
        content: What determines the features beside the network: data, augmentation.
    """

    mode: str | None
    views: int
    limit: int
    folder: Path | None
    kept: bool
    content: Mapping[str, Any]

    @property
    def place(self) -> Path | None:
        """Where the caches lie: in a folder that is the user's, in one of their own."""
        return self.folder / OWN_FOLDER if self.kept and self.folder is not None else self.folder


def byte_count(size: int | str) -> int:
    """Read a size: bytes, or a text with a unit of powers of 1,000.

    Raises:
        OptionError: Neither.

    Examples:
        >>> byte_count("1.5GB")
        1500000000
    """
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([KMGT]?B)\s*", size.upper())
        if found:
            return int(float(found[1]) * _UNITS[found[2]])
    elif isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise OptionError(f"size={shortened(size)}; expected a size such as '4GB' or '500MB', or a number of bytes")


def size_text(size: int) -> str:
    """Write a number of bytes: ``2.4 GB``."""
    unit = "GB" if size >= 995e6 else "MB" if size >= 995e3 else "KB"
    number = size / _UNITS[unit]
    return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"


def key_of(content: Mapping[str, Any], front: Any) -> str:
    """Hash all that determines the features: data, augmentation, the frozen layers and their weights, versions.

    The seed of the training is not part of it, but the weights and the augmenter that follow from it are.

    Args:
        content: Plain data.
        front: Keras model from images to features.
    """
    import keras

    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    digest.update(json.dumps([version("cellclf"), keras.__version__, current().version(), np.__version__]).encode())
    digest.update(front.to_json().encode())
    for variable in front.variables:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


@dataclass(eq=False)
class Cache:
    """The features of some images, one row each; computed when they are first read.

    Args:
        path: The ``.npy`` file.
        shape: Of the whole array, rows first.
        dtype: Of the numbers.
        make: Gives the rows in order, some at a time, if the file is not there.
        limit: Bytes that the caches of the folder may take together; the least recently used are removed first.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], Iterator[NDArray[Any]]]
    limit: int
    _rows: NDArray[Any] | None = field(default=None, init=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes on disk, without the header of the file."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def open(self) -> NDArray[Any]:
        """Map the rows; they are computed and written first if there is no file.

        Raises:
            RunFolderError: The disk is full, or the folder cannot be written.
        """
        if self._rows is None:
            found = self._mapped()
            if found is None:
                self._write()
                found = self._mapped()
                assert found is not None
            self._rows = found
            with suppress(OSError):  # a cache that is read-only
                self.path.touch()  # the time of the last use, which make_room reads
        return self._rows

    def exists(self) -> bool:
        """Check whether all rows are on disk."""
        return self._mapped() is not None

    def close(self) -> None:
        """Close the file."""
        self._rows = None

    def _mapped(self) -> NDArray[Any] | None:
        try:
            rows: NDArray[Any] = np.lib.format.open_memmap(self.path, mode="r")
        except (OSError, ValueError):  # missing, or damaged and then written again
            return None
        return rows if rows.shape == self.shape and rows.dtype == self.dtype else None

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            make_room(self.path.parent, self.limit - self.size)
            with replacing(self.path) as new, new.open("wb") as file:
                # written, not mapped: on a full disk, writing to a map kills the process
                header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for rows in self.make():
                    file.write(np.ascontiguousarray(rows, self.dtype).data)
        except OSError as error:
            raise RunFolderError(
                f"the feature cache of {size_text(self.size)} cannot be written to {self.path.parent} "
                f"({error.strerror or error}); expected free space there, another Cache(dir=...), or cache=None"
            ) from None


def make_room(folder: Path, limit: int) -> None:
    """Delete the least recently used caches of a folder until they take at most ``limit`` bytes.

    Args:
        folder: Holds caches; other files in it are left, whatever their names begin with.
        limit: In bytes.
    """
    found = []
    for path in (path for path in folder.iterdir() if _NAME.fullmatch(path.name) and not path.is_symlink()):
        with suppress(OSError):  # removed meanwhile
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            break
        with suppress(OSError):  # some systems do not remove a file in use
            path.unlink()
            total -= size


def sweep(folder: Path, *, after: float) -> None:
    """Delete half-written files of processes that were killed.

    Args:
        folder: Holds caches.
        after: Seconds without a write after which a file belongs to no running process.
    """
    for part in folder.glob(".features-*.part.npy"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime >= after:
                part.unlink()


@dataclass(frozen=True, eq=False)
class Features:
    """Some rows of a cache, in place of a set of images.

    Args:
        cache: Holds them.
        start: The first row.
        count: Rows of one view.
        views: How many views there are, one after the other.
    """

    cache: Cache
    start: int
    count: int
    views: int = 1

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one image."""
        return self.cache.shape[1:]

    def choose(
        self, places: NDArray[np.int64], ids: Sequence[object] | NDArray[Any], seed: int, epoch: int
    ) -> NDArray[np.int64]:
        """Choose a row of the cache for each image: one of its views, by seed, epoch and id.

        Args:
            places: (N,) positions of the images in the set.
            ids: N texts.
            seed: Any whole number.
            epoch: Each epoch chooses again.

        Returns:
            (N,) int64 rows.
        """
        rows = self.start + places
        if self.views == 1:
            return rows
        return rows + self.count * ImageRng.of(ids, seed=seed, epoch=epoch).child("cached view").integers(self.views)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read the features of the images at these positions, in their first view."""
        return np.asarray(self.cache.open()[self.start + rows])

    def batches(self, size: int = 256, *, label: str = "", show: bool | None = None) -> Iterator[NDArray[Any]]:
        """Read the features of the first view in order, some at a time, as ``ImageSet.batches`` reads images."""
        rows = self.cache.open()
        starts = range(self.start, self.start + self.count, size)
        for start in track(starts, total=len(starts), label=label, unit="batch", show=show):
            yield np.asarray(rows[start : min(start + size, self.start + self.count)])


def free_bytes(folder: Path) -> int:
    """Give the free bytes of the disk on which a folder is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
