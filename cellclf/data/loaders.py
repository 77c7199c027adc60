"""Reading a data set from wherever it is: npz, a folder for each class, a CSV, files, arrays, a tf.data pipeline."""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import ImageSet
from cellclf.data.listing import FileOptions, Listing, list_csv, list_folder, read_listing
from cellclf.errors import DataError, OptionError, unknown

_IMAGE_KEYS = ("images", "x", "X", "image")
_LABEL_KEYS = ("labels", "y", "Y", "label")


def load(
    src: Any,
    labels: Sequence[int] | NDArray[Any] | None = None,
    *,
    part: str | None = None,
    class_names: Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    size: tuple[int, int] | None = None,
    mixed: str = "resize",
    verify: bool = True,
    show: bool | None = None,
) -> ImageSet:
    """Read pictures and what is known of them.

    Args:
        src: One of

            - an ``.npz`` with ``images`` (or ``x``) and, if known, ``labels`` (or ``y``), ``class_names``, ``ids``,
              ``groups``; stored without compression it is mapped, not read into memory;
            - a folder with one folder for each class, or with pictures only (no labels then);
            - a ``.csv`` whose columns are path, label and group (only the first is needed; paths count from the
              CSV's folder);
            - a list of picture files, or a pattern such as ``"slides/*.png"``;
            - an array (N, H, W, 3) uint8, a pair (images, labels), or a dict of arrays;
            - a ``tf.data.Dataset`` or any iterable of batches (images, labels);
            - an ``ImageSet``, which is returned.
        labels: (N,) whole numbers, beside an array.
        part: Which part of a file that holds several: ``"train"`` reads ``train_images`` and ``train_labels``.
        class_names: Names of the classes in label order, where the source has none.
        groups: (N,) patient or slide of each picture, beside arrays.
        size: Height and width that files are resized to; None keeps their own.
        mixed: What to do with files of several sizes when ``size`` is None: ``"resize"`` to the most frequent size
            (with a notice), or ``"refuse"``.
        verify: True decodes every file once now, so that damaged ones are listed in ``.skipped``; False looks at
            the headers only, and a damaged file stops the work later.
        show: True draws a progress bar, None only on a terminal.

    Returns:
        The set; ``.notices`` says what was converted, ``.skipped`` lists each file that was left out and why.

    Raises:
        DataError: Nothing readable, or pictures that are not 0-255 pixels; the message says how to convert.
        OptionError: A wrong ``mixed``, ``size`` or ``part``.

    Example:
        >>> cells = load((np.zeros((3, 8, 8, 3), np.uint8), [0, 1, 1]), class_names=["round", "lobed"])
        >>> cells.counts()
        {'round': 1, 'lobed': 2}
    """
    if mixed not in ("resize", "refuse"):
        raise OptionError(f"mixed={mixed!r}; wanted 'resize' or 'refuse'")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise OptionError(f"size={size!r}; wanted (height, width) in pixels")
    files = FileOptions(size, mixed, verify, show)
    if isinstance(src, ImageSet):
        cells = src
    elif isinstance(src, str | Path):
        cells = _from_path(src, part, files)
    elif isinstance(src, Mapping):
        cells = _from_arrays(dict(src), part, "this dict")
    elif isinstance(src, np.ndarray):
        cells = ImageSet(src, labels, class_names=class_names, groups=groups)
    elif isinstance(src, tuple) and len(src) == 2 and not isinstance(src[0], str | Path):
        cells = ImageSet(np.asarray(src[0]), src[1], class_names=class_names, groups=groups)
    elif isinstance(src, Sequence) and src and all(isinstance(item, str | Path) for item in src):
        cells = read_listing(Listing([Path(item) for item in src], [str(item) for item in src]), files)
    elif isinstance(src, Iterable):
        cells = _from_batches(src)
    else:
        raise DataError(f"cannot load from {type(src).__name__}; wanted a path, arrays, or an iterable of batches")
    return cells if class_names is None else cells.replace(class_names=class_names)


