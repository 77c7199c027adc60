"""ImageSet: the images of one data set with all that is known of each; immutable, and lazy where possible."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

from cellclf.data import columns
from cellclf.data.fit import check_fit
from cellclf.data.sources import ArraySource, Images, ImageSource, ResizedSource, Rows, check_images
from cellclf.data.spelling import matched
from cellclf.errors import DataError, OptionError, printable, unknown
from cellclf.utils.parameters import Count, check_value
from cellclf.utils.progress import track

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


_COLUMNS = ("_rows", "labels", "ids", "groups", "domains", "clusters", "sizes")
"""What there is one of for each image."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """One input that did not become an image of the set.

    Args:
        id: The file or row.
        reason: Why, in plain words.
    """

    id: str
    reason: str


class FilePlace(NamedTuple):
    """Where an image comes from.

    Args:
        path: The file.
        box: Left, top, right and bottom edge of a crop in it, in pixels; None for the whole file.
    """

    path: str
    box: tuple[int, int, int, int] | None = None


class ImageSet:
    """Images of single cells and what is known of each one.

    Immutable: every change gives a new set, which shares its pixels with the old one. Files stay on disk until
    they are read, batch by batch. An array that is passed in is not copied, so do not change it afterwards. Names and
    ids are printable: line ends and control characters in them are spelled as escapes.

    Args:
        images: (N, H, W, 3) uint8, 0-255: an array, a memory map, or a lazy source (``shape``, ``len``,
            ``read(rows)``).
        labels: (N,) or (N, 1) whole numbers, index into ``class_names``, or (N,) class names; None if unknown.
        class_names: One name for each class; None takes the labels' own, or names them "0", "1", ...
        ids: (N,) unique texts; None counts them "0", "1", ...
        groups: (N,) texts: the patient or slide an image comes from, given by the user.
        domains: (N,) texts: the laboratory, hospital or scanner an image comes from, by which scores can be split.
        clusters: (N,) whole numbers: images of one number are duplicates of each other, found by ``Dedup``.
        sizes: (N, 2) original height and width in pixels; None takes the images' own.
        notices: What was converted while loading, in plain words.
        skipped: What was skipped while loading, and why.

    Raises:
        DataError: Shapes, types, ids or labels that do not fit.

    Examples:
        >>> cells = ImageSet(np.zeros((4, 8, 8, 3), np.uint8), [0, 0, 1, 1], class_names=["round", "lobed"])
        >>> cells
        ImageSet: 4 images 8x8, 2 classes
        >>> cells[1:].counts()
        {'round': 1, 'lobed': 2}
    """

    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_] | None
    domains: NDArray[np.str_] | None
    clusters: NDArray[np.int64] | None
    sizes: NDArray[np.int64]
    notices: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    _source: ImageSource
    _rows: Rows

    def __init__(
        self,
        images: Images | ImageSource,
        labels: Sequence[int] | Sequence[str] | NDArray[Any] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | NDArray[Any] | None = None,
        groups: Sequence[object] | NDArray[Any] | None = None,
        domains: Sequence[object] | NDArray[Any] | None = None,
        clusters: Sequence[int] | NDArray[Any] | None = None,
        sizes: NDArray[Any] | None = None,
        notices: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
    ) -> None:
        lazy = hasattr(images, "read") and hasattr(images, "shape")
        source = cast(ImageSource, images) if lazy else ArraySource(check_images(images))
        count = len(source)
        numbers, names = columns.labels_and_names(labels, class_names, count)
        self._fill(
            _source=source,
            _rows=np.arange(count),
            labels=numbers,
            class_names=names,
            ids=columns.ids(ids, count),
            groups=columns.groups(groups, count),
            domains=columns.domains(domains, count),
            clusters=columns.clusters(clusters, count),
            sizes=columns.sizes(sizes, count, source.shape),
            notices=tuple(map(printable, notices)),
            skipped=tuple(Skipped(printable(one.id), printable(one.reason)) for one in skipped),
        )

    def _fill(self, **fields: Any) -> Self:
        """Set checked fields, arrays read-only; the only place where a set is written to."""
        for name, value in fields.items():
            self.__dict__[name] = _frozen(value) if isinstance(value, np.ndarray) else value
        return self

    def _changed(self, **fields: Any) -> ImageSet:
        return object.__new__(ImageSet)._fill(**{**self.__dict__, **fields})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an ImageSet never changes, so {name!r} cannot be set; .replace(...) gives a new set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an ImageSet never changes, so {name!r} cannot be deleted")

    def __getstate__(self) -> dict[str, Any]:
        """Give what a pickle holds: of images in memory, only those of this set."""
        state = dict(self.__dict__)
        if hasattr(self._source, "trimmed") and len(self) < len(self._source):
            state |= {"_source": self._source.trimmed(self._rows), "_rows": np.arange(len(self))}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fill(**state)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        height, width, _ = self.image_shape
        classes = "no labels" if self.labels is None else _many(self.num_classes, "class", "classes")
        return f"ImageSet: {_many(len(self), 'image', 'images')} {height}x{width}, {classes}"

    @overload
    def __getitem__(self, key: int) -> Images: ...
    @overload
    def __getitem__(self, key: slice) -> ImageSet: ...
    def __getitem__(self, key: int | slice) -> Images | ImageSet:
        if isinstance(key, slice):
            return self._take(key)
        try:
            place = operator.index(key)
        except TypeError:
            raise TypeError("an ImageSet is indexed by a number or a slice; use .subset(mask or places)") from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"image {place} of a set of {len(self)}")
        image: Images = self._source.read(self._rows[[place]])[0]
        return image

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self._source.shape

    @property
    def num_classes(self) -> int:
        """How many classes there are, those without an image included."""
        return len(self.class_names)

    @property
    def images(self) -> Images:
        """All images in one read-only array (N, H, W, 3) uint8; this decodes every file into memory."""
        images = self._source.read(self._rows)
        images.flags.writeable = False
        return images

    def read(self, rows: Sequence[int] | NDArray[Any]) -> Images:
        """Read the images at these places.

        Args:
            rows: (n,) whole numbers in any order, also repeated; or a mask (N,) of bool.

        Returns:
            (n, H, W, 3) uint8; a read-only view where that is possible.

        Raises:
            DataError: A mask of another length, or places outside the set.
        """
        return self._source.read(self._rows[self._places(rows)])

    def batches(self, size: int = 256, *, label: str = "reading images", show: bool | None = None) -> Iterator[Images]:
        """Read all images in order, some at a time.

        Args:
            size: Images in a batch; the last one may be smaller.
            label: What is being done, for the progress bar.
            show: True draws a progress bar; None does on a terminal and in a notebook.

        Yields:
            (n, H, W, 3) uint8.
        """
        check_value(size, Count, "images in a batch, size")
        starts = range(0, len(self), size)
        for start in track(starts, total=len(starts), label=label, unit="batch", show=show):
            yield self._source.read(self._rows[start : start + size])

    def subset(self, which: Sequence[int] | NDArray[Any]) -> ImageSet:
        """Take some images: by a mask (N,) of bool, or by their places (n,).

        Raises:
            DataError: A mask of another length, places outside the set, or an image taken twice.

        Examples:
            >>> cells = ImageSet(np.zeros((3, 8, 8, 3), np.uint8))
            >>> cells.subset([2, 0]).ids.tolist()
            ['2', '0']
        """
        places = self._places(which)
        if len(np.unique(places)) < len(places):
            raise DataError("an image is taken twice; a set holds each once: .read(places) gives copies")
        return self._take(places)

    def _places(self, which: Sequence[int] | NDArray[Any]) -> Rows:
        places = np.asarray(which)
        if places.dtype == bool:
            if places.shape != (len(self),):
                raise DataError(f"the mask has shape {places.shape}; expected ({len(self)},), one for each image")
            return np.flatnonzero(places)
        if not places.size:
            return np.empty(0, np.int64)
        if places.dtype.kind not in "iu" or places.ndim != 1:
            raise DataError(
                f"places have dtype {places.dtype} and shape {places.shape}; expected whole numbers (n,) or a mask"
            )
        low, high = int(places.min()), int(places.max())
        if low < -len(self) or high >= len(self):
            raise DataError(f"place {low if low < 0 else high} is outside this set of {len(self)} images")
        places = places.astype(np.int64)
        return np.where(places < 0, places + len(self), places)

    def _take(self, which: slice | Rows) -> ImageSet:
        taken = {name: self.__dict__[name] for name in _COLUMNS}
        return self._changed(**{name: None if column is None else column[which] for name, column in taken.items()})

    @staticmethod
    def concat(sets: Sequence[Any], names: Sequence[str] | None = None) -> ImageSet:
        """Make one set of several; the pixels are read from them when they are needed.

        Classes are matched by name, also where the spelling differs; those that only some sets have are kept, and a
        notice names them. Images of another size are resized to that of the first set, with a notice. Where two sets
        have an id in common, every id gets the name of its set before it: ``"hospital_a/neutrophil/1.png"``.

        Args:
            sets: Sets, or whatever ``load`` reads.
            names: What the sets are: laboratories, hospitals, scanners. Each is then a domain (a set that has domains
                keeps its own), and patients of one name in two sets are two. None joins sets of one source.

        Raises:
            OptionError: No sets, or names that do not fit.
            DataError: Some sets have labels and others none, or some number their classes and others name them.

        Examples:
            >>> images = np.zeros((2, 8, 8, 3), np.uint8)
            >>> one, other = ImageSet(images, ["round", "lobed"]), ImageSet(images, ["Round", "band"])
            >>> both = ImageSet.concat([one, other], names=["here", "there"])
            >>> both.counts(), both.domains.tolist()
            ({'lobed': 1, 'round': 2, 'band': 1}, ['here', 'here', 'there', 'there'])
        """
        from cellclf.data.concat import concat

        return concat(sets, names)

    def replace(
        self,
        *,
        labels: Any = ...,
        class_names: Sequence[str] | None = None,
        ids: Any = None,
        groups: Any = ...,
        domains: Any = ...,
        clusters: Any = ...,
        notices: Sequence[str] | None = None,
    ) -> ImageSet:
        """Give the same images with other labels, names, ids, groups, domains, clusters or notices; the rest is kept.

        Other ``class_names`` rename the classes in place; to bring the labels into another list's order, ``align``.

        Raises:
            DataError: A column that does not fit.

        Examples:
            >>> cells = ImageSet(np.zeros((2, 8, 8, 3), np.uint8), [0, 1])
            >>> cells.replace(class_names=["round", "lobed"]).counts()
            {'round': 1, 'lobed': 1}
        """
        count = len(self)
        numbers, names = columns.labels_and_names(
            self.labels if labels is ... else labels,
            (self.class_names or None) if class_names is None else class_names,
            count,
        )
        return self._changed(
            labels=numbers,
            class_names=names,
            ids=self.ids if ids is None else columns.ids(ids, count),
            groups=self.groups if groups is ... else columns.groups(groups, count),
            domains=self.domains if domains is ... else columns.domains(domains, count),
            clusters=self.clusters if clusters is ... else columns.clusters(clusters, count),
            notices=self.notices if notices is None else tuple(notices),
        )

    def align(self, class_names: Sequence[str]) -> ImageSet:
        """Number the labels after another list of classes, matched by name: another set's, or a model's.

        A name that differs only in capitals, blanks or Unicode form is matched, too, with a notice.

        Args:
            class_names: The classes in the expected order; it may hold classes that this set lacks.

        Raises:
            UnknownNameError: This set has images of a class that is not in the list.

        Examples:
            >>> cells = ImageSet(np.zeros((2, 8, 8, 3), np.uint8), ["lobed", "round"])
            >>> cells.align(["round", "kidney", "lobed"]).labels.tolist()
            [2, 0]
        """
        names = tuple(class_names)
        if self.labels is None or names == self.class_names:
            return self.replace(class_names=names)
        counts, known = self.counts(), matched(self.class_names, names)
        for name, count in counts.items():
            if count and name not in known:
                raise unknown("class", name, names)
        number = np.asarray([names.index(known[n]) if n in known else -1 for n in self.class_names], np.int64)
        other = {name: real for name, real in known.items() if name != real and counts[name]}
        notices = [
            f"the class {name!r} was read as {real!r}, which is spelt differently" for name, real in other.items()
        ]
        return self.replace(labels=number[self.labels], class_names=names, notices=[*self.notices, *notices])

    def counts(self) -> dict[str, int]:
        """Count the images of each class; empty without labels."""
        if self.labels is None:
            return {}
        found = np.bincount(self.labels, minlength=self.num_classes)
        return {name: int(n) for name, n in zip(self.class_names, found, strict=True)}

    @property
    def fit(self) -> str:
        """How images of another size were, and will be, brought to that of the set: see ``load``."""
        return str(getattr(self._source, "fit", "stretch"))

    def resized(self, size: tuple[int, int], fit: str | None = None) -> ImageSet:
        """Give the same images at another size: files are decoded to it, arrays are resized as they are read.

        Args:
            size: Height and width in pixels.
            fit: ``"stretch"``, ``"pad"`` or ``"crop"``, see ``load``; None takes what the set was loaded with.

        Raises:
            OptionError: Another ``fit``.

        Examples:
            >>> ImageSet(np.zeros((2, 8, 8, 3), np.uint8)).resized((4, 6)).image_shape
            (4, 6, 3)
        """
        if fit is not None:
            check_fit(fit, but="refuse")
        if tuple(size) == self.image_shape[:2]:
            return self
        at = getattr(self._source, "at_size", None)
        source = at(size, fit) if at is not None else ResizedSource(self._source, size, fit or self.fit)
        return self._changed(_source=source)

    def fingerprint(self) -> str:
        """Hash ids, labels, class names and pixels: 64 hexadecimal digits, the same wherever the set comes from.

        A folder and the npz that ``save`` makes of it are equal; arrays of the same pixels without the ids are not.
        """
        digest = hashlib.sha256(repr((self.image_shape, self.class_names)).encode())
        digest.update("\n".join(self.ids.tolist()).encode("utf-8", "surrogatepass"))
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        for batch in self.batches(label="hashing the images"):
            digest.update(np.ascontiguousarray(batch).data)
        return digest.hexdigest()

    @property
    def has_files(self) -> bool:
        """Whether every image is a file, or a box in one, so that a table can name it."""
        return bool(getattr(self._source, "has_files", hasattr(self._source, "places")))

    def file_places(self) -> list[FilePlace]:
        """Give the file of each image, and its edges if it is cut out of a field.

        Raises:
            OptionError: Images that are no files.
        """
        if not self.has_files:
            raise OptionError("these images are in an array or pages of files, not files; save them as .npz")
        return list(cast(Any, self._source).places(self._rows))

    def count_shared(self, other: ImageSet) -> int:
        """Count the images that are in another set, too: the same file, or the same place of one array.

        Copies of the same pixels are what ``cellclf.Dedup().find(a, against=b)`` finds; nothing is read here.

        Args:
            other: Another set, or one that was cut from the same.
        """
        if self._source is other._source:
            return int(np.isin(self._rows, other._rows).sum())
        if self.has_files and other.has_files:
            known = set(other.file_places())
            return sum(place in known for place in self.file_places())
        own, others = (_addresses(one._source, one._rows) for one in (self, other))
        return 0 if own is None or others is None or own[0] != others[0] else int(np.isin(own[1], others[1]).sum())

    def to_frame(self) -> pandas.DataFrame:
        """Give what is known of each image as a DataFrame, which ``cellclf.load`` reads if the images are files.

        Returns:
            One row an image: ``id``, ``path`` (absolute, of files), the edges of a box, ``label`` (the class name),
            ``group``, ``domain`` and ``cluster`` where they are known, original ``height`` and ``width``.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        from cellclf.data.csv_tables import to_frame

        return to_frame(self)

    def check_save(self, path: str | Path) -> Path:
        """Refuse a file that ``save`` could not write, before the work that comes first.

        Raises:
            OptionError: Another suffix, or a table of images that are no files.
            MissingPackageError: Parquet without pyarrow.
        """
        from cellclf.utils.csv_tables import check_table_path

        path = Path(path)
        if path.suffix.lower() not in (".npz", ".csv", ".parquet"):
            raise OptionError(f"cannot save to {str(path)!r}; expected a name that ends in .npz, .csv or .parquet")
        if path.suffix.lower() != ".npz":
            check_table_path(path)
            if not self.has_files:
                where = "pages of files" if hasattr(self._source, "has_files") else "in an array"
                raise OptionError(
                    f"cannot save to {str(path)!r}: these images are {where}, and a table only names files; "
                    "expected a name that ends in .npz"
                )
        return path

    def save(self, path: str | Path) -> Path:
        """Write the set as a file that ``cellclf.load`` reads.

        ``.npz`` holds images and all that is known of them, and is memory-mapped when it is loaded. ``.csv`` and
        ``.parquet`` hold a row for each file with its label, group, domain and cluster; paths are relative to the
        table, and no image is copied.

        Args:
            path: Where to, ending in ``.npz``, ``.csv`` or ``.parquet``; an existing file is replaced only when the
                new one is complete.

        Raises:
            OptionError: Another suffix, or a table of images that are no files.
            MissingPackageError: Parquet without pyarrow.
        """
        from cellclf.data.csv_tables import write_cells
        from cellclf.data.npz import write_npz

        path = self.check_save(path)
        if path.suffix.lower() != ".npz":
            return write_cells(self, path)
        kept = {name: getattr(self, name) for name in _COLUMNS[1:]}
        kept |= {name: np.asarray(getattr(self, name), np.str_) for name in ("class_names", "notices")}
        kept["skipped"] = np.asarray([(s.id, s.reason) for s in self.skipped], np.str_).reshape(-1, 2)
        batches = self.batches(label=f"writing {path.name}")
        shape = (len(self), *self.image_shape)
        write_npz(path, {k: v for k, v in kept.items() if v is not None}, batches, shape)
        return path

    def summary(self) -> str:
        """Describe what the set holds: counts, sizes, classes, what was converted or skipped."""
        from cellclf.data.inspect import summary

        return summary(self)

    def plot(self, *, per_class: int = 6, seed: int = 0) -> Figure:
        """Draw the class balance beside a sheet of images of each class.

        Args:
            per_class: Images drawn for each class.
            seed: Chooses which.
        """
        from cellclf.data.inspect import plot

        return plot(self, per_class=per_class, seed=seed)


def _frozen(column: NDArray[Any]) -> NDArray[Any]:
    view = column.view()
    view.flags.writeable = False
    return view


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _addresses(source: ImageSource, rows: Rows) -> tuple[tuple[int, ...], NDArray[np.int64]] | None:
    """Give how the images of an array lie in memory, and where each begins; None for other images."""
    images = getattr(source, "images", None)
    if not isinstance(images, np.ndarray):
        return None
    return (*images.shape[1:], *images.strides[1:]), images.ctypes.data + rows * images.strides[0]
