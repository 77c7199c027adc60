"""Opening image files: by one of four decoders, without their warnings; of what is refused, what it is."""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cellclf.data.pixels import Raw, Unreadable

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp"})
OTHER_FORMATS = {
    ".gif": "a GIF image",
    ".webp": "a WebP image",
    ".heic": "a HEIC image",
    ".heif": "a HEIF image",
    ".avif": "an AVIF image",
    ".jp2": "a JPEG 2000 image",
    ".j2k": "a JPEG 2000 image",
    ".jxl": "a JPEG XL image",
    ".jxr": "a JPEG XR image",
    ".dcm": "a DICOM file",
    ".psd": "a Photoshop file",
    ".ppm": "a PPM image",
    ".pgm": "a PGM image",
    ".svs": "a slide of Aperio",
    ".ndpi": "a slide of Hamamatsu",
    ".mrxs": "a slide of 3DHISTECH",
    ".scn": "a slide of Leica",
    ".vsi": "a slide of Olympus",
    ".oir": "a file of Olympus",
    ".czi": "a file of Zeiss",
    ".zvi": "a file of Zeiss",
    ".lsm": "a file of Zeiss",
    ".lif": "a file of Leica",
    ".nd2": "a file of Nikon",
    ".stk": "a file of MetaMorph",
    ".ims": "a file of Imaris",
    ".dng": "a raw image of a camera",
    ".nef": "a raw image of a camera",
    ".cr2": "a raw image of a camera",
    ".arw": "a raw image of a camera",
}
"""Images that are not read, by suffix."""

MOST_PIXELS = 50_000_000
"""A crop of a cell has some thousands of pixels; a file that declares more than this is not decoded."""