def _from_path(src: str | Path, part: str | None, files: FileOptions) -> ImageSet:
    path = Path(src)
    if not path.exists():
        if any(sign in str(src) for sign in "*?["):
            found = sorted(glob.glob(str(src), recursive=True))
            paths = [Path(name) for name in found if Path(name).suffix.lower() in SUFFIXES]
            if not paths:
                raise DataError(f"no picture matches {str(src)!r} ({len(found)} other files do)")
            return read_listing(Listing(paths, [str(p) for p in paths]), files)
        raise DataError(
            f"there is no {str(src)!r}; wanted a folder, an .npz, a .csv or a pattern such as 'cells/*.png'"
        )
    if path.is_dir():
        return read_listing(list_folder(path), files)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_arrays(_open_npz(path), part, str(path))
    if suffix == ".npy":
        return ImageSet(np.load(path, mmap_mode="r", allow_pickle=False))
    if suffix == ".csv":
        return read_listing(list_csv(path), files)
    if suffix in SUFFIXES:
        return read_listing(Listing([path], [path.name]), files)
    raise DataError(
        f"cannot load {str(src)!r}: {suffix or 'no suffix'} is none of .npz, .npy, .csv, a folder or a picture"
    )


def _open_npz(path: Path) -> dict[str, Any]:
    """Read the arrays; large ones that are stored without compression are mapped, none is unpickled."""
    arrays: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                mapped = _map_member(path, name)
                arrays[name] = archive[name] if mapped is None else mapped
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: {name!r} holds Python objects, which could run code when read, and is never unpickled; "
                "save plain arrays instead (all pictures of one size, dtype uint8)"
            ) from None
        raise DataError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable npz file ({error}); it may be truncated: copy it again") from None
    return arrays


def _map_member(path: Path, name: str) -> NDArray[Any] | None:
    with zipfile.ZipFile(path) as archive:
        member = next((m for m in archive.infolist() if m.filename in (name, f"{name}.npy")), None)
        if member is None or member.compress_type != zipfile.ZIP_STORED or member.file_size < 1 << 20:
            return None
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                return None
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            header = file.tell()
        if dtype.hasobject:
            return None
        with path.open("rb") as raw:  # the name and extra fields of a member can differ from the directory's
            raw.seek(member.header_offset + 26)
            name_length, extra_length = np.frombuffer(raw.read(4), "<u2").tolist()
        start = member.header_offset + 30 + name_length + extra_length + header
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _from_arrays(arrays: dict[str, Any], part: str | None, where: str) -> ImageSet:
    if part is not None:
        chosen = {key.removeprefix(f"{part}_"): value for key, value in arrays.items() if key.startswith(f"{part}_")}
        if not chosen:
            parts = {key.rsplit("_", 1)[0] for key in arrays if key.endswith("_images")}
            raise unknown(f"part of {where}", part, parts)
        arrays = chosen
    image_key = next((key for key in _IMAGE_KEYS if key in arrays), None)
    if image_key is None:
        held = sorted(key.removesuffix("_images") for key in arrays if key.endswith("_images"))
        fix = (
            f"choose one with part={held[0]!r} (there are: {', '.join(held)})"
            if held
            else "name them 'images' and 'labels'"
        )
        raise DataError(f"{where} has no 'images' or 'x' but {', '.join(sorted(arrays)) or 'nothing'}; {fix}")
    label_key = next((key for key in _LABEL_KEYS if key in arrays), None)
    try:
        return ImageSet(
            np.asanyarray(arrays[image_key]),
            None if label_key is None else arrays[label_key],
            class_names=None if "class_names" not in arrays else [str(name) for name in arrays["class_names"]],
            ids=arrays.get("ids"),
            groups=arrays.get("groups"),
            clusters=arrays.get("clusters"),
            sizes=arrays.get("sizes"),
        )
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _from_batches(batches: Iterable[Any]) -> ImageSet:
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for batch in batches:
        pair = batch if isinstance(batch, tuple | list) else (batch,)
        pictures = np.asarray(pair[0])
        single = pictures.ndim == 3
        images.append(pictures[None] if single else pictures)
        if len(pair) > 1:
            found = np.asarray(pair[1])
            labels.append(found.reshape(1) if single and found.size == 1 else found)
    if not images:
        raise DataError(
            "the iterable gave no batch; wanted batches of (images, labels): an iterator can be read only once"
        )
    if len({batch.shape[1:] for batch in images}) > 1:
        raise DataError(
            f"batches hold pictures of several shapes ({images[0].shape[1:]}, ...); resize them to one first"
        )
    return ImageSet(np.concatenate(images), np.concatenate(labels) if labels else None)
