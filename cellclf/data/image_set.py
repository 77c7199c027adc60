"""ImageSet: the pictures of one data set with all that is known of each; immutable, lazy where it can be."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.progress import track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = NDArray[np.int64]


class PictureSource(Protocol):
    """Where lazily decoded pictures come from."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def read(self, rows: Rows) -> Images:
        """Decode the pictures at these places: (n, H, W, 3) uint8."""
        ...


@dataclass(frozen=True)
class Skipped:
    """One input that did not become a picture of the set.

    Args:
        id: The file or row.
        reason: Why, in plain words.
    """

    id: str
    reason: str


class _ArraySource:
    """Pictures that are in memory or memory-mapped."""

    def __init__(self, images: Images) -> None:
        self.images = images.view()
        self.images.flags.writeable = False
        self.shape: tuple[int, int, int] = images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows) -> Images:
        first, count = int(rows[0]) if len(rows) else 0, len(rows)
        if count and int(rows[-1]) - first == count - 1 and np.array_equal(rows, np.arange(first, first + count)):
            return np.asarray(self.images[first : first + count])
        return np.asarray(self.images[rows])


def check_images(images: object) -> Images:
    """Return the array if it holds (N, H, W, 3) pictures of 0-255 uint8.

    Raises:
        DataError: Another shape, another type, floats in 0-1, or NaN; the message says how to convert.

    Example:
        >>> check_images(np.zeros((1, 8, 8, 3), np.uint8)).shape
        (1, 8, 8, 3)
        >>> check_images(np.zeros((1, 8, 8, 3), np.float32) + 0.5)
        Traceback (most recent call last):
            ...
        cellclf.errors.DataError: pictures are float32 within 0.5-0.5; pictures are uint8 with values 0-255: \
multiply by 255 and pass (images * 255).round().astype("uint8")
    """
    array = images if isinstance(images, np.ndarray) else np.asarray(images)
    if array.ndim != 4 or array.shape[3] != 3:
        fix = ""
        if array.ndim == 3:
            fix = ": pass images[..., None].repeat(3, -1)"
        elif array.ndim == 4 and array.shape[3] == 1:
            fix = ": pass images.repeat(3, axis=-1)"
        elif array.ndim == 4 and array.shape[3] == 4:
            fix = ": drop the alpha channel with images[..., :3]"
        elif array.ndim == 4 and array.shape[1] == 3:
            fix = ": pass images.transpose(0, 2, 3, 1)"
        raise DataError(f"pictures have shape {array.shape}; wanted (N, height, width, 3){fix}")
    if array.dtype != np.uint8:
        raise DataError(_wrong_type(array))
    return array


def _wrong_type(array: NDArray[Any]) -> str:
    wanted = "pictures are uint8 with values 0-255"
    if array.dtype == object:
        return f"pictures are Python objects (arrays of different sizes?); {wanted} in one array: load them as files"
    if not array.size or array.dtype.kind not in "fiub":
        return f"pictures have dtype {array.dtype}; {wanted}: convert them first"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum())
        return f"{count} of {len(array)} pictures hold NaN or infinity; {wanted}: repair or leave these out"
    low, high = float(array.min()), float(array.max())
    found = f"pictures are {array.dtype} within {low:g}-{high:g}"
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return f'{found}; {wanted}: multiply by 255 and pass (images * 255).round().astype("uint8")'
    if low >= 0 and high <= 255:
        return f'{found}; {wanted}: pass images.round().astype("uint8")'
    if array.dtype == np.uint16:
        return f'{found}; {wanted}: scale 16-bit pictures with (images / 257).round().astype("uint8")'
    return f"{found}; {wanted}: rescale them first"


