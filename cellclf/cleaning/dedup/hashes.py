"""DCT blocks of images, bits from blocks, the 8 flips and turns of a block, and imagehash's hashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import unknown
from cellclf.utils.colour import LUMA
from cellclf.utils.dct import dct_matrix

Blocks: TypeAlias = NDArray[np.float16]
Hashes: TypeAlias = NDArray[np.uint64]

SIDE = 16
"""Rows and columns of a whole image's DCT block."""
CENTRE_SIDE = 12
"""Rows and columns of the DCT block of an image's centre."""
CENTRE_RADIUS = 0.23
"""Half the side of the centre window, in sides of the image: inside almost every white cell."""
FLAT = (32 * 0.5) ** 2
"""Energy of a block below which its image is flat: grey levels deviate by less than a half."""
TURNS = (
    "",
    "mirrored",
    "upside down",
    "turned 180°",
    "transposed",
    "turned 90° left",
    "turned 90° right",
    "transposed, turned 180°",
)
"""The 8 flips and turns in the order of ``turned``; each is how the second image of a pair differs from the first."""
INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)
"""For each of ``TURNS`` the index of the one that undoes it."""

_POINTS = 32  # every image is resized to 32 x 32 before the transform, as the classic perceptual hash does
_CHUNK = 8  # images converted to float at once: they and their products stay in a core's cache


@dataclass(frozen=True)
class Basis:
    """Two small matrices that turn an image into its DCT block: ``rows @ image @ columns``.

    Luma, antialiased resizing and DCT are all linear, so one product on each side does all three at once.

    Args:
        rows: (k, H) float32.
        columns: (3 W, k) float32; the three colours of a pixel lie side by side, as in memory.
        constant: (k, k) float32, the direction of a flat image's block, which is removed by projection; None keeps it.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    constant: NDArray[np.float32] | None = None


def _resize(size: int, at: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Lanczos weights (len(at), size) that sample ``size`` pixels at ``at``, antialiased for ``step`` pixels."""
    wide = max(1.0, step)
    distance = (np.arange(size) + 0.5 - at[:, None]) / wide
    weights = np.sinc(distance) * np.sinc(distance / 3) * (np.abs(distance) < 3)
    return np.asarray(weights / weights.sum(1, keepdims=True))


@cache
def whole(height: int, width: int, side: int = SIDE, points: int = _POINTS) -> Basis:
    """Make the basis for whole images: 16 x 16 of the DCT of the luma at 32 x 32.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        side: Rows and columns of the block.
        points: Rows and columns that the image is resized to first.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions" (DCT hash).
    """
    one = [
        dct_matrix(points, side) @ _resize(size, (np.arange(points) + 0.5) * size / points, size / points)
        for size in (height, width)
    ]
    return Basis(one[0].astype(np.float32), _with_luma(one[1]))


@cache
def centre(height: int, width: int, down: int = 0, right: int = 0) -> Basis:
    """Make the basis for an image's centre under a round Gaussian window, which hides the background.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        down: Pixels that the window is moved down.
        right: Pixels that the window is moved to the right.
    """
    at = ((np.arange(_POINTS) + 0.5) / _POINTS * 2 - 1) * CENTRE_RADIUS  # in sides, from the middle
    window = np.exp(-0.5 * (at / 0.1) ** 2)
    dct = dct_matrix(_POINTS, CENTRE_SIDE)
    one = [
        dct @ (window[:, None] * _resize(size, (at + 0.5) * size + move, 2 * CENTRE_RADIUS * size / _POINTS))
        for size, move in ((height, down), (width, right))
    ]
    # brightness must not count: of a flat image the window leaves a blob, whose block is this one times its grey
    constant = np.outer(dct @ window, dct @ window)
    return Basis(
        one[0].astype(np.float32),
        _with_luma(one[1]),
        (constant / np.linalg.norm(constant)).astype(np.float32),
    )


def _with_luma(columns: NDArray[np.float64]) -> NDArray[np.float32]:
    kept, width = columns.shape
    joined = columns.T[:, None, :] * np.array(LUMA)[None, :, None]
    return np.ascontiguousarray(joined.reshape(3 * width, kept), dtype=np.float32)


def dct_blocks(images: NDArray[np.uint8], *bases: Basis) -> list[Blocks]:
    """Transform images into DCT blocks, one set for each basis, in one pass over the pixels.

    Every image goes through its own pair of products of a fixed shape, so that its block does not depend on
    its neighbours, to the last bit.

    Args:
        images: (N, H, W, 3) uint8, 0-255.
        bases: From ``whole`` or ``centre``, for images of this size.

    Returns:
        For each basis (N, k, k) float16: a grey level counts 1, all 255 of a white image give 8160 at [0, 0].

    Examples:
        >>> [blocks] = dct_blocks(np.full((2, 96, 96, 3), 255, np.uint8), whole(96, 96))
        >>> blocks.shape, float(blocks[0, 0, 0])
        ((2, 16, 16), 8160.0)
    """
    count, height, width, _ = images.shape
    made = [np.empty((count, len(basis.rows), len(basis.rows)), np.float16) for basis in bases]
    pixels = np.empty((_CHUNK, height, width * 3), np.float32)
    for start in range(0, count, _CHUNK):
        some = images[start : start + _CHUNK]
        part = pixels[: len(some)]
        part[...] = some.reshape(len(some), height, width * 3)
        for basis, blocks in zip(bases, made, strict=True):
            # (k, H) @ ((H, 3 W) @ (3 W, k)): the long side is summed first, which leaves the smaller product for last
            block = np.matmul(basis.rows, np.matmul(part, basis.columns))
            if basis.constant is not None:
                block -= np.einsum("nij,ij->n", block, basis.constant)[:, None, None] * basis.constant
            blocks[start : start + _CHUNK] = block
    return made