_EXPECTED = "not a jpg, png, tif or bmp image"
_SIGNATURES = (
    (rb"GIF8", "a GIF image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"....ftyp(heic|heix|hevc|mif1|msf1)", "a HEIC image"),
    (rb"....ftypavi[fs]", "an AVIF image"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
    (rb"II\xbc", "a JPEG XR image"),
    (rb"P[1-6]\s", "a PNM image"),
    (rb"8BPS", "a Photoshop file"),
    (rb"%PDF", "a PDF document"),
    (rb"%!PS", "a PostScript document"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb"\x93NUMPY", "a numpy array"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"\xd0\xcf\x11\xe0", "an OLE file, as of Zeiss or Office"),
    (rb"\0\0\x01\0", "an icon"),
    (rb".{128}DICM", "a DICOM file"),
    (rb"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
    (rb"\s*(<!DOCTYPE html|<html)", "an HTML page, as of a failed download"),
    (rb"\s*(<\?xml|<svg)", "an XML or SVG file"),
)
_JPEG_KINDS = {0xC3: "lossless", 0xC9: "arithmetically coded", 0xCA: "arithmetically coded", 0xF7: "JPEG-LS"}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_KEPT_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"sBIT")
_DEEP = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}


def open_image(path: str | Path | BinaryIO) -> ImageFile:
    """Read a header by one of four decoders: the many others of Pillow only widen what a damaged file can reach.

    Args:
        path: The file, or its bytes.

    Raises:
        Unreadable: A device, or too many pixels.
        Exception: Whatever Pillow raises for what it cannot read; see ``why``.
    """
    if isinstance(path, str | Path):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Unreadable("a pipe or a device, which may never end")
    opened: ImageFile = _pillow().open(path, formats=("JPEG", "PNG", "TIFF", "BMP"))
    try:
        check_pixels(*opened.size)
    except Unreadable:
        opened.close()
        raise
    return opened


@functools.cache
def _pillow() -> Any:
    """Give ``PIL.Image`` with its four decoders registered; once, for the many small files."""
    from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401

    return Image


def check_pixels(width: int, height: int) -> None:
    """Check that an image is not too large.

    Raises:
        Unreadable: More than ``MOST_PIXELS``.
    """
    if width * height > MOST_PIXELS:
        raise Unreadable(f"{width}x{height} pixels are too many for an image of a cell")


def is_tiff(path: str | Path) -> bool:
    """Tell whether a file begins as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _TIFF


def begins_as_image(path: str | Path) -> bool:
    """Tell whether a file begins as a JPEG, a PNG, a TIFF or a BMP does; one that cannot be opened does not."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(8).startswith((b"\xff\xd8\xff", _PNG, b"BM", *_TIFF))
    except OSError:
        return False


def why(error: Exception, path: str | Path) -> Unreadable:
    """Say why a file is not read: what it is, if that is known; damaged only if nothing else can be the reason."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Unreadable):
        return error
    if isinstance(error, UnidentifiedImageError):
        return Unreadable(_kind_of(path))
    if isinstance(error, FileNotFoundError):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
            return Unreadable("no such file: an address, and nothing is fetched")
        if os.sep == "/" and "\\" in str(path):
            return Unreadable("no such file: a backslash separates folders on Windows only")
        return Unreadable("no such file")
    if isinstance(error, Image.DecompressionBombError):
        return Unreadable("declares far too many pixels for an image of a cell")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Unreadable(f"cannot be decoded: {getattr(error, 'strerror', None) or text}")


def known_kind(head: bytes) -> str | None:
    """Say what a file is by how it begins, None if that is not known.

    Examples:
        >>> known_kind(b"GIF89a"), known_kind(b"?")
        ('a GIF image', None)
    """
    found = (what for pattern, what in _SIGNATURES if re.match(pattern, head, re.DOTALL | re.IGNORECASE))
    return next(found, None) if head else "an empty file"


def _kind_of(path: str | Path) -> str:
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if not head:
        return f"{_EXPECTED} but an empty file"
    if what := known_kind(head):
        return f"{what}, {_EXPECTED}"
    if head.startswith(b"\xff\xd8"):
        return _kind_of_jpeg(head)
    for start, name in ((_PNG, "PNG"), (b"BM", "BMP"), *((start, "TIFF") for start in _TIFF)):
        if head.startswith(start):
            return f"a {name} of a kind that is not read, or damaged in its header"
    return f"{_EXPECTED}, or damaged in its first bytes"


def _kind_of_jpeg(head: bytes) -> str:
    frame = _jpeg_frame(head)
    if frame is None:
        return "a JPEG that is damaged in its header"
    marker, depth = frame
    kinds = [kind for kind in (_JPEG_KINDS.get(marker), f"{depth}-bit" if depth != 8 else None) if kind]
    return f"a JPEG of a kind that is not read ({', '.join(kinds) or 'an odd frame'}): save it as 8-bit JPEG or as PNG"


def _jpeg_frame(head: bytes) -> tuple[int, int] | None:
    """Give the kind of frame of a JPEG and its bits, or None if there is none."""
    place = 2
    while place + 5 <= len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker, head[place + 4]
        place += 2 + length if marker != 0xFF else 1
    return None


def has_long_text(error: Exception) -> bool:
    """Tell whether Pillow refused a PNG for texts or a colour profile alone, which its pixels do not need."""
    return (
        isinstance(error, ValueError)
        and re.search("max_text|decompressed data too large", str(error), re.IGNORECASE) is not None
    )


def without_text(path: str | Path) -> BinaryIO:
    """Give the bytes of a PNG without its texts and its colour profile."""
    data = Path(path).read_bytes()
    kept = [data[start:end] for kind, start, end in _chunks(data) if kind in _KEPT_CHUNKS]
    return io.BytesIO(_PNG + b"".join(kept))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give kind, start and end of each chunk of a PNG."""
    start = len(_PNG)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + 12 + length
        start += 12 + length


def png_may_be_turned(file: IO[bytes]) -> bool:
    """Tell whether a PNG has metadata that may hold a rotation; finding out costs reading all of it."""
    place = file.tell()
    try:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return True
            if kind in (b"iTXt", b"zTXt", b"tEXt"):
                name = file.read(min(length, 80)).partition(b"\0")[0]
                if name in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
                    return True
                file.seek(-min(length, 80), os.SEEK_CUR)
            file.seek(length + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(place)


def deep_png(opened: ImageFile, again: ImageFile) -> Raw | None:
    """Read a 16-bit PNG whole; None if it is none.

    Of colours, Pillow keeps the high byte of each value. So the file is decoded twice, the second time with the
    unpacker for the other byte order, which keeps the low byte.

    Args:
        opened: The file.
        again: The file, opened once more.
    """
    if not opened.tile:
        return None
    kind, box, offset, args = opened.tile[0]
    rawmode = str(args[0] if isinstance(args, tuple) else args)
    model = 2
    values: NDArray[Any]
    if rawmode == "I;16B":
        values, model = np.asarray(opened).astype(np.uint16)[..., None], 1
    elif rawmode == "LA;16B":  # as large as 8-bit RGBA, and filtered like it
        opened.tile = [(kind, box, offset, "RGBA")]  # type: ignore[list-item]  # older Pillow has plain tuples
        found = np.asarray(opened).astype(np.uint16)
        values, model = found[..., 0::2] << 8 | found[..., 1::2], 1
    elif rawmode in _DEEP:
        again.tile = [(kind, box, offset, _DEEP[rawmode])]  # type: ignore[list-item]  # as above
        values = np.asarray(opened).astype(np.uint16)
        values = values << 8 | np.asarray(again)
    else:
        return None
    colours, key = 2 * model - 1, opened.info.get("transparency")
    if isinstance(key, int | tuple):  # one colour that is transparent
        shown = (values[..., :colours] != np.asarray(key)).any(-1, keepdims=True)
        values = np.concatenate([values[..., :colours], shown * np.uint16(65535)], axis=2)
    extra = (2,) if values.shape[2] > colours else ()
    return Raw(values, model=model, depth=16, extra=extra)


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


quiet = _Quiet()
