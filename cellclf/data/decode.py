"""Image files: how they become 8-bit RGB, which are readable, and a source that decodes them when they are read."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cellclf.data.colour_profiles import in_srgb
from cellclf.data.fit import fitted
from cellclf.data.opening import (
    SUFFIXES,
    check_pixels,
    deep_png,
    has_long_text,
    is_tiff,
    open_image,
    png_may_be_turned,
    quiet,
    why,
    without_text,
)
from cellclf.data.pixels import Unreadable, to_rgb
from cellclf.data.sources import Images, Rows, dark_note
from cellclf.data.transparency import IGNORED_ALPHA, is_invisible
from cellclf.errors import DataError
from cellclf.utils.progress import track

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from cellclf.data.image_set import FilePlace

__all__ = ["AS_THEY_ARE", "SUFFIXES", "FileSource", "Reading", "Scan", "Unreadable", "decode", "scan"]

_LARGE = 4_000_000
"""Images with more pixels are decoded one at a time: eight threads with 50 megapixels each fill the memory."""

_one_large = threading.Lock()
_ORIENTATION = 0x0112
_BLOCK = 512
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: arguments of ``load`` that change pixels.

    Args:
        fit: How an image of another size is brought to that of the set.
        bits: How many bits of files with more than 8 are used; None takes all.
        pages: What the pages of a TIFF are.
    """

    fit: str = "stretch"
    bits: int | None = None
    pages: str = "auto"


AS_THEY_ARE = Reading()


@dataclass(frozen=True, slots=True)
class Scan:
    """What one file was found to be.

    Args:
        size: Height and width before any resizing; None if it cannot be read.
        note: What was converted ("" for nothing).
        peak: The highest value of a file whose 16 bits were divided by 257.
        problem: Why it cannot be read.
        images: How many images it holds.
    """

    size: tuple[int, int] | None = None
    note: str = ""
    peak: int | None = None
    problem: str = ""
    images: int = 1


def decode(
    path: str | Path, size: tuple[int, int] | None = None, *, reading: Reading = AS_THEY_ARE, number: int = 0
) -> tuple[Images, tuple[int, int], str]:
    """Read one file as 8-bit RGB.

    Grey is repeated over the channels, transparency is blended with white, 16 bits are divided by 257 (so that the
    full range stays the full range), a camera's rotation tag and a colour profile other than sRGB are applied, and of
    several frames the first is taken.

    Args:
        path: jpg, png, tif or bmp, recognized by the content and not by the name.
        size: Height and width to resize to (Lanczos); None keeps the file's own.
        reading: How it is read.
        number: Which image of a file that holds several.

    Returns:
        (H, W, 3) uint8, the original height and width, and what was converted ("" for nothing).

    Raises:
        Unreadable: Not an image, truncated, too large, or pixels without a 0-255 meaning; the text says what it is.
    """
    with quiet:
        image, found = _decoded(path, size, reading, number)
    assert found.size is not None
    dark = "" if found.peak is None else dark_note(found.peak)
    return image, found.size, found.note + dark


def _decoded(
    path: str | Path,
    size: tuple[int, int] | None,
    reading: Reading,
    number: int,
    keep: Callable[[Image], None] | None = None,
) -> tuple[Images, Scan]:
    """Read a file; ``keep`` takes the image while no other large one is decoded, and then no pixels are returned."""

    def finished(image: Image, note: str, peak: int | None) -> tuple[Images, Scan]:
        found = Scan((image.height, image.width), note, peak)
        if keep is None:
            return np.asarray(image if size is None else fitted(image, size, reading.fit)), found
        keep(image)
        return np.empty((0, 0, 3), np.uint8), found

    try:
        try:
            with open_image(path) as opened:
                if opened.format != "TIFF" or _is_plain_tiff(opened):
                    with _one_large if _is_large(opened) else contextlib.nullcontext():
                        return finished(*_converted(opened, path, reading))
        except Exception as error:  # damaged files raise whatever their decoder stumbles over
            if has_long_text(error):
                with open_image(without_text(path)) as opened:
                    return finished(*_converted(opened, path, reading))
            if not _is_odd_tiff(error, path):
                raise
        return finished(*_from_tiff(path, reading, number))
    except Exception as error:  # as above
        raise why(error, path) from None


def _is_large(opened: ImageFile) -> bool:
    return opened.width * opened.height > _LARGE


def _is_plain_tiff(opened: ImageFile) -> bool:
    from cellclf.data.tiff import is_plain

    return is_plain(opened)  # type: ignore[arg-type]  # its format was checked


