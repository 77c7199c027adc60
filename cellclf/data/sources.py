"""Where the pixels of a set come from: arrays as they are, or arrays that are converted as they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellclf.data.fit import fitted
from cellclf.data.transparency import is_invisible, over_white
from cellclf.errors import DataError

Images: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = NDArray[np.int64]

_EXPECTED = "expected uint8 with values 0-255"


class ImageSource(Protocol):
    """A source of images that are made only when they are read."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def read(self, rows: Rows) -> Images:
        """Make the images at these places: (n, H, W, 3) uint8."""
        ...


class _FirstFullRead:
    """Has the checksum of a mapped array verified once as many images were read as it has.

    Opening a file of gigabytes shall not read it; what reads all of it reads it twice, the second time from the
    system's cache.

    Args:
        images: One that has a method ``verify`` is verified.
    """

    def __init__(self, images: Any) -> None:
        self._verify: Callable[[], None] | None = getattr(images, "verify", None)
        self._left = len(images)
        self._lock = threading.Lock()

    def count(self, number: int) -> None:
        """Count images that are read; raises DataError if the file is damaged."""
        if self._verify is None:
            return
        with self._lock:
            self._left -= number
            if self._left <= 0 and self._verify is not None:
                self._verify()
                self._verify = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ((),)  # a pickle holds the pixels


class ArraySource:
    """Images that are in memory or memory-mapped; reading consecutive rows copies nothing.

    Args:
        images: (N, H, W, 3) uint8.
    """

    def __init__(self, images: Images) -> None:
        self._check = _FirstFullRead(images)
        self.images = np.asarray(images).view()
        self.images.flags.writeable = False
        height, width, _ = images.shape[1:]
        self.shape = (int(height), int(width), 3)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows) -> Images:
        """Take the images at these places: a read-only view if they are consecutive, else a copy."""
        self._check.count(len(rows))
        return taken(self.images, rows)

    def trimmed(self, rows: Rows) -> ArraySource:
        """Give some of the images, without holding the others."""
        return ArraySource(self.read(rows))


class ConvertedSource:
    """Grey, transparent or 16-bit images in an array, made 8-bit RGB as they are read.

    Args:
        images: (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4), uint8 or uint16.
        bits: How many bits of 16 are used.
    """

    def __init__(self, images: NDArray[Any], bits: int = 16) -> None:
        self._check = _FirstFullRead(images)
        self.images = np.asarray(images)
        self.bits = bits
        self.shape = (int(images.shape[1]), int(images.shape[2]), 3)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows) -> Images:
        """Convert the images at these places."""
        self._check.count(len(rows))
        pixels = taken(self.images, rows)
        if pixels.dtype == np.uint16:
            pixels = to_8_bits(pixels, self.bits)
        if pixels.ndim == 3 or pixels.shape[3] == 1:
            return np.repeat(pixels.reshape(len(pixels), *self.shape[:2], 1), 3, axis=3)
        if pixels.shape[3] == 4:
            colour, alpha = pixels[..., :3], pixels[..., 3:]
            blended = over_white(colour, alpha)
            for place in np.flatnonzero(~alpha.any(axis=(1, 2, 3))):
                if is_invisible(colour[place], alpha[place]):
                    blended[place] = colour[place]
            return blended
        return pixels


class ResizedSource:
    """Images of another source, resized as they are read (Lanczos, as files are).

    Args:
        source: Gives the images.
        size: Height and width in pixels.
        fit: How, see ``cellclf.data.fit.fitted``.
    """

    def __init__(self, source: ImageSource, size: tuple[int, int], fit: str = "stretch") -> None:
        self.source = source
        self.fit = fit
        self.shape = (int(size[0]), int(size[1]), 3)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: Rows) -> Images:
        """Read and resize the images at these places."""
        from PIL import Image

        images = np.empty((len(rows), *self.shape), np.uint8)
        for place, image in enumerate(self.source.read(rows)):
            images[place] = np.asarray(fitted(Image.fromarray(image), self.shape[:2], self.fit))
        return images


