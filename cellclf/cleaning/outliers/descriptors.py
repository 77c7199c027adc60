"""Descriptors: some fifty cheap numbers of an image, with names in plain words.

They distinguish a cell on a smear from a photograph, a page of text, a blank field or another microscope. They are
computed in one pass over the images; nothing is fitted.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.utils.colour import LUMA, RGB_TO_XYZ, WHITE
from cellclf.utils.dct import dct_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 32  # colour and layout are measured on the image averaged down to this side
_BLOCK = 32  # images at a time, so that the working set fits into the cache
_BANDS = (1, 2, 4, 7, 11, 16, 24, 46)  # edges of the DCT bands in half waves across the image

WORDS: dict[str, tuple[str, str]] = {
    "red": ("too little red", "too much red"),
    "green": ("too little green", "too much green"),
    "blue": ("too little blue", "too much blue"),
    "red spread": ("red too even", "red too varied"),
    "green spread": ("green too even", "green too varied"),
    "blue spread": ("blue too even", "blue too varied"),
    "lightness": ("too dark", "too light"),
    "contrast": ("too little contrast", "too much contrast"),
    "dark tones": ("dark parts too dark", "no dark parts"),
    "middle tones": ("middle tones too dark", "middle tones too light"),
    "light tones": ("light parts too dark", "light parts too light"),
    "magenta": ("tint too green", "tint too magenta"),
    "yellow": ("tint too blue", "tint too yellow"),
    "magenta spread": ("green to magenta too even", "green to magenta too varied"),
    "yellow spread": ("blue to yellow too even", "blue to yellow too varied"),
    "greenest part": ("has parts too green", "nothing as green as usual"),
    "most magenta part": ("nothing as magenta as usual", "has parts too magenta"),
    "bluest part": ("has parts too blue", "nothing as blue as usual"),
    "most yellow part": ("nothing as yellow as usual", "has parts too yellow"),
    "saturation": ("colour too pale", "colour too saturated"),
    "saturation spread": ("saturation too even", "saturation too varied"),
    "most saturated part": ("no saturated part", "has parts too saturated"),
    "one hue": ("too many hues", "too few hues"),
    "second colour": ("one colour axis only", "colours off the usual axis"),
    "third colour": ("colours too flat", "colours too mixed"),
    "number of colours": ("too few colours", "too many colours"),
    "black": ("no black pixels", "too many black pixels"),
    "white": ("no white pixels", "too many white pixels"),
    "flat": ("no even areas", "too many even areas"),
    "edges": ("edges too weak", "edges too strong"),
    "edge peaks": ("edges everywhere alike", "few, hard edges"),
    "sharpness": ("too blurred", "too sharp or noisy"),
    "grain": ("too smooth", "too grainy"),
    "stripes": ("no direction at all", "striped in one direction"),
    "across over down": ("too many lines across", "too many lines down"),
    **{
        f"detail {k}": (f"too little {size} detail", f"too much {size} detail")
        for k, size in enumerate(("largest", "large", "middle-sized", "small", "fine", "finer", "finest"), start=1)
    },
    "colour detail": ("colour too smooth", "colour too detailed"),
    "centre lightness": ("centre too dark for its border", "centre too light for its border"),
    "centre magenta": ("centre too green for its border", "centre too magenta for its border"),
    "centre yellow": ("centre too blue for its border", "centre too yellow for its border"),
    "centre saturation": ("centre too pale for its border", "centre too saturated for its border"),
    "centre contrast": ("centre too even", "centre too varied"),
    "border contrast": ("border too even", "border too varied"),
    "left to right": ("both sides too alike", "one side darker than the other"),
    "top to bottom": ("top and bottom too alike", "top or bottom darker than the other"),
    "dark area": ("dark part too small", "dark part too large"),
    "off centre": ("too well centred", "dark part off the centre"),
}
"""For each descriptor: the words for an image whose value is too low, and too high."""

NAMES: tuple[str, ...] = tuple(WORDS)

_TOLERANCES: dict[str, float] = {
    **{"red": 16, "green": 17, "blue": 6, "red spread": 11, "green spread": 12, "blue spread": 4},
    **{"lightness": 6, "contrast": 4, "dark tones": 7, "middle tones": 8, "light tones": 0.5},
    **{"magenta": 3.5, "yellow": 6, "magenta spread": 2.5, "yellow spread": 4.5},
    **{"greenest part": 1, "most magenta part": 4, "bluest part": 6, "most yellow part": 1},
    **{"saturation": 0.04, "saturation spread": 0.045, "most saturated part": 0.1, "one hue": 0.08},
    **{"second colour": 2, "third colour": 1.1, "number of colours": 3, "black": 0.005, "white": 0.005},
    **{"flat": 0.06, "edges": 4, "edge peaks": 0.2, "sharpness": 0.3, "grain": 0.2},
    **{"stripes": 0.045, "across over down": 0.045, "detail 1": 0.5, "detail 2": 0.35, "detail 3": 0.15},
    **{"detail 4": 0.17, "detail 5": 0.16, "detail 6": 0.2, "detail 7": 0.27, "colour detail": 0.2},
    **{"centre lightness": 15, "centre magenta": 8, "centre yellow": 14, "centre saturation": 0.12},
    **{"centre contrast": 5, "border contrast": 2, "left to right": 1.4, "top to bottom": 1.8},
    **{"dark area": 0.09, "off centre": 0.065},
}

TOLERANCES: tuple[float, ...] = tuple(_TOLERANCES[name] for name in NAMES)
"""For each descriptor: some four fifths of half the range in which 80 % of blood cells of eight classes lie.

