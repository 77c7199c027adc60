"""DCT blocks of images, bits from blocks, the 8 flips and turns of a block, and imagehash's hashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import unknown

Blocks: TypeAlias = NDArray[np.float16]
Hashes: TypeAlias = NDArray[np.uint64]

SIDE = 16
"""Rows and columns of a whole image's DCT block."""
CENTRE_SIDE = 12
"""Rows and columns of the DCT block of an image's centre."""
CENTRE_RADIUS = 0.23
"""Half the side of the centre window, as a share of the image's side: inside almost every white cell."""
FLAT = (32 * 0.5) ** 2
"""Energy of a block below which its image shows nothing: grey levels deviate by less than a half."""
LUMA = np.array([0.299, 0.587, 0.114])
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
"""The 8 flips and turns in the order of ``turned``; each is what was done to the second image of a pair."""
INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)
"""The place in ``TURNS`` that undoes each one."""

_POINTS = 32  # every image is resized to 32 x 32 before the transform, as the classic perceptual hash does
_CHUNK = 8  # images turned to float at once: they and their products stay in a core's cache


@dataclass(frozen=True)
class Basis:
    """Two small matrices that turn an image into its DCT block: ``rows @ image @ columns``.

    Luma, antialiased resizing and DCT are all linear, so one product on each side does all three at once.

    Args:
        rows: (k, H) float32.
        columns: (3 W, k) float32; the three colours of a pixel lie side by side, as in memory.
        constant: (k, k) float32, the direction of a flat image's block, to be projected out; None keeps it.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    constant: NDArray[np.float32] | None = None


def _dct(points: int, kept: int) -> NDArray[np.float64]:
    angle = np.pi * (np.arange(points) + 0.5) / points
    matrix: NDArray[np.float64] = np.cos(np.arange(kept)[:, None] * angle) * np.sqrt(2 / points)
    matrix[0] /= np.sqrt(2)
    return matrix


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
        points: The image is resized to so many rows and columns first.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions" (DCT hash).
    """
    one = [
        _dct(points, side) @ _resize(size, (np.arange(points) + 0.5) * size / points, size / points)
        for size in (height, width)
    ]
    return Basis(one[0].astype(np.float32), _with_luma(one[1]))


@cache
def centre(height: int, width: int, down: int = 0, right: int = 0) -> Basis:
    """Make the basis for an image's centre under a round Gaussian window, which leaves the background out.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        down: Move the window so many pixels down.
        right: Move the window so many pixels to the right.
    """
    at = ((np.arange(_POINTS) + 0.5) / _POINTS * 2 - 1) * CENTRE_RADIUS  # in sides, from the middle
    window = np.exp(-0.5 * (at / 0.1) ** 2)
    dct = _dct(_POINTS, CENTRE_SIDE)
    one = [
        dct @ (window[:, None] * _resize(size, (at + 0.5) * size + move, 2 * CENTRE_RADIUS * size / _POINTS))
        for size, move in ((height, down), (width, right))
    ]
    constant = np.outer(dct @ window, dct @ window)
    return Basis(
        one[0].astype(np.float32),
        _with_luma(one[1]),
        (constant / np.linalg.norm(constant)).astype(np.float32),
    )


def _with_luma(columns: NDArray[np.float64]) -> NDArray[np.float32]:
    kept, width = columns.shape
    joined = columns.T[:, None, :] * LUMA[None, :, None]
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
            block = np.matmul(basis.rows, np.matmul(part, basis.columns))
            if basis.constant is not None:
                block -= np.einsum("nij,ij->n", block, basis.constant)[:, None, None] * basis.constant
            blocks[start : start + _CHUNK] = block
    return made


def turned(blocks: NDArray[Any], turn: int) -> NDArray[Any]:
    """Give the blocks of the images flipped or turned: signs and a transpose, no pixels.

    Args:
        blocks: (..., k, k) DCT blocks.
        turn: Place in ``TURNS``.

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


def calibrate(blocks: Blocks) -> NDArray[np.float32]:
    """Find the thresholds that cut the low frequencies of these images, and all their turns, in half.

    A coefficient that is odd in one direction changes sign in a flip, so its median over the turned data is 0;
    an even one shares its median with its transpose. So the bits of a turned image are the same bits, moved and
    inverted, and a distance does not depend on which of two images is turned.

    Returns:
        (8, 8) float32.
    """
    cut = np.zeros((8, 8), np.float32)
    for row in range(0, 8, 2):
        for column in range(row, 8, 2):
            both = (blocks[:, row, column], blocks[:, column, row])
            cut[row, column] = cut[column, row] = (
                np.median(np.concatenate(both).astype(np.float32)) if len(blocks) else 0
            )
    return cut


def to_bits(blocks: Blocks, cut: NDArray[np.float32]) -> Hashes:
    """Give each block's 63 bits (8 x 8 low frequencies but the mean) in one 64-bit number.

    Args:
        blocks: (N, k, k).
        cut: (8, 8) thresholds from ``calibrate``.
    """
    bits = (blocks[:, :8, :8] > cut).reshape(len(blocks), 64)
    bits[:, 0] = False
    return _numbers(bits[:, _SPREAD])


# neighbouring frequencies go together: apart in the number, the parts that the search looks up stay independent
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
    """Hash images as the imagehash package does, bit for bit, for exchange with hashes that others stored.

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
