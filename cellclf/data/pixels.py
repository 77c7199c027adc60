"""From the values of a file to 8-bit RGB: depth, polarity, alpha, colour model; what has no meaning is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.sources import Images, to_8_bits
from cellclf.data.transparency import IGNORED_ALPHA, is_invisible, over_white


class Unreadable(Exception):
    """A file that cannot become an image; the text says why."""


MODELS = {
    0: "WhiteIsZero",
    1: "BlackIsZero",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "raw Bayer mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
    51177: "depth map",
}
"""Names of the colour models of a TIFF (its tag PhotometricInterpretation)."""


@dataclass(frozen=True)
class Raw:
    """Pixels as a file holds them.

    Args:
        values: (H, W) or (H, W, C) numbers of any type.
        model: The colour model, a key of ``MODELS``.
        depth: How many bits each number was declared to have.
        extra: What the channels behind the colours are: 0 unknown, 1 premultiplied alpha, 2 alpha.
        palette: (3, n) 16-bit colours of a palette.
    """

    values: NDArray[Any]
    model: int
    depth: int
    extra: tuple[int, ...] = ()
    palette: NDArray[np.uint16] | None = field(default=None, repr=False)


def to_rgb(raw: Raw, bits: int | None = None) -> tuple[Images, str, int | None]:
    """Convert to 8-bit RGB.

    Args:
        raw: The pixels.
        bits: How many bits of a depth of more than 8 are used; None takes all.

    Returns:
        (H, W, 3) uint8; what was converted ("" for nothing); the highest value if 16 bits were divided by 257.

    Raises:
        Unreadable: Values without a 0-255 meaning, or colours that are not known.

    Examples:
        >>> deep = np.full((1, 1), 65535, np.uint16)
        >>> to_rgb(Raw(deep, model=0, depth=16))[0].tolist()
        [[[0, 0, 0]]]
    """
    values = raw.values if raw.values.ndim == 3 else raw.values[..., None]
    colours = {2: 3, 5: 4, 6: 3}.get(raw.model, 1)
    if raw.model not in (0, 1, 2, 3, 5, 6):
        raise Unreadable(
            f"{MODELS.get(raw.model, f'colour model {raw.model}')} colours, which are not read: save as RGB"
        )
    if raw.model == 1 and values.shape[2] == 3 and not any(raw.extra):
        colours = 3  # three channels that were declared as grey are a red, a green and a blue one
    if values.shape[2] < colours:
        raise Unreadable(f"{values.shape[2]} channels for {MODELS[raw.model]}, which has {colours}")
    peak = None
    if raw.model == 3:
        colour, note = _of_palette(values[..., 0], raw.palette), "palette colours converted to RGB"
    else:
        colour, note, peak = _shallow(values[..., :colours], raw, "grey" if colours == 1 else "colours", bits)
    notes = [note]
    if raw.model == 0:
        notes.append("white is zero: inverted")
    if raw.model in (5, 6):
        colour = _converted(colour, MODELS[raw.model])
        notes.append(f"{MODELS[raw.model]} colours converted to RGB")
    if raw.depth <= 8 and colours == 1 and raw.model != 3:
        notes.append("grey repeated over the channels")
    extra = raw.extra[: values.shape[2] - colours]
    kinds = [k for k, kind in enumerate(extra) if kind in (1, 2)]
    if kinds:
        alpha = _alpha(values[..., colours + kinds[0]], raw.depth, bits)[..., None]
        if is_invisible(colour, alpha):
            notes.append(IGNORED_ALPHA)
        else:
            colour = over_white(colour, alpha, premultiplied=extra[kinds[0]] == 1)
            notes.append("transparency blended with white")
    unused = values.shape[2] - colours - bool(kinds)
    if unused:
        notes.append(f"{unused} further channel{'s' * (unused > 1)} of unknown meaning left out")
    rgb = np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour
    return np.ascontiguousarray(rgb), "; ".join(note for note in notes if note), peak


def _shallow(values: NDArray[Any], raw: Raw, what: str, bits: int | None) -> tuple[Images, str, int | None]:
    """Bring colours to 8 bits; say how, and what their highest value was."""
    low, high = check_whole(values)
    used = _used_bits(raw.depth, bits)
    if high >= 1 << used:
        if bits is not None and raw.depth > 8:
            raise Unreadable(f"{raw.depth}-bit values up to {high}, more than bits={bits} can hold")
        raise Unreadable(f"whole-number pixels within {low}-{high}, expected 0-{(1 << used) - 1}")
    shallow = _scaled(values, raw.depth, bits)
    if raw.model == 0:
        shallow = 255 - shallow
    if raw.depth <= 8:
        return shallow, "", None
    if bits is not None and used != 16:
        return shallow, f"{raw.depth}-bit {what} read as {used} bits", None
    if used < 16:
        return shallow, f"{raw.depth}-bit {what} scaled to 8 bits", None
    return shallow, f"16-bit {what} divided by 257", high


def _used_bits(depth: int, bits: int | None) -> int:
    if depth <= 8:
        return depth
    return min(depth, 16) if bits is None else bits


def _scaled(values: NDArray[Any], depth: int, bits: int | None) -> Images:
    if depth == 8:
        return values.astype(np.uint8, copy=False)
    return to_8_bits(values, _used_bits(depth, bits))


def _alpha(values: NDArray[Any], depth: int, bits: int | None) -> Images:
    """Scale an alpha channel, which has the full range of the file even where the colours use 12 of 16 bits."""
    full = int(values.max()) >= 1 << _used_bits(depth, bits)
    return _scaled(values, depth, None if full else bits)


def check_whole(values: NDArray[Any]) -> tuple[int, int]:
    """Give the lowest and the highest of some pixels.

    Raises:
        Unreadable: Not whole numbers from 0 up.
    """
    kind, size = values.dtype.kind, 8 * values.dtype.itemsize
    if kind not in "uib":
        raise Unreadable(f"{size}-bit floating-point pixels have no 0-255 meaning: convert the file first")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Unreadable(f"{size}-bit whole-number pixels within {low}-{high}, expected 0-65535")
    return low, high


def _of_palette(index: NDArray[Any], palette: NDArray[np.uint16] | None) -> Images:
    if palette is None or int(index.max()) >= palette.shape[1]:
        raise Unreadable("palette colours without their palette")
    # some programs write 0-255 where the format has 0-65535
    shallow = to_8_bits(palette) if int(palette.max()) > 255 else palette.astype(np.uint8)
    return np.ascontiguousarray(shallow.T[index])


def _converted(colour: Images, mode: str) -> Images:
    from PIL import Image

    height, width, count = colour.shape
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(colour).tobytes())
    assert count == len(image.getbands())
    return np.asarray(image.convert("RGB"))
