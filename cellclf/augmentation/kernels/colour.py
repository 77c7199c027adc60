"""Point operations on packed images: look-up tables, colour matrices, histograms (`keras.ops`, jit-safe)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cellclf.augmentation.program import AUTOCONTRAST, CONTRAST, DENSITY, EQUALISE, LAB, LINEAR

Tensor = Any

RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to CIE XYZ, D65 (IEC 61966-2-1)."""

WHITE = RGB_TO_XYZ.sum(axis=1)
XYZ_TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
"""From the cube roots of XYZ over white to L* + 16, a*, b*."""


def channels(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take red, green and blue (int32, 0-255) out of packed pixels."""
    from keras import ops

    return (
        ops.right_shift(packed, 16),
        ops.bitwise_and(ops.right_shift(packed, 8), 255),
        ops.bitwise_and(packed, 255),
    )


def join(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Round three float channels, cut them to 0-255 and pack them."""
    from keras import ops

    def level(channel: Tensor) -> Tensor:
        return ops.cast(ops.clip(channel + 0.5, 0.0, 255.0), "int32")

    return level(red) * 65536 + level(green) * 256 + level(blue)


def tone(
    packed: Tensor,
    count: Tensor,
    table: Tensor,
    matrix: Tensor,
    space: Tensor,
    statistic: Tensor,
    amount: Tensor,
) -> Tensor:
    """Run each image's segments: one table, one matrix, one look at the image.

    Args:
        packed: (N, P) int32 images.
        count: (N,) int32 segments.
        table: (N, S, 3, 256) uint8.
        matrix: (N, S, 3, 4) float32.
        space: (N, S) int32, 0 for no matrix, else `LINEAR`, `DENSITY` or `LAB`.
        statistic: (N, S) int32, 0 for none, else `AUTOCONTRAST`, `EQUALISE` or `CONTRAST`.
        amount: (N, S) float32, the factor of `CONTRAST`.

    Returns:
        (N, P) int32.
    """
    from keras import ops

    n = packed.shape[0]
    last = ops.max(count)
    identity = ops.broadcast_to(ops.arange(256, dtype="int32"), (n, 3, 256))

    def body(k: Tensor, pixels: Tensor, pending: Tensor) -> tuple[Tensor, ...]:
        now = ops.take(space, k, axis=1)
        look = ops.take(statistic, k, axis=1)
        fused = ops.take_along_axis(ops.cast(ops.take(table, k, axis=1), "int32"), pending, axis=2)
        pixels = _look_up(pixels, fused)

        def mix() -> Tensor:
            now_matrix = ops.take(matrix, k, axis=1)
            kinds = ((LINEAR, _linear), (DENSITY, _density), (LAB, _lab))
            return _chosen(now, kinds, pixels, lambda mixed: mixed(pixels, now_matrix))

        pixels = ops.cond(ops.any(ops.greater(now, 0)), mix, lambda: pixels)

        def see() -> Tensor:
            now_amount = ops.take(amount, k, axis=1)
            kinds = ((AUTOCONTRAST, _autocontrast), (EQUALISE, _equalise), (CONTRAST, _contrast))
            return _chosen(look, kinds, identity, lambda made: made(pixels, now_amount))

        pending = ops.cond(ops.any(ops.greater(look, 0)), see, lambda: identity)
        return k + 1, pixels, pending

    _, pixels, _ = ops.while_loop(
        lambda k, pixels, pending: ops.less(k, last), body, (ops.zeros((), "int32"), packed, identity)
    )
    return pixels


def _chosen(
    wanted: Tensor, kinds: Sequence[tuple[int, Callable[..., Tensor]]], default: Tensor, make: Callable[..., Tensor]
) -> Tensor:
    """Make, of those kinds that any image wants, what each wants; the default elsewhere."""
    from keras import ops

    out = default
    for kind, function in kinds:
        chosen = ops.equal(wanted, kind)
        where = ops.reshape(chosen, (-1,) + (1,) * (len(default.shape) - 1))
        out = ops.cond(
            ops.any(chosen),
            partial(lambda out, where, function: ops.where(where, make(function), out), out, where, function),
            partial(lambda out: out, out),
        )
    return out


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Map (N, P) packed pixels by (N, 3, 256) int32 tables."""
    from keras import ops

    start = ops.arange(pixels.shape[0], dtype="int32")[:, None] * 256
    out = 0
    for index, (channel, place) in enumerate(zip(channels(pixels), (65536, 256, 1), strict=True)):
        out = out + ops.take(ops.reshape(table[:, index] * place, (-1,)), channel + start)
    return out


def _times(matrix: Tensor, parts: tuple[Tensor, ...]) -> list[Tensor]:
    return [
        matrix[:, i, 0, None] * parts[0]
        + matrix[:, i, 1, None] * parts[1]
        + matrix[:, i, 2, None] * parts[2]
        + matrix[:, i, 3, None]
        for i in range(3)
    ]


def _linear(pixels: Tensor, matrix: Tensor) -> Tensor:
    from keras import ops

    return join(*_times(matrix, tuple(ops.cast(c, "float32") for c in channels(pixels))))


def _density(pixels: Tensor, matrix: Tensor) -> Tensor:
    from keras import ops

    densities = tuple(-ops.log((ops.cast(c, "float32") + 1) / 256) for c in channels(pixels))
    return join(*(256 * ops.exp(-d) - 1 for d in _times(matrix, densities)))


def _lab(pixels: Tensor, matrix: Tensor) -> Tensor:
    from keras import ops

    lab = to_lab(*channels(pixels))
    means = [ops.mean(part, axis=1, keepdims=True) for part in lab]
    moved = _times(matrix, tuple(part - mean for part, mean in zip(lab, means, strict=True)))
    return join(*from_lab(*(part + mean for part, mean in zip(moved, means, strict=True))))


def to_lab(red: Tensor, green: Tensor, blue: Tensor) -> tuple[Tensor, ...]:
    """Turn levels 0-255 (sRGB, int32) into CIELAB (L* 0-100, a*, b*), float32.

    Source: CIE 1976; white is D65.
    """
    from keras import ops

    level = np.arange(256) / 255
    line = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)
    light = [ops.take(ops.convert_to_tensor(line), c) for c in (red, green, blue)]
    ratio = RGB_TO_XYZ / WHITE[:, None]
    roots = []
    for i in range(3):
        value = sum(float(ratio[i, j]) * light[j] for j in range(3))
        root = ops.exp(ops.log(ops.maximum(value, 1e-6)) / 3)
        roots.append(ops.where(value > 216 / 24389, root, value * (24389 / 27 / 116) + 16 / 116))
    return 116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])


def from_lab(lightness: Tensor, a: Tensor, b: Tensor) -> list[Tensor]:
    """Turn CIELAB into levels (sRGB, float32; colours outside its gamut lie outside 0-255)."""
    from keras import ops

    middle = (lightness + 16) / 116
    xyz = []
    for root, white in zip((middle + a / 500, middle, middle - b / 200), WHITE, strict=True):
        linear = (root - 16 / 116) * (27 * 116 / 24389)
        xyz.append(float(white) * ops.where(root > 6 / 29, root * root * root, linear))
    back = np.linalg.inv(RGB_TO_XYZ)
    out = []
    for i in range(3):
        light = sum(float(back[i, j]) * xyz[j] for j in range(3))
        curved = 1.055 * ops.exp(ops.log(ops.maximum(light, 1e-6)) / 2.4) - 0.055
        out.append(255 * ops.where(light <= 0.0031308, light * 12.92, curved))
    return out


def _autocontrast(pixels: Tensor, amount: Tensor) -> Tensor:
    """Stretch each channel from its darkest and brightest level to 0-255, as Pillow does."""
    from keras import ops

    level = ops.arange(256, dtype="int32")
    tables = []
    for channel in channels(pixels):
        low = ops.min(channel, axis=1, keepdims=True)
        span = ops.max(channel, axis=1, keepdims=True) - low
        stretched = ops.clip(ops.floor_divide((level - low) * 255, ops.maximum(span, 1)), 0, 255)
        tables.append(ops.where(ops.greater(span, 0), stretched, level))
    return ops.stack(tables, axis=1)


def _equalise(pixels: Tensor, amount: Tensor) -> Tensor:
    """Flatten each channel's histogram, as Pillow does."""
    from keras import ops

    n, size = pixels.shape
    level = ops.arange(256, dtype="int32")
    start = ops.arange(n, dtype="int32")[:, None] * 256
    tables = []
    for channel in channels(pixels):
        slots = ops.reshape(channel + start, (-1,))
        counts = ops.reshape(ops.segment_sum(ops.ones_like(slots), slots, num_segments=n * 256), (n, 256))
        brightest = ops.max(channel, axis=1, keepdims=True)
        step = (size - ops.take_along_axis(counts, brightest, axis=1)) // 255
        before = ops.cumsum(counts, axis=1) - counts
        flat = ops.minimum((step // 2 + before) // ops.maximum(step, 1), 255)
        tables.append(ops.where(ops.greater(step, 0), flat, level))
    return ops.stack(tables, axis=1)


def _contrast(pixels: Tensor, amount: Tensor) -> Tensor:
    """Stretch all channels about the image's mean grey (ITU-R BT.601 luma), as Pillow does."""
    from keras import ops

    red, green, blue = channels(pixels)
    grey = ops.right_shift(red * 19595 + green * 38470 + blue * 7471 + 32768, 16)
    mean = ops.floor(ops.cast(ops.sum(grey, axis=1), "float32") / pixels.shape[1] + 0.5)[:, None]
    level = ops.arange(256, dtype="float32")
    stretched = ops.cast(ops.clip(mean + amount[:, None] * (level - mean) + 0.5, 0, 255), "int32")
    return ops.broadcast_to(stretched[:, None], (pixels.shape[0], 3, 256))
