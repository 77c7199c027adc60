"""A source that keeps what it has read, in memory or in one temporary file, so that each image is made once."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellclf.data.sources import Images, Rows, taken
from cellclf.utils.log import logger

if TYPE_CHECKING:
    from cellclf.data.image_set import FilePlace

IN_MEMORY = 256_000_000
"""Larger sets, in bytes of pixels, are kept in a temporary file."""

_BLOCK = 512


class Making(Protocol):
    """What makes images at some cost: a ``FileSource``."""

    shape: tuple[int, int, int]

    @property
    def fit(self) -> str:
        """How images of another size are brought to this one."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Rows) -> Images:
        """Make the images at these places."""
        ...

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> Self:
        """Give the same images at another size."""
        ...

    def taken(self, rows: Rows) -> Self:
        """Give some of the images."""
        ...

    def places(self, rows: Rows) -> list[FilePlace]:
        """Give the files of images."""
        ...


Source = TypeVar("Source", bound=Making)


class HeldSource(Generic[Source]):
    """Images of another source, each of which is made once: when it is first read, or before (``keep``).

    In memory while they are few, else in a temporary file without a name, which ends with the process. A file is read
    and written, not mapped: a full disk is then an error that can be caught, and pages of it count for no process.
    A pickle holds no pixels.

    Args:
        source: Makes the images.

    Examples:
        >>> from cellclf.data.decode import FileSource
        >>> len(HeldSource(FileSource(["a.png", "b.png"], (8, 8))))
        2
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape = source.shape
        self._store: _Store | None = None
        self._slots = np.arange(len(source))
        self._lock = threading.Lock()

    @property
    def fit(self) -> str:
        """How images of another size are brought to this one."""
        return self.source.fit

    def __len__(self) -> int:
        return len(self.source)

    def __getstate__(self) -> dict[str, Any]:
        """Give what a pickle holds."""
        return {"source": self.source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["source"])  # type: ignore[misc]  # the only state there is

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> HeldSource[Source]:
        """Give the same images at another size; they are made anew."""
        return HeldSource(self.source.at_size(size, fit))

    def taken(self, rows: Rows) -> HeldSource[Source]:
        """Give some of the images, and what is kept of them."""
        found = HeldSource(self.source.taken(rows))
        if self._store is not None:
            found._store, found._slots = self._store, self._slots[rows]
        return found

    @property
    def has_files(self) -> bool:
        """Whether each image is a file, or a box in one, that a table can name."""
        return bool(getattr(self.source, "has_files", True))

    def places(self, rows: Rows) -> list[FilePlace]:
        """Give the file of each image, and its edges if it is cut out of a field."""
        return self.source.places(rows)

    def keep(self, row: int, image: Images) -> None:
        """Take an image that was made already, if it is of the right size and kept in memory.

        Others are made again when they are first read: whoever looks at a set, and reads no image of it, does not pay
        for resizing and writing all.

        Args:
            row: Its place.
            image: (H, W, 3) uint8.
        """
        if image.shape != self.shape:
            return
        store = self._room()
        if store is not None and store.in_memory:
            store.put_one(int(self._slots[row]), image)

    def read(self, rows: Rows) -> Images:
        """Give the images at these places: (n, H, W, 3) uint8; those that are not kept yet are made."""
        store = self._room()
        if store is None:
            return self.source.read(rows)
        slots = self._slots[rows]
        missing = np.unique(rows[~store.there[slots]])
        for start in range(0, len(missing), _BLOCK):
            block = missing[start : start + _BLOCK]
            made = self.source.read(block)
            if not store.put(self._slots[block], made):
                return self.source.read(rows)
        return store.take(slots)

    def _room(self) -> _Store | None:
        if self._store is None:
            with self._lock:
                if self._store is None:
                    self._store = _Store((len(self._slots), *self.shape))
        return self._store if self._store.usable else None


class _Store:
    """Room for images: an array, or a temporary file; not usable where neither is large enough."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.there = np.zeros(shape[0], bool)
        self._shape = shape[1:]
        self._bytes = int(np.prod(shape[1:]))
        self._array: Images | None = None
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        size = shape[0] * self._bytes
        if size <= IN_MEMORY:
            self._array = np.zeros(shape, np.uint8)
        elif size <= shutil.disk_usage(tempfile.gettempdir()).free // 2:
            self._file = tempfile.TemporaryFile(prefix="cellclf-", buffering=0)  # noqa: SIM115  # closed below
            weakref.finalize(self, self._file.close)  # and so the file is deleted
        self.usable = self._array is not None or self._file is not None
        if not self.usable:
            logger.warning(
                f"{size / 1e9:,.1f} GB of images fit neither into memory nor into {tempfile.gettempdir()}: files are "
                "decoded each time they are read; set TMPDIR to a disk with room"
            )

    @property
    def in_memory(self) -> bool:
        """Whether images are in memory."""
        return self._array is not None

    def put(self, slots: Rows, images: Images) -> bool:
        """Keep images; False if the disk is full, and then nothing is kept any more."""
        return all(self.put_one(slot, image) for slot, image in zip(slots.tolist(), images, strict=True))

    def put_one(self, slot: int, image: Images) -> bool:
        """Keep one image; see ``put``."""
        if self._array is not None:
            self._array[slot] = image
        else:
            try:
                self._write(slot * self._bytes, np.ascontiguousarray(image).data.cast("B"))
            except OSError as error:
                logger.warning(
                    f"images are decoded each time they are read: {error.strerror} in {tempfile.gettempdir()}"
                )
                self.usable = False
                return False
        self.there[slot] = True
        return True

    def take(self, slots: Rows) -> Images:
        """Give kept images; consecutive ones in memory as a read-only view."""
        if self._array is not None:
            found: Images = taken(self._array, slots)
            if found.base is not None:
                found = found.view()
                found.flags.writeable = False
            return found
        images = np.empty((len(slots), *self._shape), np.uint8)
        places = np.asarray(slots)
        # one read for each run of consecutive slots
        cuts = np.flatnonzero(np.diff(places) != 1) + 1
        for run in np.split(np.arange(len(places)), cuts):
            if len(run):
                self._read(int(places[run[0]]) * self._bytes, images[run[0] : run[-1] + 1])
        return images

    def _write(self, place: int, data: bytes | memoryview) -> None:
        assert self._file is not None
        while len(data):
            if hasattr(os, "pwrite"):  # needs no lock, also in forked processes, which share one position
                done = os.pwrite(self._file.fileno(), data, place)
            else:
                with self._lock:
                    self._file.seek(place)
                    done = self._file.write(data)
            place, data = place + done, data[done:]

    def _read(self, place: int, out: NDArray[np.uint8]) -> None:
        assert self._file is not None
        data = memoryview(out.reshape(-1))  # type: ignore[arg-type]  # an array has a buffer
        while len(data):
            if hasattr(os, "preadv"):  # as above
                done = os.preadv(self._file.fileno(), [data], place)
            else:
                with self._lock:
                    self._file.seek(place)
                    done = self._file.readinto(data)  # type: ignore[attr-defined]  # of a file without a buffer
            if not done:
                raise OSError(errno.EIO, "a temporary file of images is truncated")
            place, data = place + done, data[done:]
