"""From hashes to links: candidates within a distance, verified by the aligned similarity of their blocks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hamming import search
from cellclf.cleaning.dedup.hashes import FLAT, INVERSE, Blocks, Hashes, calibrate, to_bits, turned

_CROWD = 64  # so many different images of one hash are thinned before they are paired with each other
_SAME = 0.999  # similarity to the first of a crowd from which on an image is stood for by it
_PIECE = 1 << 14  # candidates compared in one go
_PAIRED = 1 << 18  # candidates drawn from paired hashes in one go: bounds the memory


@dataclass(frozen=True)
class Links:
    """Pairs of images that look the same, each pair once.

    Args:
        first: (n,) int64 place of one image.
        second: (n,) int64 place of the other.
        turn: (n,) uint8 place in ``hashing.TURNS``: how the second was flipped or turned to lie on the first.
        similarity: (n,) float32 cosine of the two images' gradients, 0-1; of the hashes for imagehash's methods.
        distance: (n,) uint8 differing bits of the hashes.
        kind: (n,) str.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turn: NDArray[np.uint8]
    similarity: NDArray[np.float32]
    distance: NDArray[np.uint8]
    kind: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: NDArray[Any]) -> Self:
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def none(cls) -> Self:
        """No links."""
        whole, bits = np.empty(0, np.int64), np.empty(0, np.uint8)
        return cls(whole, whole, bits, np.empty(0, np.float32), bits, np.empty(0, "<U10"))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Join several lists of links; of a pair that is in two of them, the one in the earlier list stays."""
        if not parts:
            return cls.none()
        all_ = cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))
        pairs = np.stack([all_.first, all_.second])
        _, kept = np.unique(pairs, axis=1, return_index=True)
        return all_[kept]


def directions(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Turn blocks into unit vectors whose product is the cosine between the images' gradients.

    Each coefficient is weighted with its frequency, so that fine detail counts as much as the blob that every
    centred cell is. A flat image gets a direction of its own, the same for all flat ones.

    Args:
        blocks: (n, k, k).

    Returns:
        (n, k * k) float32.
    """
    side = blocks.shape[-1]
    frequency = np.sqrt(np.add.outer(np.arange(side) ** 2, np.arange(side) ** 2)).astype(np.float32).ravel()
    vectors = blocks.reshape(len(blocks), side * side).astype(np.float32)
    vectors[:, 0] = 0
    flat = np.einsum("ij,ij->i", vectors, vectors) < FLAT
    vectors *= frequency
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1), 1e-6)[:, None]
    vectors[flat] = 0
    vectors[flat, 0] = 1
    return vectors


def similarities(
    blocks: Blocks,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    turn: NDArray[np.uint8],
    others: Blocks | None = None,
) -> NDArray[np.float32]:
    """Compare images pair by pair, the second turned onto the first: (n,) float32 cosines.

    Args:
        blocks: (N, k, k).
        first: (n,) places in ``blocks``.
        second: (n,) places in ``others``.
        turn: (n,) places in ``TURNS``.
        others: (M, k, k); None takes ``blocks``.
    """
    others = blocks if others is None else others
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PIECE):
        here = slice(start, start + _PIECE)
        one = directions(blocks[first[here]])
        for number in np.unique(turn[here]):
            some = np.flatnonzero(turn[here] == number)
            other = directions(turned(others[second[here][some]], int(number)))
            found[start + some] = np.einsum("ij,ij->i", one[some], other)
    return np.minimum(found, 1)


@dataclass(frozen=True)
class _Buckets:
    """Places grouped by equal hashes: bucket k holds ``places[starts[k]:starts[k + 1]]``."""

    hashes: Hashes
    places: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, hashes: Hashes, places: NDArray[np.int64]) -> _Buckets:
        distinct, which = np.unique(hashes[places], return_inverse=True)
        starts = np.zeros(len(distinct) + 1, np.int64)
        np.cumsum(np.bincount(which, minlength=len(distinct)), out=starts[1:])
        return cls(distinct, places[np.argsort(which, kind="stable")], starts)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def firsts(self) -> NDArray[np.int64]:
        return self.places[self.starts[:-1]]


