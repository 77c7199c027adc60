"""Lay the cell of each packed image on another ground (`keras.ops`, jit-safe)."""

from __future__ import annotations

from typing import Any

from cellclf.augmentation.kernels.colour import channels, join
from cellclf.data.foreground_mask import TRUSTED, find_cells

Tensor = Any

WAVES, DISCS = 6, 10
"""Waves of the mottling, and discs (red cells) at most."""

SIZE = 7 + 4 * WAVES + 3 * DISCS
"""Numbers that describe a ground."""


def exchange(packed: Tensor, count: Tensor, shape: Tensor, *, height: int, width: int) -> Tensor:
    """Replace what surrounds the cell by a mottled ground with red cells; without a trusted mask nothing changes.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32; 0 leaves an image as it is.
        shape: (N, SIZE) float32: factors on the mean colour of what surrounds the cell; factors from there to the red
            cells; how much paler their middle is; for each wave its amplitude, periods down and right, phase (rad);
            for each red cell its place down and right and its radius (sides; 0 for none).
        height: Pixels.
        width: Pixels.
    """
    from keras import ops

    n = packed.shape[0]
    levels = [ops.reshape(ops.cast(channel, "float32"), (n, height, width)) for channel in channels(packed)]
    cell, trust = find_cells(ops.stack(levels, axis=-1))
    around = 1 - cell
    y = ops.reshape((ops.arange(height, dtype="float32") + 0.5) / height, (1, height, 1))
    x = ops.reshape((ops.arange(width, dtype="float32") + 0.5) / width, (1, 1, width))

    def number(place: int) -> Tensor:
        return ops.reshape(shape[:, place], (n, 1, 1))

    mottled = ops.ones((n, height, width), "float32")
    for wave in range(WAVES):
        amplitude, down, right, phase = (number(7 + 4 * wave + k) for k in range(4))
        mottled = mottled + amplitude * ops.cos(6.2831853 * (down * y + right * x) + phase)
    red_cell, pale = ops.zeros_like(mottled), ops.zeros_like(mottled)
    for disc in range(DISCS):
        down, right, radius = (number(7 + 4 * WAVES + 3 * disc + k) for k in range(3))
        far = ops.sqrt(ops.square((y - down) * height) + ops.square((x - right) * width))
        reach = radius * min(height, width)
        inside = ops.clip(reach - far, 0.0, 1.0)
        red_cell = ops.maximum(red_cell, inside)
        pale = ops.maximum(pale, inside * ops.clip(1 - 1.6 * far / (reach + 1e-6), 0.0, 1.0))
    out = []
    for index, level in enumerate(levels):
        mean = ops.sum(level * around, axis=(1, 2), keepdims=True) / (ops.sum(around, axis=(1, 2), keepdims=True) + 1)
        absorbed = 1 + (number(3 + index) - 1) * red_cell * (1 - number(6) * pale)
        ground = mean * number(index) * mottled * absorbed
        out.append(ops.reshape(cell * level + around * ops.clip(ground, 0.0, 255.0), (n, height * width)))
    changed = ops.greater(count, 0) & ops.greater_equal(trust, TRUSTED)
    return ops.where(changed[:, None], join(*out), packed)
