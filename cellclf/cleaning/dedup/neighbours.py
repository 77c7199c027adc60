"""Candidates for augmented copies: the nearest prints by a product of small vectors, then aligned along the rings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.polar import HARMONICS, STEP, WINDOW, ZOOMS, Floats, PolarPrints
from cellclf.utils.threads import one_blas_thread

_LENGTH = 64  # of the vectors
_FITTED = 4096  # prints from which the axes are computed
_ROWS = 48  # images looked up at once: their products stay in a core's cache
_CHUNKS = 128  # parts of the columns whose maxima are compared first
_PIECE = 4096  # pairs aligned at once
_TRIED = 72  # angles


@dataclass(frozen=True)
class Candidates:
    """Pairs of images that may be copies, and how the second would have to lie on the first.

    Args:
        first: (n,) int64.
        second: (n,) int64.
        anchor: (n,) which of the two centres.
        zoom: (n,) float32: the second shows the cell so much larger.
        angle: (n,) float32, radians from right towards down by which the second is turned.
        mirrored: (n,) bool.
        like: (n,) float32, how well the rings agree then, -1 to 1.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    anchor: NDArray[np.int64]
    zoom: Floats
    angle: Floats
    mirrored: NDArray[np.bool_]
    like: Floats

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: NDArray[Any]) -> Self:
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Join several lists."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def candidates(
    prints: PolarPrints, side: NDArray[np.bool_] | None, *, count: int, least: float, n_jobs: int
) -> Candidates:
    """Find for each image the few others whose prints are nearest, and align them.

    Every image is compared with all others zoomed in by 1 to 1.41; zooming out is zooming in the other way round, so
    each pair is seen whichever of the two is the copy.

    Args:
        prints: Of all images.
        side: (N,) bool; given, only pairs across it are looked for.
        count: How many others for each image, each centre.
        least: Agreement of the rings below which a pair is dropped.
        n_jobs: Threads.
    """
    import joblib

    places = np.flatnonzero(~prints.flat)
    sides = [(places, places)]
    if side is not None:
        one, two = places[~side[places]], places[side[places]]
        sides = [(one, two), (two, one)]
    found = []
    for anchor in range(prints.centres.shape[1]):
        vectors = _vectors(prints.magnitudes[:, anchor], places, n_jobs)
        for stored, asked in sides:
            if not len(stored) or not len(asked):
                continue
            base = np.ascontiguousarray(vectors[stored, 0].T)
            cuts = np.array_split(asked, max(1, len(asked) // _ROWS))
            with one_blas_thread():
                parts = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
                    joblib.delayed(_nearest)(vectors, base, stored, rows, count) for rows in cuts
                )
            first, second, window = (np.concatenate(column) for column in zip(*parts, strict=True))
            new = first != second
            first, second, window = first[new], second[new], window[new]
            pieces = np.array_split(np.arange(len(first)), len(first) // _PIECE + 1)
            waves = prints.coefficients[:, anchor]
            aligned = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
                joblib.delayed(_aligned)(waves, first[some], second[some], window[some]) for some in pieces
            )
            like, angle, mirrored = (np.concatenate(column) for column in zip(*aligned, strict=True))
            good = like >= least
            zoom = (STEP**window).astype(np.float32)
            which = np.full(len(first), anchor)
            found.append([column[good] for column in (first, second, which, zoom, angle, mirrored, like)])
    if not found:
        none, real = np.empty(0, np.int64), np.empty(0, np.float32)
        return Candidates(none, none, none, real, real, np.empty(0, bool), real)
    return _once(Candidates(*(np.concatenate(column) for column in zip(*found, strict=True))))


def between(prints: PolarPrints, first: NDArray[np.int64], second: NDArray[np.int64]) -> Candidates:
    """Give the best guess for each of some pairs, however unlike their rings are.

    Args:
        prints: Of all images.
        first: (n,) places.
        second: (n,) other places.
    """
    tries = []
    for anchor in range(prints.centres.shape[1]):
        waves = prints.coefficients[:, anchor]
        for window in range(ZOOMS):
            for one, two in ((first, second), (second, first)):
                number = np.full(len(one), window)
                like, angle, mirrored = _aligned(waves, one, two, number)
                which = np.full(len(one), anchor)
                tries.append([one, two, which, (STEP**number).astype(np.float32), angle, mirrored, like])
    return _once(Candidates(*(np.concatenate(column) for column in zip(*tries, strict=True))))


def _once(pairs: Candidates) -> Candidates:
    """Give each pair once, first < second, with the guess on which the rings agree best; sorted."""
    swap = pairs.first > pairs.second
    pairs = Candidates(
        np.minimum(pairs.first, pairs.second),
        np.maximum(pairs.first, pairs.second),
        pairs.anchor,
        np.where(swap, 1 / pairs.zoom, pairs.zoom),
        np.where(swap & ~pairs.mirrored, -pairs.angle, pairs.angle),  # a flip about an axis undoes itself
        pairs.mirrored,
        pairs.like,
    )
    pairs = pairs[np.lexsort((-pairs.like, pairs.second, pairs.first))]
    best = np.ones(len(pairs.first), bool)
    best[1:] = (np.diff(pairs.first) != 0) | (np.diff(pairs.second) != 0)
    return pairs[best]


def _described(magnitudes: NDArray[np.float16], window: int) -> Floats:
    """Vectors (n, d) of the rings from ``window`` on: unchanged by turns, flips, and a gain."""
    rings = magnitudes[:, window : window + WINDOW].astype(np.float32)
    rings[:, :, 0] -= rings[:, :, 0].mean((1, 2), keepdims=True)  # colours keep their distances from each other
    rings[:, :, 1:] *= np.sqrt(2)
    vectors = rings.reshape(len(rings), -1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return np.sign(vectors) * np.sqrt(np.abs(vectors))


def _vectors(magnitudes: NDArray[np.float16], places: NDArray[np.int64], n_jobs: int) -> Floats:
    """Short unit vectors of every window: (N, ZOOMS, length), along the axes in which the images differ."""
    import joblib

    count = len(magnitudes)
    if not len(places):
        return np.zeros((count, ZOOMS, 1), np.float32)
    some = places[np.unique(np.linspace(0, len(places) - 1, _FITTED).astype(np.int64))]
    fitted = _described(magnitudes[some], 0)
    middle = fitted.mean(0)
    power, axes = np.linalg.eigh((fitted - middle).T @ (fitted - middle) / len(fitted))
    power, axes = power[::-1][:_LENGTH], axes[:, ::-1][:, :_LENGTH]
    # weak axes are mostly noise: they are stretched up to a third of the twentieth's strength, not to the same
    axes = axes / np.sqrt(np.maximum(power, 0) + 0.1 * power[20] + 1e-3 * power[0] + 1e-12)
    axes = axes.astype(np.float32)

    def projected(rows: NDArray[np.int64]) -> Floats:
        made = np.stack([(_described(magnitudes[rows], window) - middle) @ axes for window in range(ZOOMS)], 1)
        return np.asarray(made / np.maximum(np.linalg.norm(made, axis=-1, keepdims=True), 1e-6), np.float32)

    with one_blas_thread():
        parts = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
            joblib.delayed(projected)(rows) for rows in np.array_split(np.arange(count), count // 512 + 1)
        )
    return np.concatenate(parts)


def _nearest(
    vectors: Floats, base: Floats, stored: NDArray[np.int64], rows: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the ``count`` nearest of ``stored`` for each row in whichever window: (first, second, window)."""
    best = vectors[rows, 0] @ base
    product = np.empty_like(best)
    for window in range(1, ZOOMS):
        np.matmul(vectors[rows, window], base, out=product)
        np.maximum(best, product, out=best)
    own = np.searchsorted(stored, rows)
    itself = np.flatnonzero(stored[np.minimum(own, len(stored) - 1)] == rows)
    best[itself, own[itself]] = -2
    columns = _largest(best, min(count, len(stored)))
    first = stored[columns]
    second = np.broadcast_to(rows[:, None], first.shape)
    like = np.einsum("rcd,rwd->rcw", vectors[first, 0], vectors[rows])
    return first.ravel(), second.ravel(), like.argmax(2).ravel()


def _largest(values: Floats, count: int) -> NDArray[np.int64]:
    """Places (rows, count) of the largest values of each row.

    The ``count`` largest lie in the ``count`` chunks with the largest maxima: only those are sorted.
    """
    width = values.shape[1] // _CHUNKS
    if width < 4 or count > _CHUNKS // 2:
        return np.argpartition(-values, count - 1, axis=1)[:, :count]
    even = width * _CHUNKS
    chunks = values[:, :even].reshape(len(values), _CHUNKS, width)
    top = np.argpartition(-chunks.max(2), count - 1, axis=1)[:, :count]
    at = (top[:, :, None] * width + np.arange(width)).reshape(len(values), -1)
    at = np.concatenate(
        [at, np.broadcast_to(np.arange(even, values.shape[1]), (len(values), values.shape[1] - even))], 1
    )
    some = np.take_along_axis(values, at, 1)
    return np.take_along_axis(at, np.argpartition(-some, count - 1, axis=1)[:, :count], 1)


def _aligned(
    waves: NDArray[np.complex64], first: NDArray[np.int64], second: NDArray[np.int64], window: NDArray[np.int64]
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Turn and flip the rings of the second onto those of the first: agreement, angle, and whether flipped."""
    rings = np.arange(WINDOW)
    one = waves[first, :WINDOW].copy()
    two = waves[second[:, None], window[:, None] + rings].copy()
    # what is the same all around counts nothing, because all round cells share it, and fine detail counts most; rings
    # further out stand for more of the image
    weight = np.outer(np.sqrt(STEP**rings), np.arange(HARMONICS)).astype(np.float32)
    for some in (one, two):
        some *= weight
        norm = np.sqrt((some.real**2 + some.imag**2).sum((1, 2)))
        some /= np.maximum(norm, 1e-6)[:, None, None]
    angles = (2 * np.pi * np.arange(_TRIED) / _TRIED).astype(np.float32)
    steps = np.exp(-1j * np.outer(np.arange(HARMONICS), angles)).astype(np.complex64)
    two = two.conj()
    plain = np.einsum("prh,prh->ph", one, two) @ steps
    flipped = np.einsum("prh,prh->ph", one.conj(), two) @ steps
    both = np.concatenate([plain.real, flipped.real], 1)
    best = both.argmax(1)
    mirrored, angle = np.divmod(best, _TRIED)
    return both[np.arange(len(both)), best], angles[angle], mirrored.astype(bool)