In a set that varies less (one class, one slide, a descriptor that is constant), an image within the usual range is no
outlier, so that none is one for a tint that nobody can see.
"""


def describe(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the descriptors of some images.

    Lightness is L* (0-100), tints are a* and b* of CIE 1976, levels are 0-255, fractions are 0-1, energies (sharpness,
    grain, detail) are log10 of grey levels squared.

    Args:
        images: (N, H, W, 3) uint8, 0-255, at least 4 pixels a side.

    Returns:
        (N, 53) float32, columns in the order of ``NAMES``.

    Examples:
        >>> values = describe(np.full((2, 40, 40, 3), 255, np.uint8))
        >>> values.shape, float(values[0, NAMES.index("white")])
        ((2, 53), 1.0)
    """
    blocks = [_measure(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(NAMES)), np.float32)


def shrunk(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average images down to 32x32: (N, 3, 32, 32) float32, 0-255."""
    return _smaller(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))


def _measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    small = _smaller(planes)
    luma = np.tensordot(np.array(LUMA, np.float32), planes, (0, 1))
    found: dict[str, Any] = {}
    lab = _lab(small)
    saturation = _saturation(small)
    _colour(found, small, lab, saturation)
    _texture(found, planes, luma)
    _bands(found, luma, lab)
    _layout(found, lab, saturation)
    return np.stack([found[name] for name in NAMES], axis=1).astype(np.float32)


def _smaller(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = planes.shape[2:]
    small: NDArray[np.float32] = np.matmul(_shrink(height), np.matmul(planes, _shrink(width).T), dtype=np.float32)
    return small


@functools.cache
def _shrink(size: int) -> NDArray[np.float32]:
    """Averages over 32 equal stretches: (32, size); smaller images are enlarged."""
    edges = np.linspace(0, size, _SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    weights: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return weights


@functools.cache
def _cosines(size: int) -> NDArray[np.float32]:
    """The DCT, its low frequencies only: (<= 32, size)."""
    return dct_matrix(size, min(size, _SIDE)).astype(np.float32)


@functools.cache
def _centre() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
    """Mask of the centre disc, of the border, and the two coordinates (-1 to 1)."""
    axis = ((np.arange(_SIDE) + 0.5) / _SIDE * 2 - 1).astype(np.float32)
    across, down = np.meshgrid(axis, axis)
    radius = np.hypot(across, down)
    return radius < 0.5, np.maximum(abs(across), abs(down)) > 0.8, np.stack([across, down])


@functools.cache
def _linear() -> NDArray[np.float32]:
    """SRGB levels, in quarters of 0-255, as linear light 0-1."""
    level = np.arange(1021) / 1020
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _lab(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """CIE L*a*b* under D65 of (n, 3, h, w) sRGB 0-255."""
    # a table instead of a power for each pixel: averages of 8-bit levels need no finer steps than a quarter
    linear = _linear()[np.rint(planes * 4).astype(np.int32)]
    to_xyz = (np.array(RGB_TO_XYZ) / np.array(WHITE)[:, None]).astype(np.float32)
    xyz = np.einsum("ij,njhw->nihw", to_xyz, linear)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    x, y, z = root[:, 0], root[:, 1], root[:, 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def _saturation(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """HSV saturation 0-1."""
    high, low = planes.max(1), planes.min(1)
    result: NDArray[np.float32] = (high - low) / np.maximum(high, 1)
    return result


def _flat(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    return planes.reshape(len(planes), -1)


def _colour(
    found: dict[str, Any],
    small: NDArray[np.float32],
    lab: NDArray[np.float32],
    saturation: NDArray[np.float32],
) -> None:
    count = len(small)
    pixels = small.reshape(count, 3, -1)
    for k, name in enumerate(("red", "green", "blue")):
        found[name] = pixels[:, k].mean(1)
        found[f"{name} spread"] = pixels[:, k].std(1)
    tones = lab.reshape(count, 3, -1)
    ranked = np.sort(tones, axis=2)
    low, middle, high = (int(part * (ranked.shape[2] - 1)) for part in (0.03, 0.5, 0.97))
    found["lightness"], found["magenta"], found["yellow"] = tones.mean(2).T
    found["contrast"], found["magenta spread"], found["yellow spread"] = tones.std(2).T
    found["dark tones"], found["greenest part"], found["bluest part"] = ranked[:, :, low].T
    found["middle tones"] = ranked[:, 0, middle]
    found["light tones"], found["most magenta part"], found["most yellow part"] = ranked[:, :, high].T
    strength = _flat(saturation)
    found["saturation"] = strength.mean(1)
    found["saturation spread"] = strength.std(1)
    found["most saturated part"] = np.sort(strength, axis=1)[:, high]
    chroma = np.hypot(tones[:, 1], tones[:, 2])
    found["one hue"] = np.hypot(tones[:, 1].mean(1), tones[:, 2].mean(1)) / (chroma.mean(1) + 1)
    # the principal axes of an image's colours: stained smears vary along one, photographs along all three
    centred = pixels - pixels.mean(2, keepdims=True)
    spread = np.linalg.eigvalsh(centred @ centred.transpose(0, 2, 1) / pixels.shape[2])
    spread = np.sqrt(np.clip(spread, 0, None))
    found["second colour"] = spread[:, 1]
    found["third colour"] = spread[:, 0]
    # 8 x 8 x 8 colour bins, offset by 512 an image, so that one bincount serves all; exp(entropy) counts the colours
    bins = (pixels // 32).astype(np.int64)
    bins = (bins[:, 0] * 8 + bins[:, 1]) * 8 + bins[:, 2] + 512 * np.arange(count)[:, None]
    fraction = np.bincount(bins.ravel(), minlength=512 * count).reshape(count, 512) / pixels.shape[2]
    found["number of colours"] = np.exp(-(fraction * np.log(np.maximum(fraction, 1e-9))).sum(1))


def _texture(found: dict[str, Any], planes: NDArray[np.float32], luma: NDArray[np.float32]) -> None:
    found["black"] = _flat((planes.max(1) <= 5).astype(np.float32)).mean(1)
    found["white"] = _flat((planes.min(1) >= 250).astype(np.float32)).mean(1)
    down = luma[:, 1:, :-1] - luma[:, :-1, :-1]
    across = luma[:, :-1, 1:] - luma[:, :-1, :-1]
    slope = np.sqrt(down * down + across * across)
    found["flat"] = _flat((slope < 1).astype(np.float32)).mean(1)
    found["edges"] = _flat(slope).mean(1)
    found["edge peaks"] = _flat(slope).std(1) / (found["edges"] + 0.5)
    # the structure tensor, averaged: its anisotropy is high where all edges run one way
    dd, aa, da = (_flat(part).mean(1) for part in (down * down, across * across, down * across))
    found["stripes"] = np.hypot(aa - dd, 2 * da) / (aa + dd + 1)
    found["across over down"] = np.log10((aa + 1) / (dd + 1))
    inner = luma[:, 1:-1, 1:-1]
    bend = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * inner
    found["sharpness"] = np.log10(_flat(bend * bend).mean(1) + 0.1)
    # noise that no edge explains: the checkerboard part of each 2 by 2 (Immerkaer 1996)
    cross = luma[:, 1:, 1:] - luma[:, :-1, 1:] - luma[:, 1:, :-1] + luma[:, :-1, :-1]
    found["grain"] = np.log10(np.median(np.abs(_flat(cross[:, ::2, ::2])), axis=1) + 0.1)


def _bands(found: dict[str, Any], luma: NDArray[np.float32], lab: NDArray[np.float32]) -> None:
    _, height, width = luma.shape
    energy = np.square(_cosines(height) @ luma @ _cosines(width).T) / (height * width)
    rows, columns = energy.shape[1:]
    wave = np.hypot(np.arange(rows)[:, None], np.arange(columns)[None])
    for k, (low, high) in enumerate(itertools.pairwise(_BANDS), start=1):
        inside = (wave >= low) & (wave < high)
        found[f"detail {k}"] = np.log10(energy[:, inside].sum(1) + 0.01)
    tint = lab[:, 1:]
    steps = np.square(np.diff(tint, axis=2))[..., :-1] + np.square(np.diff(tint, axis=3))[:, :, :-1]
    found["colour detail"] = np.log10(_flat(steps).mean(1) + 0.01)


def _layout(found: dict[str, Any], lab: NDArray[np.float32], saturation: NDArray[np.float32]) -> None:
    centre, border, axes = _centre()
    for k, name in enumerate(("centre lightness", "centre magenta", "centre yellow")):
        found[name] = lab[:, k, centre].mean(1) - lab[:, k, border].mean(1)
    found["centre saturation"] = saturation[:, centre].mean(1) - saturation[:, border].mean(1)
    light = lab[:, 0]
    found["centre contrast"] = light[:, centre].std(1)
    found["border contrast"] = light[:, border].std(1)
    found["left to right"] = np.abs((light * np.sign(axes[0])).mean((1, 2)))
    found["top to bottom"] = np.abs((light * np.sign(axes[1])).mean((1, 2)))
    depth = np.clip(np.median(_flat(light), axis=1)[:, None, None] - light, 0, None)
    middle = 0.5 * depth.max((1, 2))[:, None, None]
    found["dark area"] = _flat((depth > middle).astype(np.float32)).mean(1)
    mass = depth.sum((1, 2)) + 1
    found["off centre"] = np.hypot((depth * axes[0]).sum((1, 2)) / mass, (depth * axes[1]).sum((1, 2)) / mass)
