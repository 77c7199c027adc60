"""Image files: which are readable, how they become 8-bit RGB, and a source that decodes them when they are read."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cellclf.data.sources import Images, Rows, dark_note, to_8_bits
from cellclf.errors import DataError
from cellclf.utils.progress import track

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
MOST_PIXELS = 50_000_000
"""A crop of a cell has some thousands of pixels; a file that declares more than this is not decoded."""

_LARGE = 4_000_000
"""Images with more pixels are decoded one at a time: eight threads with 50 megapixels each fill the memory."""

_one_large = threading.Lock()
_ORIENTATION = 0x0112
_BLOCK = 512
Item = TypeVar("Item")
Result = TypeVar("Result")


class Unreadable(Exception):
    """A file that cannot become an image; the text says why."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one file was found to be: size before any resizing, a conversion, or why it cannot be read."""

    size: tuple[int, int] | None = None
    note: str = ""
    problem: str = ""


def decode(path: str | Path, size: tuple[int, int] | None = None) -> tuple[Images, tuple[int, int], str]:
    """Read one file as 8-bit RGB.

    Grey is repeated over the channels, transparency is blended with white, 16 bits are divided by 257 (so that the
    full range stays the full range), a camera's rotation tag is applied, and of several frames the first is taken.

    Args:
        path: jpg, png, tif or bmp, recognized by the content and not by the name.
        size: Height and width to resize to (Lanczos); None keeps the file's own.

    Returns:
        (H, W, 3) uint8, the original height and width, and what was converted ("" for nothing).

    Raises:
        Unreadable: Not an image, truncated, too large, or pixels without a 0-255 meaning.
    """

    def keep(opened: ImageFile) -> tuple[Images, tuple[int, int], str]:
        image, original, note = _convert(opened, size)
        return np.asarray(image), original, note

    return _inside(path, keep)


def _inside(path: str | Path, work: Callable[[ImageFile], Result]) -> Result:
    """Open a file and run ``work`` on it, one large image at a time; nothing but the result stays in memory."""
    with _quiet:
        try:
            with _open(path) as opened, _one_large if _is_large(opened) else contextlib.nullcontext():
                result = work(opened)
                opened.close()
                return result
        except Exception as error:  # damaged files raise whatever their decoder stumbles over
            raise _why(error) from None


def _convert(opened: ImageFile, size: tuple[int, int] | None) -> tuple[Image, tuple[int, int], str]:
    from PIL import Image

    frames = getattr(opened, "n_frames", 1)
    deep = ";16" in str(opened.tile[:1])
    opened.load()
    upright, turned = _turn(opened)
    image, note = _to_rgb(upright, deep)
    notes = ["first of several frames"] * (frames > 1) + ["rotated as its EXIF tag says"] * turned
    original = (image.height, image.width)
    if size is not None and original != tuple(size):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return image, original, "; ".join([*notes, note] if note else notes)


def _is_large(opened: ImageFile) -> bool:
    return opened.width * opened.height > _LARGE


def _open(path: str | Path) -> ImageFile:
    """Read the header, by one of four decoders: the many others of Pillow only widen what a damaged file can reach."""
    from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401  # register

    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise Unreadable("a pipe or a device, which may never end")
    opened = Image.open(path, formats=("JPEG", "PNG", "TIFF", "BMP"))
    width, height = opened.size
    if width * height > MOST_PIXELS:
        opened.close()
        raise Unreadable(f"{width}x{height} pixels are too many for an image of a cell")
    return opened


def _why(error: Exception) -> Unreadable:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Unreadable):
        return error
    if isinstance(error, UnidentifiedImageError):
        return Unreadable("not a jpg, png, tif or bmp image, or damaged in its first bytes")
    if isinstance(error, FileNotFoundError):
        return Unreadable("no such file")
    if isinstance(error, Image.DecompressionBombError):
        return Unreadable("declares far too many pixels for an image of a cell")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Unreadable(f"cannot be decoded: {getattr(error, 'strerror', None) or text}")


