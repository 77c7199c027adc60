"""Loading a data set: npz, folders, tables, boxes in fields, files, arrays, a tf.data pipeline."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellclf.data.annotations import list_annotations
from cellclf.data.arrays import from_arrays, number_gaps
from cellclf.data.batches import from_batches
from cellclf.data.boxes import MARGIN, read_crops
from cellclf.data.columns import in_order, refuse_missing
from cellclf.data.csv_tables import TABLES, Table, is_frame, read_frame, read_table
from cellclf.data.decode import SUFFIXES, Reading
from cellclf.data.fit import check_fit
from cellclf.data.folders import junk, list_folder
from cellclf.data.image_set import ImageSet
from cellclf.data.listing import FileOptions, Listing, id_of_file, list_files, read_listing
from cellclf.data.npz import NpzArrays, open_npy
from cellclf.data.opening import begins_as_image
from cellclf.data.other_files import described
from cellclf.data.parts import split_part
from cellclf.data.path_patterns import PathPattern
from cellclf.data.sources import as_source
from cellclf.data.spelling import one_spelling, spelling_notices, unlabelled_notices, zeros_notices
from cellclf.data.src_names import local_path, near_path
from cellclf.data.table_rows import list_table
from cellclf.data.tiff import PAGES
from cellclf.errors import CellclfError, CellclfWarning, DataError, OptionError
from cellclf.utils.parameters import NotNegative, check_value, plain, shortened

_MANY_CLASSES = 5


def load(
    src: Any,
    labels: Sequence[int] | Sequence[str] | NDArray[Any] | Literal[False] | None = None,
    *,
    part: str | None = None,
    class_names: Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    domains: Sequence[object] | None = None,
    group_from: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    root: str | Path | None = None,
    margin: float | None = None,
    size: tuple[int, int] | None = None,
    fit: str = "stretch",
    bits: int | None = None,
    pages: str = "auto",
    verify: bool = True,
    show: bool | None = None,
    mixed: str | None = None,
) -> ImageSet:
    """Read images and what is known of them.

    Args:
        src: One of

            - an ``.npz`` with ``images`` (or ``x``) and, if known, ``labels`` (or ``y``), ``class_names``, ``ids``,
              ``groups``, ``domains``; stored without compression it is memory-mapped, not read;
            - a folder with one folder for each class, or with images only (no labels then). A single folder above the
              classes, and folders of patients above classes, are recognized, with a notice; what a NAS, a Mac or
              Windows left is ignored, with a notice;
            - a table: ``.csv`` as a program or a spreadsheet wrote it, ``.parquet``, or a DataFrame. Columns are found
              by the usual names (path, file, filename, image, id; label, class, category, cell_type; group, patient,
              slide; domain, hospital, scanner ...) or named in ``columns``; paths are relative to the table (a
              DataFrame's to the current folder). Files that are spelt otherwise on the disk, and those that a path or
              an address of another computer ends with, are found, with a notice. Of two rows for one file that
              contradict each other neither is taken, rows without a label are left out, and rows without a group beside
              others with one are refused;
            - boxes in fields: VOC XML (a file, or a folder of them beside the images), COCO JSON, or, with ``margin``,
              a table with ``xmin, ymin, xmax, ymax`` (or ``x, y, width, height``). Each box is cut out when it is read;
            - a list or Series of image files, or a pattern such as ``"slides/*.png"``;
            - an array (N, H, W, 3) uint8, a pair (images, labels), or a dict of arrays; grey, RGBA and 16-bit
              images are converted, with a notice;
            - a ``tf.data.Dataset`` or any iterable of batches (images, labels), read once into memory; floats
              within 0-255 are rounded, with a notice;
            - an ``ImageSet``.
        labels: (N,) whole numbers or class names, beside an array, an npz or a list of files. False reads none: a
            folder is then searched at any depth, whatever its folders are called, and a table needs none.
        part: Which part of a source that holds several: ``"train"`` reads the arrays ``train_images`` and
            ``train_labels`` (or ``x_train`` and ``y_train``) of an npz, the folder ``train``, or the rows of a table
            whose column ``split`` says so. ``"blood.npz:train"`` as ``src`` means the same.
        class_names: The classes in label order. A source with class names is matched by name, so that the labels of
            two sets mean the same; a source with numbers only takes the names in this order.
        groups: (N,) patient or slide of each image, beside an array, an npz or a list of files.
        domains: (N,) laboratory, hospital or scanner of each image, in the same way.
        group_from: Where paths (for arrays, ids) say the patient, and perhaps the class and the laboratory:
            ``"{label}/{group}/*"``, ``"{domain}/{label}/*"``, ``"**/{group}_*"``. ``*`` is anything within a name,
            ``**`` across folders; of a folder the pattern is the whole path in it, else its end.
        columns: Of a table: which column is ``path``, ``folder``, ``label``, ``group``, ``domain``, ``id`` or ``part``,
            or ``xmin`` ... of a box; None for what is not to be read.
        root: Of tables and boxes: the folder that paths are relative to.
        margin: Of boxes: added on each side, as a fraction of the longer side; None is 0.1, and refuses a table of
            boxes, whose rows may as well be images of cells. Crops are square as far as the field allows, so that no
            cell is squeezed.
        size: Height and width that files are resized to; None keeps their own.
        fit: How files of several sizes come to ``size`` or, if it is None, to their median height and width:
            ``"stretch"`` changes the proportions, ``"pad"`` keeps them and fills the border in the colour of the
            image's edge, ``"crop"`` keeps them and cuts what stands out; ``"refuse"`` raises an error instead.
        bits: How many bits the camera has whose images are in 16-bit files or arrays, 8 to 16: 12 takes 0-4095 as the
            full range. None takes 0-65535, with a notice if the images come out dark.
        pages: What the pages of a TIFF are: ``"channels"`` joins two or three as red, green and blue; ``"cells"``
            makes each an image, with the id ``"stack.tif#1"``; ``"first"`` takes the first; ``"auto"`` joins those
            that the metadata declare as channels, and three grey ones that nothing is known of, and of others takes
            the first, each with a notice.
        verify: True decodes every file now, so that damaged ones are listed in ``.skipped``, and keeps what it can;
            False reads the headers only: files are decoded when they are first read, and a damaged one raises an
            error then.
        show: True draws a progress bar; None does on a terminal and in a notebook.
        mixed: The former name of ``fit``: ``"resize"`` is ``fit="stretch"``.

    Returns:
        The set; ``.notices`` says what was converted, ``.skipped`` lists each file that was skipped and why.

    Raises:
        DataError: Nothing readable, or images that are not 0-255 pixels; the message says how to convert.
        OptionError: A wrong ``fit``, ``bits``, ``pages`` or ``size``, or an argument that does not fit the source.
        UnknownNameError: No such ``part``, or a class that ``class_names`` lacks.

    Examples:
        >>> cells = load((np.zeros((3, 8, 8, 3), np.uint8), [0, 1, 1]), class_names=["round", "lobed"])
        >>> cells.counts()
        {'round': 1, 'lobed': 2}
    """
    reading = _reading(fit, bits, pages, mixed)
    if size is not None:
        size = plain(size)
        sides = size if isinstance(size, list | tuple) and len(size) == 2 else (0, 0)
        if not all(isinstance(side, int | float) and side >= 1 and side == int(side) for side in sides):
            raise OptionError(f"size={shortened(size)}; expected (height, width) in pixels")
    check_value(margin, NotNegative | None, "margin")
    files = FileOptions(None if size is None else (int(size[0]), int(size[1])), reading, verify, show)
    how = _How(
        part=part,
        labels=labels is not False,
        columns=columns,
        root=None if root is None else Path(root).expanduser(),
        group_from=group_from,
        margin=None if margin is None else float(margin),
        files=files,
    )
    beside = {"labels": None if labels is False else labels, "groups": groups, "domains": domains}
    beside = {name: value for name, value in beside.items() if value is not None}
    if isinstance(src, tuple) and len(src) == 2 and not isinstance(src[0], str | Path):
        if "labels" in beside:
            raise OptionError(
                "labels are given twice, in the pair (images, labels) and as labels=; expected one of them"
            )
        src, pair = src
        beside |= {"labels": pair} if labels is not False else {}
    for name, values in beside.items():
        _refuse_other_index(src, name, values)
    cells = how.read(src, beside)
    if size is not None and cells.image_shape[:2] != files.size:
        raise OptionError(f"size={size} is for files; these images are in an array: resize that, or remove it")
    if labels is False and cells.labels is not None:
        cells = cells.replace(labels=None)
    return _one_name_each(cells) if class_names is None else _named(cells, in_order(class_names))


@dataclass(frozen=True)
class _How:
    """How a source is read: what ``load`` was asked for."""

    part: str | None
    labels: bool
    columns: Mapping[str, str | None] | None
    root: Path | None
    group_from: str | None
    margin: float | None
    files: FileOptions

    def read(self, src: Any, beside: dict[str, Any]) -> ImageSet:
        """Read a source; ``beside`` are columns that were given with it."""
        for name, values in beside.items():
            refuse_missing(name, values)
        paths, src = _paths(src)
        if isinstance(src, bytes | os.PathLike) and not isinstance(src, Path):
            src = os.fsdecode(src)
        if isinstance(src, str | Path):
            if beside and Path(split_part(local_path(str(src)))[0]).suffix.lower() not in (".npz", ".npy"):
                raise OptionError(
                    f"{' and '.join(beside)} cannot be given beside {str(src)!r}, which has its own; "
                    "expected arrays or a list of files"
                )
            return _with(self.path(src), beside)
        if is_frame(src):
            if beside:
                raise OptionError(f"{' and '.join(beside)} cannot be given beside a DataFrame; make them columns of it")
            return self.table(read_frame(src))
        if self.part is not None and not isinstance(src, Mapping):
            raise OptionError(
                f"part={self.part!r} needs an npz, a table or a folder that holds several parts; remove it"
            )
        self.refuse_columns(type(src).__name__)
        if paths is not None:
            return self.list(paths, beside)
        if isinstance(src, ImageSet):
            cells = src
        elif isinstance(src, Mapping):
            cells = from_arrays(src, self.part, "this dict", self.files.reading.bits, labels=self.labels)
        elif isinstance(src, np.ndarray) or hasattr(src, "__array__"):
            source, notices = as_source(src, self.files.reading.bits)
            cells = ImageSet(source, notices=notices)
        elif isinstance(src, Iterable) or (hasattr(src, "__getitem__") and hasattr(src, "__len__")):
            cells = from_batches(src)
        else:
            raise DataError(
                f"cannot load from {type(src).__name__}; expected a path, arrays, or an iterable of batches"
            )
        return self.grouped(_with(cells, beside))

    def pattern(self, *, whole: bool) -> PathPattern | None:
        """Give the pattern of ``group_from``."""
        return None if self.group_from is None else PathPattern(self.group_from, whole=whole)

    def grouped(self, cells: ImageSet) -> ImageSet:
        """Take groups, and labels that are not known, from ids."""
        pattern = self.pattern(whole=False)
        if pattern is None:
            return cells
        found = [pattern.match(id_) for id_ in cells.ids.tolist()]
        missing = [id_ for id_, one in zip(cells.ids.tolist(), found, strict=True) if one is None]
        if missing:
            raise DataError(pattern.no_match(missing))
        if "group" in pattern.names:
            cells = cells.replace(groups=[one.group for one in found if one is not None])
        if "domain" in pattern.names:
            cells = cells.replace(domains=[one.domain for one in found if one is not None])
        if "label" in pattern.names and cells.labels is None and self.labels:
            cells = cells.replace(labels=[one.label for one in found if one is not None])
        return cells

    def refuse_columns(self, what: str) -> None:
        """Refuse what is for tables only."""
        for name, value in (("columns", self.columns), ("root", self.root)):
            if value is not None:
                raise OptionError(f"{name}= is for tables and boxes, and this is a {what}; remove it")

    def list(self, paths: list[str | Path], beside: dict[str, Any]) -> ImageSet:
        """Read files; of the columns given with them, keep the rows of the files that are images."""
        listing = list_files(paths)
        for name, values in beside.items():
            if isinstance(values, Mapping | Set) or not hasattr(values, "__len__"):
                raise DataError(
                    f"{name} is a {type(values).__name__}; expected a list, one for each file: "
                    f"{name}=[{name}[path] for path in paths]"
                )
            if len(values) != len(listing.paths):
                raise DataError(f"{len(values)} {name} for {len(listing.paths)} files; expected one for each file")
        cells = read_listing(listing, self.files, "the list")
        place = {id_: k for k, id_ in enumerate(listing.ids)}
        kept = [place[id_of_file(id_, place)] for id_ in cells.ids.tolist()]
        return self.grouped(_with(cells, {name: np.asarray(values)[kept] for name, values in beside.items()}))

    def table(self, table: Table) -> ImageSet:
        """Read a table."""
        listing = list_table(
            table,
            root=self.root,
            columns=self.columns,
            part=self.part,
            labels=self.labels,
            pattern=self.pattern(whole=False),
        )
        if self.margin is None and any(box.margin is None for box in listing.boxes):
            raise DataError(
                f"the rows of {table.where} are boxes ({', '.join(table.rows[0])[:200]}), {len(listing.boxes):,} in "
                f"{len({*listing.paths}):,} images: pass margin=0.1 (--margin 0.1) to cut the cells out with so much "
                "round them, or columns={'box': None} (--columns box=) if each row is the image of one cell"
            )
        return self.files_of(listing, table.where)

    def files_of(self, listing: Listing, where: str) -> ImageSet:
        """Open the files of a listing, or cut its boxes out."""
        if listing.boxes:
            cells = read_crops(listing, self.files, where, MARGIN if self.margin is None else self.margin)
        else:
            cells = read_listing(listing, self.files, where)
        if listing.clusters:
            number = dict(zip(listing.ids, listing.clusters, strict=True))
            cells = cells.replace(clusters=[number[id_of_file(id_, number)] for id_ in cells.ids.tolist()])
        return cells

    def path(self, src: str | Path) -> ImageSet:
        """Read a file, a folder or a pattern."""
        name, part = split_part(local_path(str(src)))
        if part is not None and self.part not in (None, part):
            raise OptionError(f"part={self.part!r} and {str(src)!r} name two parts; expected one")
        how = self if part is None else replace(self, part=part)
        try:
            return how.open(Path(name).expanduser())
        except CellclfError:
            raise
        except OSError as error:
            raise DataError(f"cannot read {name!r}: {error.strerror or error}") from None

    def open(self, path: Path) -> ImageSet:
        """Read what is at a path."""
        suffix = path.suffix.lower()
        if path.is_dir():
            listing = list_folder(path, self.part, labels=self.labels, pattern=self.pattern(whole=True), root=self.root)
            if not listing.boxes:
                self.refuse_columns("folder")
            return self.files_of(listing, str(path))
        if suffix in TABLES and path.exists():
            return self.table(read_table(path))
        if suffix in (".xml", ".json") and path.exists():
            return self.files_of(list_annotations([path], self.root, labels=self.labels), str(path))
        self.refuse_columns(f"{suffix or 'path'} that is no table")
        if suffix == ".npz" and path.exists():
            return self.grouped(
                from_arrays(NpzArrays(path), self.part, str(path), self.files.reading.bits, labels=self.labels)
            )
        if self.part is not None and path.exists() and (suffix in SUFFIXES or suffix == ".npy"):
            raise OptionError(
                f"part={self.part!r} needs an npz, a table or a folder that holds several parts; remove it"
            )
        if not path.exists():
            if any(sign in str(path) for sign in "*?["):
                return self.pattern_of_files(str(path))
            raise DataError(
                f"there is no {str(path)!r}{near_path(path)}; expected a folder, an .npz, a .csv or a pattern such as "
                "'cells/*.png'"
            )
        if suffix == ".npy":
            source, notices = as_source(open_npy(path), self.files.reading.bits)
            return ImageSet(source, notices=notices)
        if suffix in SUFFIXES:
            return self.grouped(read_listing(list_files([path]), self.files, str(path)))
        if (not suffix or suffix[1:].isdecimal()) and begins_as_image(path):
            return self.grouped(read_listing(list_files([path]), self.files, str(path)))
        what = described(path.name, alone=True) or f"{suffix or 'no suffix'} is not supported"
        raise DataError(f"cannot load {str(path)!r}: {what}; expected .npz, .npy, .csv, .parquet, a folder or an image")

    def pattern_of_files(self, pattern: str) -> ImageSet:
        """Read the files that match a pattern; what other programs left beside them is passed over."""
        literal = _literal(pattern)
        found = sorted(_below(literal) if "**" in Path(literal).parts else glob.glob(literal))
        found = [name for name in found if not any(junk(part) for part in Path(name).parts)]
        if found and all(Path(name).suffix.lower() == ".xml" for name in found):
            listing = list_annotations([Path(name) for name in found], self.root, labels=self.labels)
            return self.files_of(listing, repr(pattern))
        paths = [name for name in found if Path(name).suffix.lower() in SUFFIXES]
        if not paths:
            some = next((name for name in found if Path(name).suffix.lower() in TABLES), None)
            fix = _other_capitals(pattern) if not found else ""
            fix = f": load each table, and join the sets with ImageSet.concat([load({some!r}), ...])" if some else fix
            raise DataError(f"no image matches {pattern!r} ({len(found)} other files do){fix}")
        return self.grouped(read_listing(list_files(paths), self.files, repr(pattern)))


def _paths(src: Any) -> tuple[list[str | Path] | None, Any]:
    """Look for paths in a sequence, a Series, an array of texts, an iterator of them.

    Returns:
        The paths, or None; and the source, of which nothing was read.
    """
    if isinstance(src, Sequence) and not isinstance(src, str | bytes):
        named = [isinstance(item, str | Path) for item in src]
        if named and named[0] and not all(named):
            raise DataError(f"the list of files holds {src[named.index(False)]!r}; expected a file in every place")
        return (list(src) if any(named) else None), src
    if isinstance(src, np.ndarray) or (hasattr(src, "dtype") and hasattr(src, "to_numpy")):
        column = np.asarray(src)
        values = column.tolist() if column.ndim == 1 and column.dtype.kind in "OUT" else []
        named = [isinstance(value, str | Path) for value in values]
        if any(named) and not all(named):
            raise DataError(f"a column of paths holds {values[named.index(False)]!r}; expected a file in every row")
        return values or None if any(named) else None, src
    if isinstance(src, Set) or (isinstance(src, Iterator) and not hasattr(src, "__len__")):
        rest = iter(src)
        first = next(rest, None)
        if isinstance(first, str | Path):
            return sorted([first, *rest], key=str), src
        return None, itertools.chain([] if first is None else [first], rest)
    return None, src


def _refuse_other_index(src: Any, name: str, values: Any) -> None:
    """Refuse two Series of one index in another order, which pandas would bring together, and numpy does not."""
    one, other = getattr(src, "index", None), getattr(values, "index", None)
    if one is None or other is None or callable(one) or callable(other) or len(one) != len(other):
        return
    if not one.equals(other) and one.sort_values().equals(other.sort_values()):
        raise DataError(
            f"{name} and the files have one index in another order; bring them together: {name}={name}.loc[files.index]"
        )


def _with(cells: ImageSet, beside: dict[str, Any]) -> ImageSet:
    found = cells.replace(**beside) if beside else cells
    gaps = number_gaps(found) if "labels" in beside else []
    return found.replace(notices=[*found.notices, *gaps]) if gaps else found


def _one_name_each(cells: ImageSet) -> ImageSet:
    """Make one class, one group, one domain of those whose names differ only in what nobody sees."""
    counts = cells.counts()
    if notices := unlabelled_notices(counts) + zeros_notices(counts) + _single_images(counts):
        cells = cells.replace(notices=[*cells.notices, *notices])
    if merged := one_spelling(counts):
        names = [name for name in cells.class_names if name not in merged]
        number = np.asarray([names.index(merged.get(name, name)) for name in cells.class_names], np.int64)
        notices = [*cells.notices, *spelling_notices(merged, counts, "classes")]
        cells = cells.replace(labels=number[cells.labels], class_names=names, notices=notices)
    for what in ("groups", "domains"):
        column = getattr(cells, what)
        if column is None:
            continue
        named, sizes = np.unique(column, return_counts=True)
        counts = dict(zip(named.tolist(), sizes.tolist(), strict=True))
        if merged := one_spelling(counts, zeros=what != "groups"):
            notices = [*cells.notices, *spelling_notices(merged, counts, what)]
            cells = cells.replace(**{what: [merged.get(g, g) for g in column.tolist()]}, notices=notices)
    return cells


def _single_images(counts: Mapping[str, int]) -> list[str]:
    """Report classes that all have one image: their names are those of cells, not of classes."""
    if len(counts) < _MANY_CLASSES or max(counts.values()) > 1:
        return []
    return [
        f"each of the {len(counts):,} classes has a single image: if their names are those of cells or patients, read "
        "no labels with labels=False, or patients with group_from='{group}/*'"
    ]


def _reading(fit: str, bits: int | None, pages: str, mixed: str | None) -> Reading:
    if mixed is not None:
        if mixed not in ("resize", "refuse"):
            raise OptionError(f"mixed={mixed!r}; expected fit='stretch', 'pad', 'crop' or 'refuse' in its place")
        fit = "stretch" if mixed == "resize" else mixed
        warnings.warn(f"mixed={mixed!r} is now fit={fit!r}", CellclfWarning, stacklevel=3)
    check_fit(fit)
    if bits is not None and (isinstance(bits, bool) or bits not in range(8, 17)):
        raise OptionError(f"bits={bits!r}; expected a whole number from 8 to 16, or None")
    if pages not in PAGES:
        raise OptionError(f"pages={pages!r}; expected 'auto', 'first', 'channels' or 'cells'")
    return Reading(fit, None if bits is None else int(bits), pages)


def _named(cells: ImageSet, names: list[str]) -> ImageSet:
    """Give the classes these names: matched by name, or by number where the set has only numbers."""
    own = cells.class_names
    if cells.labels is None or set(own) & set(names) or not all(name.isdecimal() for name in own):
        return cells.align(names)
    number = np.asarray([int(name) for name in own], np.int64)
    return cells.replace(labels=number[cells.labels], class_names=names)


def _literal(pattern: str) -> str:
    """Escape the folders at the front of a pattern that are there as they are called: ``data [2]/*.png``."""
    parts = Path(pattern).parts
    here = Path()
    for number, part in enumerate(parts):
        if not (here / part).exists():
            return os.path.join(glob.escape(str(here)), *parts[number:]) if number else pattern
        here = here / part
    return pattern


def _other_capitals(pattern: str) -> str:
    """Say what a pattern without a match may mean: other capitals, or the braces of a shell."""
    if re.search(r"\{.*,.*\}", pattern):
        return (
            ": braces are for the shell, without quotation marks, or load each and join the sets with ImageSet.concat"
        )
    folder, last = os.path.split(pattern)
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return ""
    near = [name for name in names if fnmatch.fnmatchcase(name.casefold(), last.casefold())]
    return f": in other capitals {len(near):,} do, such as {near[0]!r}" if near else ""


def _below(pattern: str) -> list[str]:
    """Match a pattern with ``**``; unlike ``glob.glob``, follow no links: two to a folder above never end."""
    parts = Path(pattern).parts
    fixed = next(k for k, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base, rest = Path(*parts[:fixed]), [*parts[fixed:], *(["*"] if parts[-1] == "**" else [])]
    # within a name, ** means * for glob; pathlib refuses it
    found = base.glob(os.path.join(*(part if part == "**" else part.replace("**", "*") for part in rest)))
    return [str(path) for path in found if not any(part.startswith(".") for part in path.relative_to(base).parts)]
