"""TIFF files of which Pillow knows too little: deep pixels, planes, odd colour models, channels or cells as pages."""

from __future__ import annotations

import importlib.util
import io
import logging
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cellclf.data.pixels import MODELS, Raw, Unreadable

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile
    from tifffile import TiffFile, TiffFrame, TiffPage

PAGES = ("auto", "first", "channels", "cells")
_MOST_PAGES = 100_000
_LEAST_SIDE, _MOST_CHANNELS = 8, 4
_REDUCED_OR_MASK = 1 | 4
_TELLS_OF_PAGES = re.compile(r'ImageJ=|"shape":|<OME\b|</OME>')
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _MODEL, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_ORIENTATION, _COLORMAP, _SAMPLE_FORMAT, _METAMORPH, _PROFILE = 274, 320, 339, 33629, 34675
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its remarks on odd tags reach stderr


@dataclass(frozen=True)
class Layout:
    """How the pages of a file make up images.

    Args:
        groups: For each image its pages: one, or one for each channel.
        note: What was joined or left out ("" for nothing).
    """

    groups: list[tuple[int, ...]]
    note: str = ""


def is_plain(opened: TiffImageFile) -> bool:
    """Tell whether Pillow reads all of a file: one page, at most 8 bits, a colour model that it knows."""
    tags = opened.tag_v2
    if getattr(opened, "n_frames", 1) > 1 or _METAMORPH in tags:
        return False
    if _TELLS_OF_PAGES.search(str(tags.get(_DESCRIPTION, ""))):
        return False
    if max(tags.get(_BITS, (1,))) > 8 or set(tags.get(_SAMPLE_FORMAT, (1,))) - {1}:
        return False
    model = tags.get(_MODEL)
    if model == 3:
        return bool(max(tags.get(_COLORMAP, (0,))) > 255)
    if model == 6:
        return bool(tags.get(_COMPRESSION, 1) != 1)  # libtiff knows subsampled colours, Pillow's own decoder does not
    return model in (0, 1, 2, 5)


def size_of(opened: TiffImageFile) -> tuple[int, int]:
    """Give height and width of the upright image of a file whose header Pillow has read."""
    tags = opened.tag_v2
    height, width = int(tags[_LENGTH]), int(tags[_WIDTH])
    return (width, height) if tags.get(_ORIENTATION, 1) in range(5, 9) else (height, width)


class Tiff:
    """An open TIFF file.

    Args:
        file: Its bytes.
        pages: ``"auto"``, ``"first"``, ``"channels"`` or ``"cells"``, see ``load``.

    Raises:
        Unreadable: Pages that make up no image, as chosen.
    """

    def __init__(self, file: BinaryIO, pages: str = "auto") -> None:
        from tifffile import TiffFile

        self._tif = TiffFile(file)
        every = self._tif.pages
        if len(every) > _MOST_PAGES:
            raise Unreadable(f"{len(every):,} pages are too many")
        first = every[0]
        whole = [page for page in every if not int(_key(page).subfiletype) & _REDUCED_OR_MASK] or [first]
        self._pages: list[TiffPage | TiffFrame] = whole
        self._stack: NDArray[Any] | None = None
        count = len(whole)
        if len(every) == 1 and not self._tif.is_ome:
            count = max(1, math.prod(self._tif.series[0].shape) // max(1, math.prod(_key(first).shape)))
        self._stacked = count > len(whole)
        self.layout = _layout(self._tif, whole, count, pages)

    def __enter__(self) -> Tiff:
        return self

    def __exit__(self, *_: object) -> None:
        self._tif.close()

    def __len__(self) -> int:
        return len(self.layout.groups)

    def size(self, number: int = 0) -> tuple[int, int]:
        """Give height and width of an upright image."""
        page = self._page(self.layout.groups[number][0])
        height, width = int(page.imagelength), int(page.imagewidth)
        return (width, height) if _orientation(page) in range(5, 9) else (height, width)

    def profile(self, number: int = 0) -> object:
        """Give the colour profile of an image of one page, None if there is none."""
        group = self.layout.groups[number]
        tag = self._page(group[0]).tags.get(_PROFILE)
        return None if tag is None or len(group) > 1 else tag.value

    def read(self, number: int = 0) -> Raw:
        """Read the pixels of an image, upright; channels that are pages become its colours.

        Raises:
            Unreadable: A compression or an arrangement that is not read.
        """
        group = self.layout.groups[number]
        page = self._page(group[0])
        values = self._values(group[0])
        model = int(page.photometric)
        if _MODEL not in page.tags and page.compression not in (2, 3, 4):
            model = 2 if values.ndim == 3 and values.shape[2] >= 3 else 1  # as libtiff takes it; the tag is required
        if len(group) > 1:
            planes = [values, *(self._values(place) for place in group[1:])]
            planes += [np.zeros_like(values)] * (3 - len(planes))
            values = np.stack(planes, axis=2)
            if model == 0:
                values = (1 << min(int(page.bitspersample), 16)) - 1 - values
            model = 2
        return Raw(
            values=_upright(values, _orientation(page)),
            model=model,
            depth=int(page.bitspersample),
            extra=tuple(int(kind) for kind in page.extrasamples),
            palette=page.colormap,
        )

    def _page(self, place: int) -> TiffPage:
        return _key(self._pages[0 if self._stacked else place])

    def _values(self, place: int) -> NDArray[Any]:
        """Give (H, W) or (H, W, C) values of a page."""
        page = self._page(place)
        if page.dtype is not None and page.dtype.kind not in "uib":
            raise Unreadable(
                f"{8 * page.dtype.itemsize}-bit floating-point pixels have no 0-255 meaning: convert the file first"
            )
        if self._stacked:
            if self._stack is None:
                self._stack = self._tif.series[0].asarray().reshape(-1, *page.shape)
            values: NDArray[Any] = self._stack[place]
        else:
            values = _decoded(self._pages[place], page)
        if values.ndim == 3 and page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, 2)
        if values.ndim not in (2, 3):
            raise Unreadable(f"pixels in the shape {values.shape}, expected height, width and channels")
        return values