def _turn(image: Image) -> tuple[Image, bool]:
    """Rotate an image as its EXIF tag says; a damaged tag is no reason to lose the image."""
    from PIL import ImageOps

    try:
        if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
            return ImageOps.exif_transpose(image), True
    except Exception:  # as above: damaged metadata raises anything
        pass
    return image, False


def _to_rgb(image: Image, deep: bool) -> tuple[Image, str]:
    from PIL import Image

    if image.mode == "RGB":
        return image, "16-bit colours reduced to 8 bits" if deep else ""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise Unreadable(f"whole-number pixels within {low}-{high}, expected 0-65535")
        return Image.fromarray(to_8_bits(values)).convert("RGB"), f"16-bit grey divided by 257{dark_note(high)}"
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no 0-255 meaning: convert the file first")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB"), "transparency blended with white"
    kinds = {
        "L": "grey repeated over the channels",
        "1": "black and white converted to RGB",
        "P": "palette colours converted to RGB",
    }
    return image.convert("RGB"), kinds.get(image.mode, f"{image.mode} colours converted to RGB")


class _Quiet:
    """Ignore Pillow's warnings while images are decoded: what matters in them becomes a note or a reason for skipping.

    The list of filters belongs to the whole process, and ``catch_warnings`` in several threads at once can leave it
    changed for good; so the first one in saves it and the last one out restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)


_quiet = _Quiet()


def scan(paths: Sequence[str], *, verify: bool = True, show: bool | None = None) -> list[Scan]:
    """Check files in threads: size, conversions, problems.

    Args:
        paths: The files.
        verify: True decodes each file once, so that truncated ones are found now; False reads only the headers.
        show: True draws a progress bar, None only on a terminal.
    """
    check = _scan_pixels if verify else _scan_header
    with _quiet:
        found = _in_threads(check, paths)
        return list(track(found, total=len(paths), label="reading images", unit="file", show=show))


def _scan_pixels(path: str) -> Scan:
    try:
        size, note = _inside(path, lambda opened: _convert(opened, None)[1:])
    except Unreadable as problem:
        return Scan(problem=str(problem))
    return Scan(size, note)


def _scan_header(path: str) -> Scan:
    try:
        with _open(path) as opened:
            height, width = opened.height, opened.width
            turned = opened.format == "JPEG" and opened.getexif().get(_ORIENTATION, 1) in range(5, 9)
    except Exception as error:  # damaged files raise whatever their decoder stumbles over
        return Scan(problem=str(_why(error)))
    return Scan((width, height) if turned else (height, width))


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Map in threads, a block at a time, so that Ctrl-C has little to wait for and half a million files no queue."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(work, items[start : start + _BLOCK])


class FileSource:
    """Image files, decoded in threads each time they are read.

    Args:
        paths: One file an image.
        size: Height and width that every image is given.
    """

    def __init__(self, paths: Sequence[str], size: tuple[int, int]) -> None:
        self.paths = list(paths)
        self.shape = (int(size[0]), int(size[1]), 3)

    def __len__(self) -> int:
        return len(self.paths)

    def at_size(self, size: tuple[int, int]) -> FileSource:
        """Give the same files, decoded to another size."""
        return FileSource(self.paths, size)

    def read(self, rows: Rows) -> Images:
        """Decode the images at these places: (n, H, W, 3) uint8.

        Raises:
            DataError: A file that was readable when the set was loaded, and no longer is.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        with _quiet:
            few = len(rows) < 8
            decoded = map(self._one, rows) if few else _in_threads(self._one, rows)  # type: ignore[arg-type]  # an array is a sequence enough
            for place, image in enumerate(decoded):
                images[place] = image
        return images

    def _one(self, row: int) -> Images:
        path = self.paths[row]
        try:
            return decode(path, self.shape[:2])[0]
        except Unreadable as problem:
            raise DataError(
                f"{path}: {problem}; load the set again, so that such files are listed and skipped"
            ) from None