def thin_crowds(
    blocks: Blocks, hashes: Hashes, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Let one image stand for those that are as good as the same, where very many have one hash.

    Args:
        blocks: (N, k, k).
        hashes: (N,).
        places: (n,) of the images to look at, the best ones first.

    Returns:
        The places that remain, in order, and for each of ``places`` the one that stands for it (mostly itself).
    """
    stands = places.copy()
    buckets = _Buckets.of(hashes, places)
    where = np.empty(len(blocks), np.int64)
    where[places] = np.arange(len(places))
    for number in np.flatnonzero(buckets.sizes > _CROWD):
        left = buckets.places[buckets.starts[number] : buckets.starts[number + 1]]
        while len(left):
            lead = np.full(len(left), left[0])
            like = similarities(blocks, lead, left, np.zeros(len(left), np.uint8)) >= _SAME
            like[0] = True
            stands[where[left[like]]] = left[0]
            left = left[~like]
    return places[stands == places], stands


def find_links(
    blocks: Blocks,
    cut: NDArray[np.float32] | None,
    places: NDArray[np.int64],
    *,
    hashes: Hashes,
    distance: int,
    least: float,
    turns: bool,
    side: NDArray[np.bool_] | None = None,
    n_jobs: int = 1,
) -> Links:
    """Find the pairs of images within a distance of each other whose blocks agree.

    Args:
        blocks: (N, k, k).
        cut: (8, 8) the thresholds that made the hashes; None computes them.
        places: (n,) which images to pair; no two with the same content.
        hashes: (N,) uint64.
        distance: Most bits that may differ.
        least: Similarity that a pair must reach.
        turns: Look for flips and turns, too.
        side: (N,) bool; given, only pairs across it are looked for.
        n_jobs: Threads for the search.

    Returns:
        Links with first < second, sorted, with the best turn of each pair and an empty kind.
    """
    if cut is None:
        cut = calibrate(blocks)
    buckets = _Buckets.of(hashes, places)
    full = np.flatnonzero(buckets.sizes > 1)
    bits = np.zeros(len(full), np.uint8)
    links = [_verified(blocks, buckets, full, full, bits, bits, least, side)]

    def plain(first: NDArray[np.int64], second: NDArray[np.int64], apart: NDArray[np.uint8]) -> Links:
        return _verified(blocks, buckets, first, second, np.zeros(len(apart), np.uint8), apart, least, side)

    links += search(buckets.hashes, distance=distance, n_jobs=n_jobs, take=plain)
    if turns and len(buckets.hashes):
        # undoing 5 is 6: those pairs come from the other side of 5, so 6 is not asked for
        asked = np.array([1, 2, 3, 4, 5, 7], np.uint8)
        heads = buckets.firsts()
        variants = np.concatenate([_turned_bits(blocks, heads, int(turn), cut) for turn in asked])

        def other(variant: NDArray[np.int64], first: NDArray[np.int64], apart: NDArray[np.uint8]) -> Links:
            number, second = np.divmod(variant, len(heads))
            turn = asked[number]
            swap = (turn == 5) & (first > second)
            first, second = np.where(swap, second, first), np.where(swap, first, second)
            turn = np.where(swap, np.uint8(INVERSE[5]), turn)
            new = (first < second) | ((first == second) & (buckets.sizes[first] > 1))
            return _verified(blocks, buckets, first[new], second[new], turn[new], apart[new], least, side)

        links += search(variants, buckets.hashes, distance=distance, n_jobs=n_jobs, take=other)
    return _best_turns(links)


def _turned_bits(blocks: Blocks, heads: NDArray[np.int64], turn: int, cut: NDArray[np.float32]) -> Hashes:
    made = np.empty(len(heads), np.uint64)
    for start in range(0, len(heads), 1 << 15):
        some = heads[start : start + (1 << 15)]
        made[start : start + len(some)] = to_bits(turned(blocks[some, :8, :8], turn), cut)
    return made


def _verified(
    blocks: Blocks,
    buckets: _Buckets,
    one: NDArray[np.int64],
    two: NDArray[np.int64],
    turn: NDArray[np.uint8],
    apart: NDArray[np.uint8],
    least: float,
    side: NDArray[np.bool_] | None,
) -> Links:
    """Pair the images of paired buckets and keep the pairs that reach the similarity."""
    sizes = buckets.sizes
    counts = sizes[one] * sizes[two]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    kept = []
    for start in range(0, total, _PAIRED):
        number = np.arange(start, min(total, start + _PAIRED))
        row = np.searchsorted(ends, number, side="right")
        upper, lower = np.divmod(number - ends[row] + counts[row], sizes[two[row]])
        first = buckets.places[buckets.starts[one[row]] + upper]
        second = buckets.places[buckets.starts[two[row]] + lower]
        new = first != second if side is None else side[first] != side[second]
        row, first, second = row[new], first[new], second[new]
        like = similarities(blocks, first, second, turn[row])
        good = like >= least
        row = row[good]
        kept.append((first[good], second[good], turn[row], like[good], apart[row]))
    if not kept:
        return Links.none()
    first, second, turn, like, apart = (np.concatenate(column) for column in zip(*kept, strict=True))
    swap = first > second
    turn = np.where(swap, np.array(INVERSE, np.uint8)[turn], turn)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    return Links(first, second, turn, like, apart, np.full(len(first), "", "<U10"))


def _best_turns(parts: list[Links]) -> Links:
    """Join links, sorted, and keep the best turn of each pair."""
    links = Links(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Links)))
    links = links[np.lexsort((links.turn, -links.similarity.round(4), links.second, links.first))]
    best = np.ones(len(links), bool)
    best[1:] = (links.first[1:] != links.first[:-1]) | (links.second[1:] != links.second[:-1])
    return links[best]