def _is_odd_tiff(error: Exception, path: str | Path) -> bool:
    """Tell whether Pillow has failed to recognize a file that is a TIFF all the same."""
    from PIL import UnidentifiedImageError

    return isinstance(error, UnidentifiedImageError | KeyError) and os.path.isfile(path) and is_tiff(path)


def _from_tiff(path: str | Path, reading: Reading, number: int) -> tuple[Image, str, int | None]:
    from PIL import Image

    from cellclf.data.tiff import Tiff

    with open(path, "rb") as file, Tiff(file, reading.pages) as tiff:
        height, width = tiff.size(number)
        check_pixels(width, height)
        with _one_large if width * height > _LARGE else contextlib.nullcontext():
            raw = tiff.read(number)
            pixels, note, peak = to_rgb(raw, reading.bits)
            image, profile = in_srgb(Image.fromarray(pixels), tiff.profile(number) if raw.model == 2 else None)
            return image, "; ".join(part for part in (tiff.layout.note, note, profile) if part), peak


def _converted(opened: ImageFile, path: str | Path, reading: Reading) -> tuple[Image, str, int | None]:
    """Convert what Pillow has opened."""
    from PIL import Image

    frames = getattr(opened, "n_frames", 1)
    notes = [f"the first of {frames} frames"] * (frames > 1)
    if opened.format == "PNG" and "16" in str(opened.tile[:1]):
        with open_image(path) as again:
            raw = deep_png(opened, again)
        if raw is not None:
            pixels, note, peak = to_rgb(raw, reading.bits)
            coloured, profile = in_srgb(Image.fromarray(pixels), opened.info.get("icc_profile"))
            upright, turned = _turn(opened, coloured)
            return upright, "; ".join([*notes, *_TURNED * turned, note, *[profile] * bool(profile)]), peak
    opened.load()
    upright, turned = _turn(opened, opened)
    coloured, profile = in_srgb(upright, opened.info.get("icc_profile"))
    image, note = _to_rgb(coloured)
    return image, "; ".join([*notes, *_TURNED * turned, *(text for text in (profile, note) if text)]), None


_TURNED = ["rotated as its EXIF tag says"]
_NAMES_A_TURN = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})


def _turn(opened: ImageFile, image: Image) -> tuple[Image, bool]:
    """Rotate an image as the EXIF tag of its file says; a damaged tag is no reason to lose the image."""
    if opened.format != "TIFF" and _NAMES_A_TURN.isdisjoint(opened.info):  # reading tags costs a tenth of a decode
        return image, False
    from PIL import Image as Pillow

    turns = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_270,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(opened))
    return (image, False) if turn is None else (image.transpose(turn), True)


def _orientation(opened: ImageFile) -> int:
    try:
        found = opened.getexif().get(_ORIENTATION, 1)
        return found if isinstance(found, int) else 1
    except Exception:  # damaged metadata raises anything
        return 1


