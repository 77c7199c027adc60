"""Resample images once, however many warps each has (`keras.ops`, any device, jit-safe)."""

from __future__ import annotations

from typing import Any

Tensor = Any


def carry(
    count: Tensor,
    linear: Tensor,
    shift: Tensor,
    border: Tensor,
    fill: Tensor,
    *,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the position in the old image that each new pixel shows, back through all warps.

    After each warp its own border rule is applied: the position is mirrored or cut, or the pixel gets the fill colour,
    which the remaining warps do not change. The result is that of one warp after the other, without the blur
    of resampling each time.

    Args:
        count: (N,) int32, warps of each image.
        linear: (N, K, 2, 2) float32, the last warp first.
        shift: (N, K, 2) float32, fractions of (height, width).
        border: (N, K) int32, index into `program.BORDERS`.
        fill: (N, K) int32, packed colour.
        height: Pixels.
        width: Pixels.

    Returns:
        Rows and columns (N, H, W) float32 within the image, and (N, H, W) int32: a packed colour where the
        pixel is painted, -1 where not.
    """
    from keras import ops

    n = linear.shape[0]
    down, right = (height - 1) / 2, (width - 1) / 2

    def per_image(values: Tensor) -> Tensor:
        return ops.reshape(values, (n, 1, 1))

    def mirrored(where: Tensor, side: int) -> Tensor:
        # an image and its mirror image repeat every 2 sides: the distance to the nearest whole number of periods, which
        # is any number of reflections in one formula
        periods = (where + 0.5) * (0.5 / side)
        return ops.abs(periods - ops.floor(periods + 0.5)) * (2.0 * side) - 0.5

    def body(k: Tensor, row: Tensor, column: Tensor, paint: Tensor) -> tuple[Tensor, ...]:
        m = ops.take(linear, k, axis=1)
        s = ops.take(shift, k, axis=1)
        rule = per_image(ops.take(border, k, axis=1))
        colour = per_image(ops.take(fill, k, axis=1))
        live = per_image(ops.less(k, count))
        y, x = row - down, column - right
        new_row = per_image(m[:, 0, 0]) * y + per_image(m[:, 0, 1]) * x
        new_row = new_row + per_image(s[:, 0] * height + down)
        new_column = per_image(m[:, 1, 0]) * y + per_image(m[:, 1, 1]) * x
        new_column = new_column + per_image(s[:, 1] * width + right)
        outside = (
            ops.less(new_row, -0.5)
            | ops.greater_equal(new_row, height - 0.5)
            | ops.less(new_column, -0.5)
            | ops.greater_equal(new_column, width - 0.5)
        )
        # -1: a colour that an outer warp has set is final
        paint = ops.where(live & outside & ops.equal(rule, 2) & ops.less(paint, 0), colour, paint)
        mirror = ops.equal(rule, 0)
        new_row = ops.clip(ops.where(mirror, mirrored(new_row, height), new_row), 0, height - 1)
        new_column = ops.clip(ops.where(mirror, mirrored(new_column, width), new_column), 0, width - 1)
        return k + 1, ops.where(live, new_row, row), ops.where(live, new_column, column), paint

    last = ops.max(count)
    rows = ops.broadcast_to(ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1)), (n, height, width))
    columns = ops.broadcast_to(ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width)), (n, height, width))
    _, row, column, paint = ops.while_loop(
        lambda k, row, column, paint: ops.less(k, last),
        body,
        (ops.zeros((), "int32"), rows, columns, ops.full((n, height, width), -1, dtype="int32")),
    )
    return row, column, paint


def interpolate(packed: Tensor, row: Tensor, column: Tensor, *, height: int, width: int) -> Tensor:
    """Read packed images between pixels, bilinear.

    Red and blue lie 16 bits apart in a word, so one multiplication by a weight of 0-256 blends both, and their products
    (16 bits each) do not overlap; green is done alone. Positions are rounded to 1/256 pixel for that, and a channel is
    at most 2 levels off the exact value.

    Args:
        packed: (N, H * W) int32, red << 16 | green << 8 | blue.
        row: (N, H, W) float32 from 0 to H - 1.
        column: (N, H, W) float32 from 0 to W - 1.
        height: Pixels, at least 2.
        width: Pixels, at least 2.

    Returns:
        (N, H * W) int32, packed.
    """
    from keras import ops

    n = packed.shape[0]
    # - 2: the pixel below and to the right must exist; on the last row the weight of the lower one is 256 of 256
    top = ops.minimum(ops.cast(row, "int32"), height - 2)
    left = ops.minimum(ops.cast(column, "int32"), width - 2)
    below = ops.cast((row - ops.cast(top, "float32")) * 256 + 0.5, "int32")
    beside = ops.cast((column - ops.cast(left, "float32")) * 256 + 0.5, "int32")
    start = ops.reshape(ops.arange(n, dtype="int32") * (height * width), (n, 1, 1))
    at = top * width + left + start
    flat = ops.reshape(packed, (-1,))
    a, b = ops.take(flat, at), ops.take(flat, at + 1)
    c, d = ops.take(flat, at + width), ops.take(flat, at + (width + 1))

    def blend(one: Tensor, two: Tensor, part: Tensor, lanes: int, half: int) -> Tensor:
        # ``lanes`` masks the channels that a word holds, ``half`` rounds each of them; the right shift copies a sign
        # bit, which is masked away
        mixed = ops.bitwise_and(one, lanes) * (256 - part) + ops.bitwise_and(two, lanes) * part + half
        return ops.bitwise_and(ops.right_shift(mixed, 8), lanes)

    upper = blend(a, b, beside, 0xFF00FF, 0x800080)
    lower = blend(c, d, beside, 0xFF00FF, 0x800080)
    red_blue = blend(upper, lower, below, 0xFF00FF, 0x800080)
    upper = blend(a, b, beside, 0x00FF00, 0x008000)
    lower = blend(c, d, beside, 0x00FF00, 0x008000)
    green = blend(upper, lower, below, 0x00FF00, 0x008000)
    return ops.reshape(ops.bitwise_or(red_blue, green), (n, height * width))


def warp(
    packed: Tensor,
    count: Tensor,
    linear: Tensor,
    shift: Tensor,
    border: Tensor,
    fill: Tensor,
    *,
    height: int,
    width: int,
) -> Tensor:
    """Apply each image's warps to (N, H * W) packed images; arguments as for `carry`."""
    from keras import ops

    row, column, paint = carry(count, linear, shift, border, fill, height=height, width=width)
    sampled = interpolate(packed, row, column, height=height, width=width)
    paint = ops.reshape(paint, (linear.shape[0], height * width))
    return ops.where(ops.less(paint, 0), sampled, paint)