class ImageSet:
    """Pictures of single cells and what is known of each one.

    Immutable: every change gives a new set, which shares the pixels with the old one. Files stay on disk until
    they are read, batch by batch.

    Args:
        images: (N, H, W, 3) uint8, 0-255: an array, a memory map, or a lazy source (``shape``, ``len``,
            ``read(rows)``).
        labels: (N,) or (N, 1) whole numbers, index into ``class_names``; None if unknown.
        class_names: One name for each class; None names them "0", "1", ...
        ids: (N,) unique texts; None counts them "0", "1", ...
        groups: (N,) texts: the patient or slide a picture comes from, given by the user.
        clusters: (N,) whole numbers: pictures of one number are duplicates of each other, found by ``Dedup``.
        sizes: (N, 2) original height and width in pixels; None takes the pictures' own.
        notices: What was converted on the way in, in plain words.
        skipped: What was left out on the way in, and why.

    Raises:
        DataError: Shapes, types, ids or labels that do not fit.

    Example:
        >>> cells = ImageSet(np.zeros((4, 8, 8, 3), np.uint8), [0, 0, 1, 1], class_names=["round", "lobed"])
        >>> cells
        ImageSet: 4 pictures 8x8, 2 classes
        >>> cells[1:].counts()
        {'round': 1, 'lobed': 2}
    """

    def __init__(
        self,
        images: Images | PictureSource,
        labels: Sequence[int] | NDArray[Any] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | NDArray[Any] | None = None,
        groups: Sequence[object] | NDArray[Any] | None = None,
        clusters: Sequence[int] | NDArray[Any] | None = None,
        sizes: NDArray[Any] | None = None,
        notices: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
    ) -> None:
        lazy = hasattr(images, "read") and hasattr(images, "shape")
        source: PictureSource = images if lazy else _ArraySource(check_images(images))  # type: ignore[assignment]  # hasattr is the test
        self._fill(
            source,
            np.arange(len(source)),
            labels,
            class_names,
            ids,
            groups,
            clusters,
            sizes,
            notices,
            skipped,
        )

    def _fill(
        self,
        source: PictureSource,
        rows: Rows,
        labels: Any,
        class_names: Sequence[str] | None,
        ids: Any,
        groups: Any,
        clusters: Any,
        sizes: Any,
        notices: Sequence[str],
        skipped: Sequence[Skipped],
    ) -> None:
        count = len(rows)
        self._source = source
        self._rows = _frozen(rows)
        self.labels: NDArray[np.int64] | None = None if labels is None else _frozen(_labels(labels, count))
        self.class_names: tuple[str, ...] = _class_names(class_names, self.labels)
        self.ids: NDArray[np.str_] = _frozen(_ids(ids, count))
        self.groups: NDArray[np.str_] | None = (
            None if groups is None else _frozen(_column("groups", groups, count).astype(str))
        )
        self.clusters: NDArray[np.int64] | None = (
            None if clusters is None else _frozen(_column("clusters", clusters, count).astype(np.int64))
        )
        if sizes is None:
            sizes = np.broadcast_to(np.asarray(source.shape[:2], np.int64), (count, 2))
        self.sizes: NDArray[np.int64] = _frozen(_column("sizes", sizes, count).astype(np.int64))
        self.notices: tuple[str, ...] = tuple(notices)
        self.skipped: tuple[Skipped, ...] = tuple(skipped)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        height, width, _ = self.image_shape
        classes = f"{self.num_classes} classes" if self.labels is not None else "no labels"
        return f"ImageSet: {len(self):,} pictures {height}x{width}, {classes}"

    @overload
    def __getitem__(self, key: int) -> Images: ...
    @overload
    def __getitem__(self, key: slice) -> ImageSet: ...
    def __getitem__(self, key: int | slice) -> Images | ImageSet:
        if isinstance(key, slice):
            return self.subset(np.arange(len(self))[key])
        place = operator.index(key)
        if not -len(self) <= place < len(self):
            raise IndexError(f"picture {place} of a set of {len(self)}")
        picture: Images = self._source.read(self._rows[[place]])[0]
        return picture

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        return self._source.shape

    @property
    def num_classes(self) -> int:
        """How many classes there are, those without a picture included."""
        return len(self.class_names)

    @property
    def images(self) -> Images:
        """All pictures in one read-only array (N, H, W, 3) uint8; decodes every file, so mind the memory."""
        images = self._source.read(self._rows)
        images.flags.writeable = False
        return images

    def read(self, rows: Sequence[int] | NDArray[Any]) -> Images:
        """Read the pictures at these places.

        Args:
            rows: (n,) whole numbers, 0 to N - 1, in any order.

        Returns:
            (n, H, W, 3) uint8.
        """
        return self._source.read(self._rows[np.asarray(rows, np.int64)])

    def batches(self, size: int = 256, *, label: str = "", show: bool | None = False) -> Iterator[Images]:
        """Read all pictures in order, some at a time.

        Args:
            size: Pictures in a batch; the last one may be smaller.
            label: What is being done, for the progress bar.
            show: True draws a progress bar, None only on a terminal.

        Yields:
            (n, H, W, 3) uint8.
        """
        starts = range(0, len(self), size)
        for start in track(starts, total=len(starts), label=label, unit="batch", show=show):
            yield self._source.read(self._rows[start : start + size])

    def subset(self, which: Sequence[int] | NDArray[Any]) -> ImageSet:
        """Take some pictures: by a mask (N,) of bool, or by their places (n,).

        Raises:
            DataError: A mask of another length, or places outside the set.

        Example:
            >>> cells = ImageSet(np.zeros((3, 8, 8, 3), np.uint8))
            >>> list(cells.subset([2, 0]).ids)
            [np.str_('2'), np.str_('0')]
        """
        chosen = np.asarray(which)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise DataError(f"the mask has shape {chosen.shape}; wanted ({len(self)},), one for each picture")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        if len(chosen) and (chosen.min() < -len(self) or chosen.max() >= len(self)):
            raise DataError(f"place {chosen.max()} is outside this set of {len(self)} pictures")
        made = object.__new__(ImageSet)
        made._fill(
            self._source,
            self._rows[chosen],
            None if self.labels is None else self.labels[chosen],
            self.class_names,
            self.ids[chosen],
            None if self.groups is None else self.groups[chosen],
            None if self.clusters is None else self.clusters[chosen],
            self.sizes[chosen],
            self.notices,
            self.skipped,
        )
        return made

    def replace(
        self,
        *,
        labels: Any = ...,
        class_names: Sequence[str] | None = None,
        ids: Any = None,
        groups: Any = ...,
        clusters: Any = ...,
    ) -> ImageSet:
        """Give the same pictures with other labels, names, ids, groups or clusters; what is not named stays.

        Raises:
            DataError: A column that does not fit.
        """
        made = object.__new__(ImageSet)
        made._fill(
            self._source,
            self._rows,
            self.labels if labels is ... else labels,
            self.class_names if class_names is None else class_names,
            self.ids if ids is None else ids,
            self.groups if groups is ... else groups,
            self.clusters if clusters is ... else clusters,
            self.sizes,
            self.notices,
            self.skipped,
        )
        return made

    def counts(self) -> dict[str, int]:
        """Count the pictures of each class; empty without labels."""
        if self.labels is None:
            return {}
        found = np.bincount(self.labels, minlength=self.num_classes)
        return {name: int(n) for name, n in zip(self.class_names, found, strict=True)}

    def fingerprint(self) -> str:
        """Hash ids, labels, class names and pixels: 64 hexadecimal digits, the same wherever the set comes from."""
        digest = hashlib.sha256(repr((self.image_shape, self.class_names)).encode())
        digest.update("\n".join(self.ids.tolist()).encode())
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        for batch in self.batches(label="hashing the pictures", show=None):
            digest.update(np.ascontiguousarray(batch).data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the set as an npz file that ``cellclf.load`` reads; whole or not at all.

        Args:
            path: Where to; an existing file is replaced only when the new one is complete.
        """
        from cellclf.files import replacing

        columns: dict[str, Any] = {
            "ids": self.ids,
            "sizes": self.sizes,
            "class_names": np.asarray(self.class_names, str),
        }
        for name in ("labels", "groups", "clusters"):
            if getattr(self, name) is not None:
                columns[name] = getattr(self, name)
        path = Path(path)
        with replacing(path) as new, new.open("wb") as file:
            np.savez(file, images=self.images, **columns)
        return path

    def summary(self) -> str:
        """Tell what the set holds: counts, sizes, classes, what was converted or skipped."""
        from cellclf.data.inspect import summary

        return summary(self)

    def plot(self, *, per_class: int = 6, seed: int = 0) -> Figure:
        """Draw the class balance and a sheet of pictures of each class.

        Args:
            per_class: Pictures drawn for each class.
            seed: Chooses which.
        """
        from cellclf.data.inspect import plot

        return plot(self, per_class=per_class, seed=seed)


def _frozen(column: NDArray[Any]) -> Any:
    view = column.view()
    view.flags.writeable = False
    return view


def _column(name: str, values: Any, count: int) -> NDArray[Any]:
    column = np.asarray(values)
    if len(column) != count:
        raise DataError(f"{len(column)} {name} for {count} pictures; wanted one for each picture")
    return column


def _labels(values: Any, count: int) -> NDArray[np.int64]:
    labels = _column("labels", values, count)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"labels have shape {labels.shape}; wanted (N,) or (N, 1): from one-hot, pass labels.argmax(1)")
    if labels.dtype.kind not in "iub":
        whole = labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all()
        if not whole:
            raise DataError(
                f"labels have dtype {labels.dtype}; wanted whole numbers 0, 1, ...: load a CSV or folder for names"
            )
    labels = labels.astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise DataError(f"there is a label {labels.min()}; labels count from 0: leave pictures without a label out")
    return labels


def _class_names(names: Sequence[str] | None, labels: NDArray[np.int64] | None) -> tuple[str, ...]:
    highest = -1 if labels is None or not len(labels) else int(labels.max())
    if names is None:
        return tuple(str(k) for k in range(highest + 1))
    names = tuple(str(name) for name in names)
    if highest >= len(names):
        raise DataError(f"there is a label {highest} but only {len(names)} class names; wanted a name for each class")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"the class name {twice[0]!r} stands twice; wanted each name once")
    return names


def _ids(values: Any, count: int) -> NDArray[np.str_]:
    if values is None:
        return np.arange(count).astype(str)
    ids = _column("ids", values, count).astype(str)
    if len(np.unique(ids)) < count:
        seen, times = np.unique(ids, return_counts=True)
        raise DataError(f"the id {str(seen[times > 1][0])!r} stands {times.max()} times; wanted each id once")
    return ids