def to_8_bits(values: NDArray[Any], bits: int = 16) -> Images:
    """Scale 0-65535 to 0-255, rounded, so that the full range stays the full range.

    Args:
        values: Whole numbers from 0 to 2 ** bits - 1.
        bits: How many bits of each number are used, 1 to 16.

    Examples:
        >>> to_8_bits(np.array([0, 128, 129, 65535]))
        array([  0,   0,   1, 255], dtype=uint8)
        >>> to_8_bits(np.array([0, 4095]), 12)
        array([  0, 255], dtype=uint8)
    """
    full = (1 << bits) - 1
    return ((510 * values.astype(np.uint32) + full) // (2 * full)).astype(np.uint8)


def dark_note(brightest: int) -> str:
    """Give what to add to a 16-bit notice when only the lowest of the 16 bits are used, as by cameras of 8 to 14 bits.

    Args:
        brightest: The highest value.

    Examples:
        >>> dark_note(60_000)
        ''
        >>> dark_note(4_000)
        ', nearly black: no value reaches 4096, so pass bits=12 for a camera of 12 bits'
    """
    bits = next((bits for bits in (8, 10, 12, 14) if brightest < 1 << bits), 16)
    look = "nearly black" if bits <= 12 else "dark"
    return f", {look}: no value reaches {1 << bits}, so pass bits={bits} for a camera of {bits} bits" * (bits < 16)


def as_source(images: object, bits: int | None = None) -> tuple[ImageSource, list[str]]:
    """Take an array of images as it is, or convert it if the conversion loses nothing visible.

    Args:
        images: Any array; see ``ConvertedSource`` for what is converted.
        bits: How many bits of a 16-bit array are used; None takes all 16.

    Returns:
        The source, and what is converted, in words.

    Raises:
        DataError: Floats, wide or negative numbers, another shape; the message says how to convert.
    """
    if isinstance(images, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(images).sum())):
        raise DataError(f"{hidden:,} pixels are masked; expected values for all: pass images.filled(255), say")
    array = _as_array(images)
    grey = array.ndim == 3 and array.shape[2] not in (3, 4)  # a single RGB image is not a stack of grey ones
    layered = array.ndim == 4 and array.shape[3] in (1, 4)
    deep = array.dtype == np.uint16 and (grey or layered or (array.ndim == 4 and array.shape[3] == 3))
    if not (deep or (array.dtype == np.uint8 and (grey or layered))):
        return ArraySource(check_images(array)), []
    _refuse_empty(array)
    notices = []
    if deep:
        notices.append(_deep_note(int(array.max(initial=0)), bits))
    if grey or array.shape[3] == 1:
        notices.append("grey was repeated over the three channels")
    elif layered:
        notices.append("transparency was blended with white")
    return ConvertedSource(array, bits or 16), notices


def _deep_note(brightest: int, bits: int | None) -> str:
    if bits is None or bits == 16:
        return f"16-bit pixels were divided by 257{dark_note(brightest)}"
    if brightest >= 1 << bits:
        raise DataError(
            f"images are uint16 up to {brightest}, more than bits={bits} can hold; expected bits=16, or none"
        )
    return f"16-bit pixels were read as {bits} bits"


def refuse_unit_range(images: NDArray[Any]) -> None:
    """Refuse float images within 0-1, which every step here would take for black ones.

    Args:
        images: Of any type and shape.

    Raises:
        DataError: Floats, at least one of them not 0, and none above 1.
    """
    if images.dtype.kind == "f" and images.size and 0 < float(images.max()) <= 1 and images.min() >= 0:
        raise DataError(f"images are {images.dtype} within 0-{images.max():g}; expected 0-255: multiply by 255 first")