def turned(blocks: NDArray[Any], turn: int) -> NDArray[Any]:
    """Give the blocks of the images flipped or turned: signs and a transpose, no pixels.

    Args:
        blocks: (..., k, k) DCT blocks.
        turn: Index into ``TURNS``.

    Examples:
        >>> image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
        >>> [one], [other] = dct_blocks(image, whole(32, 32)), dct_blocks(image[:, :, ::-1], whole(32, 32))
        >>> bool(np.allclose(turned(one, 1), other, atol=2))
        True
    """
    flip_rows, flip_columns, transpose = _MOVES[turn]
    if transpose:
        blocks = np.swapaxes(blocks, -1, -2)
    signs = np.where(np.arange(blocks.shape[-1]) % 2, -1, 1).astype(blocks.dtype)
    if flip_columns:
        blocks = blocks * signs
    if flip_rows:
        blocks = blocks * signs[:, None]
    return blocks


# (flip rows, flip columns, transpose first) of each of TURNS
_MOVES = (
    (False, False, False),
    (False, True, False),
    (True, False, False),
    (True, True, False),
    (False, False, True),
    (True, False, True),
    (False, True, True),
    (True, True, True),
)


def turned_image(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Flip or turn one image (H, W, 3) as ``turned`` does with its block."""
    flip_rows, flip_columns, transpose = _MOVES[turn]
    if transpose:
        image = image.swapaxes(0, 1)
    return image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def turned_grids(grids: NDArray[Any], turn: int) -> NDArray[Any]:
    """Flip or turn small images (N, k, k, 3) as ``turned`` does with blocks."""
    flip_rows, flip_columns, transpose = _MOVES[turn]
    if transpose:
        grids = grids.swapaxes(1, 2)
    return grids[:, :: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def calibrate(blocks: Blocks) -> NDArray[np.float32]:
    """Find the thresholds that half of these images, with all their turns, exceed: one for each low frequency.

    A coefficient that is odd in one direction changes sign in a flip, so its median over the turned data is 0;
    an even one shares its median with its transpose. So the bits of a turned image are the same bits, moved and
    inverted, and a distance does not depend on which of two images is turned.

    Returns:
        (8, 8) float32.
    """
    thresholds = np.zeros((8, 8), np.float32)
    for row in range(0, 8, 2):
        for column in range(row, 8, 2):
            both = (blocks[:, row, column], blocks[:, column, row])
            thresholds[row, column] = thresholds[column, row] = (
                np.median(np.concatenate(both).astype(np.float32)) if len(blocks) else 0
            )
    return thresholds


def to_bits(blocks: Blocks, thresholds: NDArray[np.float32]) -> Hashes:
    """Give each block's 63 bits (8 x 8 low frequencies but the mean) in one 64-bit number.

    Args:
        blocks: (N, k, k).
        thresholds: (8, 8) from ``calibrate``.
    """
    bits = (blocks[:, :8, :8] > thresholds).reshape(len(blocks), 64)
    bits[:, 0] = False  # the mean grey: brightness must not count
    return _numbers(bits[:, _SPREAD])


# neighbouring frequencies are correlated; far apart in the number, they leave the parts that the search looks up
# independent (27 has no common factor with 64, so this is a permutation)
_SPREAD = np.arange(64) * 27 % 64


@cache
def _imagehash(method: str) -> Callable[[Any], Any]:
    import imagehash

    known = {
        "phash": imagehash.phash,
        "dhash": imagehash.dhash,
        "ahash": imagehash.average_hash,
        "whash": imagehash.whash,
    }
    if method not in known:
        raise unknown("hash", method, known)
    return known[method]  # type: ignore[no-any-return]  # imagehash has no types


def imagehash_hashes(images: NDArray[np.uint8], method: str = "phash") -> Hashes:
    """Hash images as the imagehash package does, bit for bit, to compare with stored hashes.

    Args:
        images: (N, H, W, 3) uint8.
        method: "phash", "dhash", "ahash" or "whash", each of 64 bits.

    Returns:
        (N,) uint64; ``f"{h:016x}"`` is what ``str(imagehash.phash(image))`` gives.

    Raises:
        UnknownNameError: There is no such hash.

    Examples:
        >>> image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(1, 64, 64, 3)
        >>> import imagehash, PIL.Image
        >>> f"{imagehash_hashes(image)[0]:016x}" == str(imagehash.phash(PIL.Image.fromarray(image[0])))
        True

    Source: https://github.com/JohannesBuchner/imagehash
    """
    from PIL import Image

    one = _imagehash(method)
    bits = np.array([one(Image.fromarray(image)).hash for image in images], bool).reshape(-1, 64)
    return _numbers(bits)


def _numbers(bits: NDArray[np.bool_]) -> Hashes:
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").ravel().astype(np.uint64)