def _to_rgb(image: Image) -> tuple[Image, str]:
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image, ""
    if image.mode in ("RGB", "RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() == (0, 0):
            pixels = np.asarray(rgba)
            if is_invisible(pixels[..., :3], pixels[..., 3:]):
                return Image.fromarray(np.ascontiguousarray(pixels[..., :3])), IGNORED_ALPHA
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB"), "transparency blended with white"
    kinds = {
        "L": "grey repeated over the channels",
        "1": "black and white converted to RGB",
        "P": "palette colours converted to RGB",
    }
    return image.convert("RGB"), kinds.get(image.mode, f"{image.mode} colours converted to RGB")


def scan(
    paths: Sequence[str],
    *,
    verify: bool = True,
    show: bool | None = None,
    reading: Reading = AS_THEY_ARE,
    numbers: Sequence[int] | None = None,
    keep: Callable[[int, Images], None] | None = None,
    size: tuple[int, int] | None = None,
) -> list[Scan]:
    """Check files in threads: size, conversions, problems.

    Args:
        paths: The files.
        verify: True decodes each file once, so that truncated ones are found now; False reads only the headers.
        show: True draws a progress bar, None only on a terminal.
        reading: How they are read.
        numbers: Which image of each file; None takes the first.
        keep: Takes the place and the pixels of each image that was decoded, in any thread, so that it need not be
            decoded again.
        size: Height and width of the images that ``keep`` takes; None gives it all. Of a large one, an array that
            nobody takes would be most of the memory.
    """

    def pixels(place: int) -> Scan:
        failed: list[Exception] = []

        def kept(image: Image) -> None:
            try:
                if keep is not None and size in (None, (image.height, image.width)):
                    keep(place, np.asarray(image))
            except Exception as error:  # a full disk, say: no fault of the file
                failed.append(error)

        try:
            found = _decoded(paths[place], None, reading, 0 if numbers is None else numbers[place], kept)[1]
        except Unreadable as problem:
            return Scan(problem=str(problem))
        if failed:
            raise failed[0]
        return found

    def header(place: int) -> Scan:
        return _scan_header(paths[place], reading, 0 if numbers is None else numbers[place])

    with quiet:
        found = _in_threads(pixels if verify else header, range(len(paths)))
        return list(track(found, total=len(paths), label="reading images", unit="file", show=show))


def _scan_header(path: str, reading: Reading, number: int) -> Scan:
    try:
        try:
            with open_image(path) as opened:
                if opened.format != "TIFF" or _is_plain_tiff(opened):
                    return Scan(_upright_size(opened))
        except Exception as error:  # damaged files raise whatever their decoder stumbles over
            if has_long_text(error):
                with open_image(without_text(path)) as opened:
                    return Scan(_upright_size(opened))
            if not _is_odd_tiff(error, path):
                raise
        from cellclf.data.tiff import Tiff

        with open(path, "rb") as file, Tiff(file, reading.pages) as tiff:
            height, width = tiff.size(number)
            check_pixels(width, height)
            return Scan((height, width), tiff.layout.note, images=len(tiff))
    except Exception as error:  # as above
        return Scan(problem=str(why(error, path)))


def _upright_size(opened: ImageFile) -> tuple[int, int]:
    if opened.format == "TIFF":
        from cellclf.data.tiff import size_of

        return size_of(opened)  # type: ignore[arg-type]  # its format was checked
    height, width = opened.height, opened.width
    seen = opened.format in ("JPEG", "MPO") or (
        opened.format == "PNG" and opened.fp is not None and png_may_be_turned(opened.fp)
    )
    return (width, height) if seen and _orientation(opened) in range(5, 9) else (height, width)


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Map in threads, a block at a time, so that Ctrl-C has little to wait for and half a million files no queue."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(work, items[start : start + _BLOCK])


def absolute(paths: Sequence[str]) -> list[str]:
    """Give paths that mean the same file after the current folder has changed."""
    return [path if os.path.isabs(path) else os.path.abspath(path) for path in paths]


class FileSource:
    """Image files, decoded in threads each time they are read; ``HeldSource`` keeps what was decoded.

    Args:
        paths: One file an image.
        size: Height and width that every image is given.
        reading: How they are read.
        numbers: Which image of each file; None takes the first.
    """

    def __init__(
        self,
        paths: Sequence[str],
        size: tuple[int, int],
        *,
        reading: Reading = AS_THEY_ARE,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.paths = absolute(paths)
        self.shape = (int(size[0]), int(size[1]), 3)
        self.reading = reading
        self.numbers = None if numbers is None else list(numbers)

    @property
    def fit(self) -> str:
        """How images of another size are brought to this one."""
        return self.reading.fit

    def __len__(self) -> int:
        return len(self.paths)

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> FileSource:
        """Give the same files, decoded to another size, in the same way unless ``fit`` names another."""
        reading = self.reading if fit is None else replace(self.reading, fit=fit)
        return FileSource(self.paths, size, reading=reading, numbers=self.numbers)

    def taken(self, rows: Rows) -> FileSource:
        """Give some of the files."""
        numbers = None if self.numbers is None else [self.numbers[row] for row in rows]
        return FileSource([self.paths[row] for row in rows], self.shape[:2], reading=self.reading, numbers=numbers)

    @property
    def has_files(self) -> bool:
        """Whether each image is a file of its own, which a table can name: not if it is a page of one."""
        return self.numbers is None or len(set(self.paths)) == len(self.paths)

    def places(self, rows: Rows) -> list[FilePlace]:
        """Give the file of each image."""
        from cellclf.data.image_set import FilePlace

        return [FilePlace(self.paths[row]) for row in rows]

    def read(self, rows: Rows) -> Images:
        """Decode the images at these places: (n, H, W, 3) uint8.

        Raises:
            DataError: A file that was readable when the set was loaded, and no longer is.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        with quiet:
            few = len(rows) < 8
            decoded = map(self._one, rows) if few else _in_threads(self._one, rows)  # type: ignore[arg-type]  # an array is a sequence enough
            for place, image in enumerate(decoded):
                images[place] = image
        return images

    def _one(self, row: int) -> Images:
        path = self.paths[row]
        try:
            number = 0 if self.numbers is None else self.numbers[row]
            return _decoded(path, self.shape[:2], self.reading, number)[0]
        except Unreadable as problem:
            raise DataError(
                f"{path}: {problem}; load the set again, so that such files are listed and skipped"
            ) from None
