"""Picture files: what is one, how it becomes 8-bit RGB, and a source that decodes them only when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellclf.data.image_set import Images, Rows
from cellclf.errors import DataError
from cellclf.progress import track

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
MOST_PIXELS = 50_000_000
"""A crop of a cell has some thousands of pixels; a file that claims more than this is not decoded."""


class Unreadable(Exception):
    """A file that cannot become a picture; the text says why."""


@dataclass(frozen=True)
class Scan:
    """What one file was found to be: size before any resizing, a conversion, or why it cannot be read."""

    size: tuple[int, int] | None = None
    note: str = ""
    problem: str = ""


def decode(path: Path, size: tuple[int, int] | None = None) -> tuple[Images, tuple[int, int], str]:
    """Read one file as 8-bit RGB.

    Grey is repeated over the channels, transparency is laid on white, 16 bits are divided by 257 (so that the
    full range stays the full range), a camera's rotation tag is obeyed, and of several frames the first is taken.

    Args:
        path: jpg, png, tif or bmp.
        size: Height and width to resize to (Lanczos); None keeps the file's own.

    Returns:
        (H, W, 3) uint8, the original height and width, and what was converted ("" for nothing).

    Raises:
        Unreadable: No picture, truncated, too large, or pixels that have no 0-255 meaning.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS:
                raise Unreadable(f"{width}x{height} pixels are too many for a picture of a cell")
            frames = getattr(opened, "n_frames", 1)
            opened.load()
            upright = ImageOps.exif_transpose(opened) if opened.getexif().get(0x0112, 1) != 1 else opened
            picture, note = _to_rgb(upright)
    except UnidentifiedImageError:
        raise Unreadable("not a picture, or damaged in its first bytes") from None
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreadable(f"cannot be decoded: {text}") from None
    if frames > 1:
        note = f"first of several frames{', ' + note if note else ''}"
    original = (picture.height, picture.width)
    if size is not None and original != tuple(size):
        picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(picture), original, note


def _to_rgb(picture: Image) -> tuple[Image, str]:
    from PIL import Image

    if picture.mode == "RGB":
        return picture, ""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB"), "transparency laid on white"
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable(f"whole-number pixels within {values.min()}-{values.max()}, wanted 0-65535")
        grey = Image.fromarray(np.round(values / 257).astype(np.uint8))
        return grey.convert("RGB"), "16-bit grey scaled to 8 bits"
    if picture.mode == "F":
        raise Unreadable("floating-point pixels have no 0-255 meaning: convert the file first")
    return picture.convert("RGB"), "grey repeated over the channels" if picture.mode in (
        "L",
        "1",
    ) else "palette or other colours"


def scan(paths: Sequence[Path], *, verify: bool = True, show: bool | None = None) -> list[Scan]:
    """Look at files in threads: size, conversions, problems.

    Args:
        paths: The files.
        verify: True decodes each file once, so that truncated ones are found now; False reads only the headers.
        show: True draws a progress bar, None only on a terminal.
    """
    look = _look_whole if verify else _look_header
    with ThreadPoolExecutor(_threads()) as pool:
        return list(track(pool.map(look, paths), total=len(paths), label="reading pictures", unit="file", show=show))


def _look_whole(path: Path) -> Scan:
    try:
        _, size, note = decode(path)
    except Unreadable as problem:
        return Scan(problem=str(problem))
    return Scan(size, note)


def _look_header(path: Path) -> Scan:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return Scan((opened.height, opened.width))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Scan(problem=f"cannot be opened: {type(error).__name__}")


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


class FileSource:
    """Pictures in files, decoded in threads each time they are read.

    Args:
        paths: One file a picture.
        size: Height and width that every picture is given.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths = list(paths)
        self.shape = (size[0], size[1], 3)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Rows) -> Images:
        """Decode the pictures at these places: (n, H, W, 3) uint8.

        Raises:
            DataError: A file that was readable when the set was loaded, and is no more.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        if len(rows) < 8:
            pictures: Iterator[Images] = map(self._one, rows)
            for place, picture in enumerate(pictures):
                images[place] = picture
            return images
        with ThreadPoolExecutor(_threads()) as pool:
            for place, picture in enumerate(pool.map(self._one, rows)):
                images[place] = picture
        return images

    def _one(self, row: int) -> Images:
        path = self.paths[row]
        try:
            return decode(path, self.shape[:2])[0]
        except Unreadable as problem:
            raise DataError(
                f"{path}: {problem}; load the set again, so that such files are listed and left out"
            ) from None
