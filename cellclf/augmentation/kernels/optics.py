"""What needs neighbours or randomness a pixel: convolution, sharpness, noise, JPEG (`keras.ops`, jit-safe)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.kernels.colour import channels, join
from cellclf.utils.colour import LUMA

Tensor = Any

LUMA_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""Quantisation steps of luma at quality 50 (ITU-T T.81, annex K)."""

CHROMA_STEPS = np.full((8, 8), 99)
CHROMA_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""Quantisation steps of chroma at quality 50 (ITU-T T.81, annex K)."""


def convolve(packed: Tensor, count: Tensor, kernels: Tensor, *, height: int, width: int) -> Tensor:
    """Convolve each image with its kernels, one after the other; borders are mirrored (edge repeated).

    Every image has a kernel of its own. ``ops.conv`` has no such thing but as one group for each image, which is slow
    on a CPU; a sum over the kernel's taps of the shifted image, weighted per image, is not.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32, kernels of each image.
        kernels: (N, K, k, k) float32, symmetric under a half turn or not: it is correlation.
        height: Pixels, more than k / 2.
        width: Pixels, more than k / 2.
    """
    from keras import ops

    n, most, side, _ = kernels.shape
    edge = side // 2
    for slot in range(most):
        planes = []
        for channel in channels(packed):
            plane = ops.reshape(ops.cast(channel, "float32"), (n, height, width))
            planes.append(_mirrored(_mirrored(plane, edge, axis=1), edge, axis=2))
        weights = ops.reshape(kernels[:, slot], (n, side * side))

        def body(tap: Tensor, *sums: Tensor, planes: Any = planes, weights: Any = weights) -> tuple[Tensor, ...]:
            weight = ops.reshape(ops.take(weights, tap, axis=1), (n, 1, 1))
            down, right = tap // side, tap % side
            corner = ops.stack([ops.zeros_like(tap), down, right])  # a loop, not k * k copies of its body to compile
            return (
                tap + 1,
                *(
                    total + weight * ops.slice(plane, corner, (n, height, width))
                    for total, plane in zip(sums, planes, strict=True)
                ),
            )

        empty = ops.zeros((n, height, width), "float32")
        _, *sums = ops.while_loop(
            lambda tap, *sums: ops.less(tap, side * side), body, (ops.zeros((), "int32"), empty, empty, empty)
        )
        done = ops.reshape(join(*sums), (n, height * width))
        packed = ops.where(ops.greater(count, slot)[:, None], done, packed)
    return packed


def _mirrored(planes: Tensor, edge: int, *, axis: int) -> Tensor:
    """Continue (N, H, W) planes at both ends of an axis by their mirror image, the outermost pixels repeated.

    Not ``ops.pad(mode="symmetric")``: on PyTorch, Keras repeats the outermost pixel alone.
    """
    from keras import ops

    if not edge:
        return planes
    ends = ((0, edge), (planes.shape[axis] - edge, planes.shape[axis]))
    first, last = (
        ops.flip(planes[:, start:stop] if axis == 1 else planes[:, :, start:stop], axis=axis) for start, stop in ends
    )
    return ops.concatenate([first, planes, last], axis=axis)


def sharpen(packed: Tensor, count: Tensor, factor: Tensor, *, height: int, width: int) -> Tensor:
    """Blend each image with its smoothed self, as Pillow's ``ImageEnhance.Sharpness`` does.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32, not used, as a factor of 1 is the identity; all kernels take it.
        factor: (N,) float32: 0 smooth, 1 unchanged, 2 sharp.
        height: Pixels.
        width: Pixels.
    """
    from keras import ops

    n = packed.shape[0]
    out = []
    for channel in channels(packed):
        plane = ops.reshape(ops.cast(channel, "float32"), (n, height, width))
        inner = plane[:, 1:-1, 1:-1]
        nine = sum(plane[:, i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
        smooth = ops.floor((nine + 4 * inner) / 13 + 0.5)  # Pillow's SMOOTH: weights 1, and 5 in the middle
        sharp = smooth + ops.reshape(factor, (n, 1, 1)) * (inner - smooth)
        # pixels at the border lack neighbours and are kept, as Pillow keeps them
        rows = ops.concatenate([plane[:, 1:-1, :1], sharp, plane[:, 1:-1, -1:]], axis=2)
        rows = ops.concatenate([plane[:, :1], rows, plane[:, -1:]], axis=1)
        out.append(ops.reshape(rows, (n, height * width)))
    return join(*out)


@lru_cache(maxsize=1)
def normal_levels() -> NDArray[np.float32]:
    """Give 4,096 equally likely values of the standard normal distribution: its quantiles, scaled to deviation 1.

    To look up a value by 12 random bits is several times cheaper than the logarithm and cosine of Box and Muller.
    """
    from scipy.special import ndtri

    values = ndtri((np.arange(4096) + 0.5) / 4096)
    return np.asarray(values / values.std(), np.float32)


def _int32(word: int) -> int:
    """Give the 32-bit word as the signed number with the same bits: not every backend has uint32 arithmetic."""
    return word - (1 << 32) if word >= 1 << 31 else word


def add_noise(packed: Tensor, count: Tensor, deviation: Tensor, key: Tensor) -> Tensor:
    """Add Gaussian noise, independent for each pixel and channel.

    It is a hash of the image's key and the pixel's place: the same in every batch and on every backend, which their
    own generators do not promise.

    Args:
        packed: (N, P) int32.
        count: (N,) int32, not used, as a deviation of 0 is the identity; all kernels take it.
        deviation: (N,) float32, levels.
        key: (N,) int32.
    """
    from keras import ops

    values = ops.convert_to_tensor(normal_levels())
    place = ops.arange(packed.shape[1], dtype="int32")[None] * 3
    out = []
    for index, channel in enumerate(channels(packed)):
        # the finaliser of MurmurHash3 (Appleby), in signed words that wrap around; right shifts copy the sign bit, so
        # the bits that come in are masked away
        word = (place + index) * _int32(0x9E3779B1) + key[:, None]
        word = ops.bitwise_xor(word, ops.bitwise_and(ops.right_shift(word, 16), 0xFFFF))
        word = word * _int32(0x85EBCA6B)
        word = ops.bitwise_xor(word, ops.bitwise_and(ops.right_shift(word, 13), 0x7FFFF))
        word = word * _int32(0xC2B2AE35)
        slot = ops.bitwise_and(ops.right_shift(word, 20), 0xFFF)  # the highest 12 bits are mixed best
        out.append(ops.cast(channel, "float32") + deviation[:, None] * ops.take(values, slot))
    return join(*out)


@lru_cache(maxsize=8)
def _jpeg_matrices(side: int, shrink: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the matrices of JPEG along one axis: to the coefficients, and back.

    Padding, the averaging of chroma and the DCT of 8 x 8 blocks are all linear, and each works on rows and columns
    alike. So they are one matrix for each axis, and a plane's coefficients are ``rows @ plane @ columns.T``: two matrix
    products, which every device does well, in place of a loop over blocks.

    Args:
        side: Of the image along this axis, pixels.
        shrink: 1 for luma; 2 for chroma, which is stored at half the size.

    Returns:
        (padded / shrink, side) and (side, padded / shrink).
    """
    padded = -(-side // 16) * 16  # 16, so that chroma at half the size is whole blocks too
    pad = np.zeros((padded, side))  # the last pixel is repeated
    pad[np.arange(padded), np.minimum(np.arange(padded), side - 1)] = 1
    short = padded // shrink
    down = np.zeros((short, padded))
    up = np.zeros((padded, short))
    for i in range(padded):
        down[i // shrink, i] = 1 / shrink
        if shrink == 1:
            up[i, i] = 1
        else:  # the triangle filter of libjpeg's "fancy" upsampling
            near = i // 2
            far = min(max(near + (1 if i % 2 else -1), 0), short - 1)
            up[i, near] += 0.75
            up[i, far] += 0.25
    k = np.arange(8)
    dct = np.cos(np.pi * np.outer(k, 2 * k + 1) / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)[:, None]
    blocks = np.kron(np.eye(short // 8), dct)  # the same DCT for every block: a block-diagonal matrix
    forward = blocks @ down @ pad
    back = (up @ blocks.T)[:side]  # the DCT is orthonormal: its transpose is its inverse
    return forward.astype(np.float32), back.astype(np.float32)


def jpeg(packed: Tensor, count: Tensor, quality: Tensor, *, height: int, width: int) -> Tensor:
    """Compress as JPEG does and decompress: 8x8 blocks, chroma at half size (4:2:0), libjpeg's scaling of its tables.

    Only the lossy part is computed. The entropy coding after it loses nothing.

    Args:
        packed: (N, H * W) int32.
        count: (N,) int32; 0 leaves the image as it is.
        quality: (N,) float32, whole numbers 1-100.
        height: Pixels.
        width: Pixels.

    Source: ITU-T T.81.
    """
    from keras import ops

    n = packed.shape[0]
    red, green, blue = (ops.reshape(ops.cast(c, "float32"), (n, height, width)) for c in channels(packed))
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue - 128  # JPEG's DCT works on levels about 0
    planes = (luma, (blue - luma - 128) * 0.564334, (red - luma - 128) * 0.713267)
    scale = ops.where(quality < 50, ops.floor(5000 / quality), 200 - 2 * quality)
    done = []
    for index, plane in enumerate(planes):
        shrink = 2 if index else 1
        rows, rows_back = _jpeg_matrices(height, shrink)
        columns, columns_back = _jpeg_matrices(width, shrink)
        table = CHROMA_STEPS if index else LUMA_STEPS
        table = np.tile(table, (rows.shape[0] // 8, columns.shape[0] // 8)).astype(np.float32)
        steps = ops.convert_to_tensor(table)
        quantum = ops.clip(ops.floor((steps * ops.reshape(scale, (n, 1, 1)) + 50) / 100), 1, 255)
        terms = ops.matmul(ops.matmul(rows, ops.round(plane)), columns.T)
        terms = ops.round(terms / quantum) * quantum
        done.append(ops.matmul(ops.matmul(rows_back, terms), columns_back.T))
    luma = ops.round(done[0]) + 128
    out = join(
        *(
            ops.reshape(part, (n, height * width))
            for part in (
                luma + 1.402 * done[2],
                luma - 0.344136 * done[1] - 0.714136 * done[2],
                luma + 1.772 * done[1],
            )
        )
    )
    return ops.where(ops.greater(count, 0)[:, None], out, packed)