def _key(page: TiffPage | TiffFrame) -> TiffPage:
    """Give the page that holds the tags: of pages that are alike, tifffile reads them once."""
    found = page.keyframe
    assert found is not None
    return found


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return 1 if tag is None else int(tag.value)


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation in range(5, 9):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _layout(tif: TiffFile, pages: list[Any], count: int, choice: str) -> Layout:
    """Decide which pages make up which images."""
    first = _key(pages[0])
    if count == 1:
        declared = math.prod(n for _, n in _ome_axes(tif, first)) if tif.is_ome else 1
        elsewhere = f"one of {declared} planes that its metadata declare, the others are not in this file"
        return Layout([(0,)], elsewhere if declared > 1 else "")
    alike = len(pages) == 1 or all(_key(p).shape == first.shape and _key(p).dtype == first.dtype for p in pages)
    if choice == "first":
        return Layout([(0,)], _left_out(count, alike))
    channels, step, meaning = _declared(tif, count)
    grey = int(first.samplesperpixel) == 1 and int(first.photometric) in (0, 1)
    if channels is None and alike and grey and (choice == "channels" or (choice == "auto" and count == 3)):
        channels, step, meaning = count, 1, "channels"
    if choice == "channels" and (channels is None or not (alike and grey)):
        raise Unreadable(f"{count} pages that are no channels of one image: {_what(count, alike, grey)}")
    if channels is not None and channels > 1 and alike and grey:
        if channels > 3 and choice == "cells":
            return Layout([(k,) for k in range(count)], "pages taken as one image each")
        if channels > 3:
            raise Unreadable(
                f"{channels} channels as pages, an image here has at most 3: pass pages='first' to read the first, "
                "pages='cells' if they are cells, or save those that matter as RGB"
            )
        colours = ("red, green and blue", "red and green")[channels == 2]
        joined = f"{channels} pages joined as {colours}"
        starts = [k for k in range(count) if (k // step) % channels == 0]
        groups = [tuple(start + k * step for k in range(channels)) for start in starts]
        if choice == "cells" or len(groups) == 1:
            return Layout(groups, joined)
        return Layout(groups[:1], f"{joined}, the first of {len(groups)} {meaning}; pages='cells' makes each an image")
    if choice == "cells":
        return Layout([(k,) for k in range(count)], "pages taken as one image each")
    height, width = (int(side) for side in first.shape[:2])
    if alike and grey and count >= _LEAST_SIDE and width <= _MOST_CHANNELS and height >= _LEAST_SIDE:
        raise Unreadable(
            f"{count} pages of {height}x{width} pixels, the rows of one image with colour as last axis, as it seems: "
            "save it with photometric='rgb', or pass pages='first' if they are what they seem"
        )
    return Layout([(0,)], _left_out(count, alike, meaning))


def _left_out(count: int, alike: bool, meaning: str = "pages") -> str:
    if not alike:
        return f"the first of {count} pages of different sizes"
    return f"the first of {count} {meaning}; pages='cells' makes each an image"


def _what(count: int, alike: bool, grey: bool) -> str:
    return "of different sizes" if not alike else "in colour" if not grey else f"declared otherwise, {count} in all"


def _declared(tif: TiffFile, count: int) -> tuple[int | None, int, str]:
    """Give how many channels the metadata declare (None if they do not), how far apart, and what else the pages are."""
    if tif.is_ome:
        axes = _ome_axes(tif, _key(tif.pages[0]))
    else:
        series = tif.series[0]
        axes = [(a, int(n)) for a, n in zip(series.axes, series.shape, strict=True) if a not in "YXS"][::-1]
    names = [axis for axis, n in axes if n > 1]
    if math.prod(n for _, n in axes) != count or not {"C", "Z", "T"}.intersection(names):
        return None, 1, "pages"
    channels = math.prod(n for axis, n in axes if axis == "C")
    step = math.prod(n for _, n in axes[: [axis for axis, _ in axes].index("C")]) if channels > 1 else 1
    return channels, step, "slices" if "Z" in names else "frames" if "T" in names else "pages"


def _ome_axes(tif: TiffFile, first: TiffPage) -> list[tuple[str, int]]:
    """Give the axes over pages of an OME file, the fastest first.

    Not by the series of tifffile, which would open other files that the metadata name.
    """
    text = str(tif.ome_metadata or "").partition("</Pixels>")[0]
    counts = {axis: int(n) for axis, n in re.findall(r'\bSize([CZT])="(\d+)"', text)}
    counts["C"] = max(1, counts.get("C", 1) // int(first.samplesperpixel))
    order = re.search(r'\bDimensionOrder="XY([CZT]{3})"', text)
    return [(axis, counts.get(axis, 1)) for axis in (order[1] if order else "CZT")]


def _decoded(page: TiffPage | TiffFrame, key: TiffPage) -> NDArray[Any]:
    """Give the values of a page as tifffile does; where it lacks a package to unpack them, libtiff or numpy does."""
    packed = int(key.bitspersample) not in (1, 8, 16, 32, 64)
    try:
        if _has_imagecodecs() or (key.compression not in _OF_LIBTIFF and not packed):
            return np.asarray(page.asarray(maxworkers=1))
        if packed:
            return _from_bits(page, key)
        return _from_strips(page, key)
    except (ImportError, NotImplementedError, ValueError) as error:
        if not isinstance(error, ImportError) and not re.search(_LACKING, str(error)):
            raise
        raise Unreadable(_not_read(key)) from None


def _strips(page: TiffPage | TiffFrame) -> Iterator[bytes]:
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        page.parent.filehandle.seek(offset)
        yield page.parent.filehandle.read(length)


def _from_strips(page: TiffPage | TiffFrame, key: TiffPage) -> NDArray[Any]:
    """Let tifffile put strips or tiles together that were unpacked before."""
    assert key.dtype is not None
    values: NDArray[Any] = np.zeros(key.shaped, key.dtype)
    compression, key.compression = int(key.compression), 1
    try:
        for index, data in enumerate(_strips(page)):
            _, _, shape = key.decode(None, index, _fullsize=key.is_tiled)
            data = _unpacked(data, compression, math.prod(shape) * key.dtype.itemsize)
            strip, (s, d, h, w, _), (depth, height, width, _) = key.decode(data, index, _fullsize=key.is_tiled)
            assert strip is not None
            room = values[s, d : d + depth, h : h + height, w : w + width]
            room[:] = strip[: room.shape[0], : room.shape[1], : room.shape[2]]
    finally:
        key.compression = compression
    return values.reshape(key.shape)


def _from_bits(page: TiffPage | TiffFrame, key: TiffPage) -> NDArray[Any]:
    """Give values of 10, 12 or 14 bits that are stored without a gap; each row begins with a byte."""
    bits, (planes, _, height, width, samples) = int(key.bitspersample), key.shaped
    if (
        key.is_tiled
        or key.compression not in (1, *_OF_LIBTIFF)
        or (key.fillorder, key.predictor) != (1, 1)
        or bits > 16
    ):
        raise NotImplementedError("not supported")
    row = -(-width * samples * bits // 8)
    strips = list(_strips(page))
    if key.compression != 1:
        each = min(int(key.rowsperstrip), height)
        left = [min(each, height - start) for start in range(0, height, each)] * planes
        strips = [_unpacked(s, int(key.compression), row * n) for s, n in zip(strips, left, strict=True)]
    rows = np.frombuffer(b"".join(strips), np.uint8)[: planes * height * row].reshape(planes * height, row)
    single = np.unpackbits(rows, axis=1)[:, : width * samples * bits].reshape(-1, bits)
    values: NDArray[Any] = single @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
    return values.reshape(key.shape)


_OF_LIBTIFF = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
_LACKING = r"imagecodecs|not supported|requires|COMPRESSION|^\d*$"
"""What tifffile says of a compression that it cannot unpack; of some only their number."""

_NOT_EVERYWHERE = (34925, 50000)


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _unpacked(data: bytes, compression: int, size: int) -> bytes:
    """Unpack one strip: Pillow's libtiff reads it as a grey image of one row, ``size`` pixels wide."""
    from PIL import Image

    tags = [
        (256, size),
        (257, 1),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 0),
        (277, 1),
        (278, 1),
        (279, len(data)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with Image.open(io.BytesIO(header + data), formats=("TIFF",)) as image:
        try:
            return image.tobytes()
        except OSError:
            if compression in _NOT_EVERYWHERE:
                raise NotImplementedError("not supported by this libtiff") from None
            raise


def _not_read(key: TiffPage) -> str:
    name = getattr(key.compression, "name", key.compression)
    what = f"{int(key.bitspersample)}-bit {MODELS.get(int(key.photometric), key.photometric)}"
    if key.is_subsampled:
        return f"a TIFF of subsampled {what}, compression {name}, which is not read: save it as RGB"
    more = "" if _has_imagecodecs() else "; pip install 'cellclf[tiff]' reads more kinds"
    return f"a TIFF of {what}, compression {name}, which is not read{more}"
