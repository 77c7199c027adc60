"""Loading a data set: npz, a folder for each class, a CSV, files, arrays, a tf.data pipeline."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.arrays import from_arrays
from cellclf.data.batches import from_batches
from cellclf.data.csv_tables import list_csv
from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import ImageSet
from cellclf.data.listing import FileOptions, Listing, list_files, list_folder, read_listing
from cellclf.data.npz import NpzArrays, open_npy
from cellclf.data.sources import as_source
from cellclf.errors import CellclfError, DataError, OptionError


def load(
    src: Any,
    labels: Sequence[int] | Sequence[str] | NDArray[Any] | None = None,
    *,
    part: str | None = None,
    class_names: Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    size: tuple[int, int] | None = None,
    mixed: str = "resize",
    verify: bool = True,
    show: bool | None = None,
) -> ImageSet:
    """Read images and what is known of them.

    Args:
        src: One of

            - an ``.npz`` with ``images`` (or ``x``) and, if known, ``labels`` (or ``y``), ``class_names``, ``ids``,
              ``groups``; stored without compression it is memory-mapped, not read;
            - a folder with one folder for each class, or with images only (no labels then);
            - a ``.csv`` whose columns are path, label and group (only the first is needed; paths are relative to the
              CSV's folder);
            - a list of image files, or a pattern such as ``"slides/*.png"``;
            - an array (N, H, W, 3) uint8, a pair (images, labels), or a dict of arrays; grey, RGBA and 16-bit
              images are converted, with a notice;
            - a ``tf.data.Dataset`` or any iterable of batches (images, labels), read once into memory; floats
              within 0-255 are rounded, with a notice;
            - an ``ImageSet``.
        labels: (N,) whole numbers or class names, beside an array, an npz or a list of files.
        part: Which part of a source that holds several: ``"train"`` reads the arrays ``train_images`` and
            ``train_labels`` (or ``x_train`` and ``y_train``) of an npz, or the folder ``train``.
        class_names: The classes in label order. A source with class names is matched by name, so that the labels of
            two sets mean the same; a source with numbers only takes the names in this order.
        groups: (N,) patient or slide of each image, beside an array, an npz or a list of files.
        size: Height and width that files are resized to; None keeps their own.
        mixed: What to do with files of several sizes when ``size`` is None: ``"resize"`` to the most frequent size
            (with a notice), or ``"refuse"``.
        verify: True decodes every file once now, so that damaged ones are listed in ``.skipped``; False reads
            the headers only, and a damaged file raises an error later.
        show: True draws a progress bar; None does on a terminal and in a notebook.

    Returns:
        The set; ``.notices`` says what was converted, ``.skipped`` lists each file that was skipped and why.

    Raises:
        DataError: Nothing readable, or images that are not 0-255 pixels; the message says how to convert.
        OptionError: A wrong ``mixed`` or ``size``, or an argument that does not fit the source.
        UnknownNameError: No such ``part``, or a class that ``class_names`` lacks.

    Examples:
        >>> cells = load((np.zeros((3, 8, 8, 3), np.uint8), [0, 1, 1]), class_names=["round", "lobed"])
        >>> cells.counts()
        {'round': 1, 'lobed': 2}
    """
    if mixed not in ("resize", "refuse"):
        raise OptionError(f"mixed={mixed!r}; expected 'resize' or 'refuse'")
    if size is not None and (len(size) != 2 or min(size) < 1 or any(side != int(side) for side in size)):
        raise OptionError(f"size={size!r}; expected (height, width) in pixels")
    files = FileOptions(None if size is None else (int(size[0]), int(size[1])), mixed, verify, show)
    columns: dict[str, Any] = {
        name: value for name, value in (("labels", labels), ("groups", groups)) if value is not None
    }
    if isinstance(src, tuple) and len(src) == 2 and not isinstance(src[0], str | Path):
        if labels is not None:
            raise OptionError(
                "labels are given twice, in the pair (images, labels) and as labels=; expected one of them"
            )
        src, columns["labels"] = src
    if isinstance(src, str | Path):
        if columns and Path(src).suffix.lower() not in (".npz", ".npy"):
            raise OptionError(
                f"{' and '.join(columns)} cannot be given beside {str(src)!r}, which has its own; "
                "expected arrays or a list of files"
            )
        cells = _from_path(Path(src).expanduser(), part, files)
    elif isinstance(src, Sequence) and src and all(isinstance(item, str | Path) for item in src):
        cells, columns = _from_files(src, columns, files)
    elif isinstance(src, ImageSet):
        cells = src
    elif isinstance(src, Mapping):
        cells = from_arrays(src, part, "this dict")
    elif isinstance(src, np.ndarray) or hasattr(src, "__array__"):
        source, notices = as_source(src)
        cells = ImageSet(source, notices=notices)
    elif isinstance(src, Iterable) or (hasattr(src, "__getitem__") and hasattr(src, "__len__")):
        cells = from_batches(src)
    else:
        raise DataError(f"cannot load from {type(src).__name__}; expected a path, arrays, or an iterable of batches")
    if part is not None and not isinstance(src, str | Path | Mapping):
        raise OptionError(f"part={part!r} needs an npz or a folder that holds several parts; remove it")
    if size is not None and cells.image_shape[:2] != files.size:
        raise OptionError(f"size={size} is for files; these images are in an array: resize that, or remove it")
    if columns:
        cells = cells.replace(**columns)
    return cells if class_names is None else _named(cells, list(class_names))


def _named(cells: ImageSet, names: list[str]) -> ImageSet:
    """Give the classes these names: matched by name, or by number where the set has only numbers."""
    own = cells.class_names
    if cells.labels is None or set(own) & set(names) or not all(name.isdecimal() for name in own):
        return cells.align(names)
    number = np.asarray([int(name) for name in own], np.int64)
    return cells.replace(labels=number[cells.labels], class_names=names)


def _from_path(path: Path, part: str | None, files: FileOptions) -> ImageSet:
    try:
        return _open(path, part, files)
    except CellclfError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror or error}") from None


def _open(path: Path, part: str | None, files: FileOptions) -> ImageSet:
    suffix = path.suffix.lower()
    if path.is_dir():
        return read_listing(list_folder(path, part), files, str(path))
    if suffix == ".npz" and path.exists():
        return from_arrays(NpzArrays(path), part, str(path))
    if part is not None:
        raise OptionError(f"part={part!r} needs an npz or a folder that holds several parts; remove it")
    if not path.exists():
        if any(sign in str(path) for sign in "*?["):
            return read_listing(_matching(str(path)), files, repr(str(path)))
        raise DataError(
            f"there is no {str(path)!r}; expected a folder, an .npz, a .csv or a pattern such as 'cells/*.png'"
        )
    if suffix == ".npy":
        source, notices = as_source(open_npy(path))
        return ImageSet(source, notices=notices)
    if suffix == ".csv":
        return read_listing(list_csv(path), files, str(path))
    if suffix in SUFFIXES:
        return read_listing(list_files([path]), files, str(path))
    raise DataError(
        f"cannot load {str(path)!r}: {suffix or 'no suffix'} is not supported; expected .npz, .npy, .csv, a folder or "
        "an image"
    )


def _matching(pattern: str) -> Listing:
    found = sorted(_below(pattern) if "**" in Path(pattern).parts else glob.glob(pattern))
    paths = [name for name in found if Path(name).suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"no image matches {pattern!r} ({len(found)} other files do)")
    return list_files(paths)


def _below(pattern: str) -> list[str]:
    """Match a pattern with ``**``; unlike ``glob.glob``, follow no links: two to a folder above never end."""
    parts = Path(pattern).parts
    fixed = next(k for k, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base, rest = Path(*parts[:fixed]), [*parts[fixed:], *(["*"] if parts[-1] == "**" else [])]
    # within a name, ** means * for glob; pathlib refuses it
    found = base.glob(os.path.join(*(part if part == "**" else part.replace("**", "*") for part in rest)))
    return [str(path) for path in found if not any(part.startswith(".") for part in path.relative_to(base).parts)]


def _from_files(
    paths: Sequence[str | Path], columns: dict[str, Any], files: FileOptions
) -> tuple[ImageSet, dict[str, Any]]:
    """Read files; of the columns given with them, keep the rows of the files that are images."""
    listing = list_files(paths)
    for name, values in columns.items():
        if len(values) != len(listing.paths):
            raise DataError(f"{len(values)} {name} for {len(listing.paths)} files; expected one for each file")
    cells = read_listing(listing, files, "the list")
    kept = np.isin(listing.ids, cells.ids)
    return cells, {name: np.asarray(values)[kept] for name, values in columns.items()}