def check_images(images: object) -> Images:
    """Return the array if it holds (N, H, W, 3) images of 0-255 uint8.

    Raises:
        DataError: Another shape, another type, floats in 0-1, or NaN; the message says how to convert.

    Examples:
        >>> check_images(np.zeros((1, 8, 8, 3), np.uint8)).shape
        (1, 8, 8, 3)
        >>> check_images(np.zeros((1, 8, 8, 3), np.float32) + 0.5)
        Traceback (most recent call last):
            ...
        cellclf.errors.DataError: images are float32 within 0.5-0.5; expected uint8 with values 0-255: \
multiply by 255 and pass (images * 255).round().astype("uint8")
    """
    array = _shaped(images)
    if array.dtype != np.uint8:
        raise DataError(_wrong_type(array))
    return array


def check_pixels(images: object) -> NDArray[Any]:
    """Return the array if it holds (N, H, W, 3) images of uint8 or of finite float32, 0-255.

    Raises:
        DataError: Another shape, another type, floats in 0-1, or NaN; the message says how to convert.
    """
    array = _shaped(images)
    if array.dtype not in (np.uint8, np.float32):
        raise DataError(_wrong_type(array))
    if array.dtype == np.float32:
        refuse_unit_range(array)
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise DataError(_wrong_type(array))
    return array


def _shaped(images: object) -> NDArray[Any]:
    array = _as_array(images)
    if array.dtype == object:
        raise DataError(
            f"images are Python objects (arrays of different sizes?); {_EXPECTED} in one array: load them as files"
        )
    if array.ndim != 4 or array.shape[3] != 3:
        raise DataError(f"images have shape {array.shape}; expected (N, height, width, 3){_shape_fix(array.shape)}")
    _refuse_empty(array)
    return array


def _as_array(images: object) -> NDArray[Any]:
    if isinstance(images, np.ndarray):
        return images
    try:
        return np.asarray(images)
    except (ValueError, TypeError) as error:
        raise DataError(f"images are not an array ({error}); {_EXPECTED} in one array (N, height, width, 3)") from None


def _refuse_empty(array: NDArray[Any]) -> None:
    if len(array) and not array.size:
        raise DataError(f"images have shape {array.shape}, so they hold no pixels; expected (N, height, width, 3)")


def _shape_fix(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] in (3, 4):
        return ": for a single image, pass images[None]"
    if len(shape) == 3:
        return ": pass images[..., None].repeat(3, -1)"
    if len(shape) == 4 and shape[3] == 1:
        return ": pass images.repeat(3, axis=-1)"
    if len(shape) == 4 and shape[3] == 4:
        return ": drop the alpha channel with images[..., :3]"
    if len(shape) == 4 and shape[1] == 3:
        return ": pass images.transpose(0, 2, 3, 1)"
    return ""


def _wrong_type(array: NDArray[Any]) -> str:
    if not array.size or array.dtype.kind not in "fiub":
        return f"images have dtype {array.dtype}; {_EXPECTED}: convert them first"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum())
        return f"{count} of {len(array)} images hold NaN or infinity; {_EXPECTED}: repair or remove these"
    low, high = float(array.min()), float(array.max())
    found = f"images are {array.dtype} within {low:g}-{high:g}"
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return f'{found}; {_EXPECTED}: multiply by 255 and pass (images * 255).round().astype("uint8")'
    if array.dtype.kind == "b":
        return f'{found}; {_EXPECTED}: pass images.astype("uint8") * 255'
    if low >= 0 and high <= 255:
        return f'{found}; {_EXPECTED}: pass images.round().astype("uint8")'
    if array.dtype == np.uint16:
        return f'{found}; {_EXPECTED}: scale 16-bit images with (images / 257).round().astype("uint8")'
    return f"{found}; {_EXPECTED}: rescale them first"


def taken(images: NDArray[Any], rows: Rows) -> NDArray[Any]:
    """Take some images of an array: a view if they are consecutive, else a copy."""
    first, count = int(rows[0]) if len(rows) else 0, len(rows)
    if count and int(rows[-1]) - first == count - 1 and np.array_equal(rows, np.arange(first, first + count)):
        return images[first : first + count]
    return images[rows]
