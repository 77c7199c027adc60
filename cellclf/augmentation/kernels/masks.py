"""Paint boxes and grids over packed images (`keras.ops`, jit-safe)."""

from __future__ import annotations

from typing import Any

Tensor = Any


def paint_boxes(packed: Tensor, count: Tensor, box: Tensor, fill: Tensor, *, height: int, width: int) -> Tensor:
    """Paint each image's boxes: a pixel belongs to a box when its centre lies in it.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32, boxes of each image.
        box: (N, K, 4) float32: top, left, bottom, right as fractions of the sides.
        fill: (N, K) int32, packed colours.
        height: Pixels.
        width: Pixels.
    """
    from keras import ops

    n, most, _ = box.shape
    row = ops.reshape((ops.arange(height, dtype="float32") + 0.5) / height, (1, height, 1))
    column = ops.reshape((ops.arange(width, dtype="float32") + 0.5) / width, (1, 1, width))
    out = ops.reshape(packed, (n, height, width))
    for slot in range(most):  # few, and unrolled: comparisons fuse into one pass over the pixels
        top, left, bottom, right = (ops.reshape(box[:, slot, side], (n, 1, 1)) for side in range(4))
        inside = (
            (row >= top)
            & (row < bottom)
            & (column >= left)
            & (column < right)
            & ops.reshape(ops.greater(count, slot), (n, 1, 1))
        )
        out = ops.where(inside, ops.reshape(fill[:, slot], (n, 1, 1)), out)
    return ops.reshape(out, (n, height * width))


def paint_grids(packed: Tensor, count: Tensor, grid: Tensor, fill: Tensor, *, height: int, width: int) -> Tensor:
    """Paint each image's grids of squares.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32, grids of each image.
        grid: (N, K, 5) float32: period as a fraction of the shorter side, covered share of a period (along
            each axis), two offsets as fractions of the period, turn in radians.
        fill: (N, K) int32, packed colours.
        height: Pixels.
        width: Pixels.

    Source: GridMask, Chen et al. 2020, arXiv 2001.04086.
    """
    from keras import ops

    n, most, _ = grid.shape
    y = ops.reshape(ops.arange(height, dtype="float32") - (height - 1) / 2, (1, height, 1))
    x = ops.reshape(ops.arange(width, dtype="float32") - (width - 1) / 2, (1, 1, width))
    out = ops.reshape(packed, (n, height, width))
    for slot in range(most):
        period, share, down, right, turn = (ops.reshape(grid[:, slot, i], (n, 1, 1)) for i in range(5))
        pixels = ops.maximum(period * min(height, width), 1.0)
        # positions in the turned grid, in periods: the fraction tells where in its square a pixel lies
        u = (ops.cos(turn) * y - ops.sin(turn) * x) / pixels + down
        v = (ops.sin(turn) * y + ops.cos(turn) * x) / pixels + right
        covered = (
            (u - ops.floor(u) < share) & (v - ops.floor(v) < share) & ops.reshape(ops.greater(count, slot), (n, 1, 1))
        )
        out = ops.where(covered, ops.reshape(fill[:, slot], (n, 1, 1)), out)
    return ops.reshape(out, (n, height * width))
