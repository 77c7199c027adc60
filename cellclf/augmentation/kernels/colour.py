"""Point operations on packed images: look-up tables, colour matrices, histograms (`keras.ops`, jit-safe)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cellclf.augmentation.program import AUTOCONTRAST, CONTRAST, DENSITY, EQUALISE, LAB, LINEAR
from cellclf.utils.colour import LUMA, RGB_TO_XYZ, WHITE

Tensor = Any

RED, GREEN, BLUE = (round(weight * 2**16) for weight in LUMA)
"""Luma weights as whole numbers over 2^16, as Pillow has them: sums in int32 are exact on every device."""


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
    """Run each image's segments: one table, one matrix, one operation that measures the image.

    An operation of the third kind (stretch, equalise) is a table again, whose values depend on the image. That table is
    not applied at once: it is ``pending`` and joins the table of the next segment, so that the pixels are read once for
    both. `Program` therefore adds an empty segment behind the last one that measures.

    All images run through as many segments as the longest program has; those of the others are identities.

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
        spaces = ops.take(space, k, axis=1)
        statistics = ops.take(statistic, k, axis=1)
        fused = ops.take_along_axis(ops.cast(ops.take(table, k, axis=1), "int32"), pending, axis=2)
        pixels = _look_up(pixels, fused)

        # the conditions test whether any image needs the work at all: most batches skip most branches
        def mix() -> Tensor:
            matrices = ops.take(matrix, k, axis=1)
            kinds = ((LINEAR, _linear), (DENSITY, _density), (LAB, _lab))
            return _chosen(spaces, kinds, pixels, lambda function: function(pixels, matrices))

        pixels = ops.cond(ops.any(ops.greater(spaces, 0)), mix, lambda: pixels)

        def measure() -> Tensor:
            amounts = ops.take(amount, k, axis=1)
            kinds = ((AUTOCONTRAST, _autocontrast), (EQUALISE, _equalise), (CONTRAST, _contrast))
            return _chosen(statistics, kinds, identity, lambda function: function(pixels, amounts))

        pending = ops.cond(ops.any(ops.greater(statistics, 0)), measure, lambda: identity)
        return k + 1, pixels, pending

    _, pixels, _ = ops.while_loop(
        lambda k, pixels, pending: ops.less(k, last), body, (ops.zeros((), "int32"), packed, identity)
    )
    return pixels


def _chosen(
    choice: Tensor, kinds: Sequence[tuple[int, Callable[..., Tensor]]], default: Tensor, make: Callable[..., Tensor]
) -> Tensor:
    """Give each image the result of its own kind, and the default where it has none.

    Shapes are static, so a kind is computed for all images or for none: for none where no image has it.
    """
    from keras import ops

    out = default
    for kind, function in kinds:
        chosen = ops.equal(choice, kind)
        where = ops.reshape(chosen, (-1,) + (1,) * (len(default.shape) - 1))
        out = ops.cond(
            ops.any(chosen),
            # partial binds this turn's values: a branch may be traced later than it is given
            partial(lambda out, where, function: ops.where(where, make(function), out), out, where, function),
            partial(lambda out: out, out),
        )
    return out


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Map (N, P) packed pixels by (N, 3, 256) int32 tables."""
    from keras import ops

    # one gather from all images' tables laid end to end, each read at its image's offset; the entries are shifted to
    # their place in the word before the gather, on 256 values and not on every pixel
    start = ops.arange(pixels.shape[0], dtype="int32")[:, None] * 256
    out = 0
    for index, (channel, place) in enumerate(zip(channels(pixels), (65536, 256, 1), strict=True)):
        out = out + ops.take(ops.reshape(table[:, index] * place, (-1,)), channel + start)
    return out


def _times(matrix: Tensor, parts: tuple[Tensor, ...]) -> list[Tensor]:
    # written out: a matmul would need the channels as one more axis, and so a copy of all pixels
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

    # + 1: a level of 0 has no logarithm
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

    level = np.arange(256) / 255  # the curve of sRGB as a table: there are only 256 levels
    line = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)
    light = [ops.take(ops.convert_to_tensor(line), c) for c in (red, green, blue)]
    ratio = np.array(RGB_TO_XYZ) / np.array(WHITE)[:, None]
    roots = []
    for i in range(3):
        value = sum(float(ratio[i, j]) * light[j] for j in range(3))
        root = ops.exp(ops.log(ops.maximum(value, 1e-6)) / 3)  # below 1e-6 the straight part is used anyway
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
        slots = ops.reshape(channel + start, (-1,))  # one histogram for all: level v of image i is bin 256 i + v
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
    grey = ops.right_shift(red * RED + green * GREEN + blue * BLUE + 2**15, 16)
    mean = ops.floor(ops.cast(ops.sum(grey, axis=1), "float32") / pixels.shape[1] + 0.5)[:, None]
    level = ops.arange(256, dtype="float32")
    stretched = ops.cast(ops.clip(mean + amount[:, None] * (level - mean) + 0.5, 0, 255), "int32")
    return ops.broadcast_to(stretched[:, None], (pixels.shape[0], 3, 256))
