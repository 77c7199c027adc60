"""Darken packed images unevenly (`keras.ops`, jit-safe)."""

from __future__ import annotations

from typing import Any

from cellclf.augmentation.kernels.colour import channels, join

Tensor = Any


def shade(packed: Tensor, count: Tensor, shape: Tensor, *, height: int, width: int) -> Tensor:
    """Let the light of each image fall off from its brightest place, which keeps its level.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32, falls of light of each image; they multiply.
        shape: (N, K, 8) float32: slope down and right, and curvature, in optical density a side; the middle of the
            curvature down and right, in sides from the centre; the share of the density in red, green and blue.
        height: Pixels.
        width: Pixels.
    """
    from keras import ops

    n, most, _ = shape.shape
    y = ops.reshape((ops.arange(height, dtype="float32") + 0.5) / height - 0.5, (1, height, 1))
    x = ops.reshape((ops.arange(width, dtype="float32") + 0.5) / width - 0.5, (1, 1, width))
    totals: list[Tensor] = [0.0, 0.0, 0.0]
    for slot in range(most):
        down, right, bend, top, left, *parts = (ops.reshape(shape[:, slot, i], (n, 1, 1)) for i in range(8))
        density = down * y + right * x + bend * (ops.square(y - top) + ops.square(x - left))
        density = density - ops.min(density, axis=(1, 2), keepdims=True)
        density = ops.where(ops.reshape(ops.greater(count, slot), (n, 1, 1)), density, 0.0)
        totals = [total + part * density for total, part in zip(totals, parts, strict=True)]
    shares = [ops.reshape(ops.exp(-total), (n, height * width)) for total in totals]
    out = join(*(ops.cast(channel, "float32") * share for channel, share in zip(channels(packed), shares, strict=True)))
    return ops.where(ops.greater(count, 0)[:, None], out, packed)
