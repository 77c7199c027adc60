"""Pairs of images that show the same: candidates by hash distance, verified by the similarity of their DCT blocks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hamming import search
from cellclf.cleaning.dedup.hashes import FLAT, INVERSE, TURNS, Blocks, Hashes, to_bits, turned

if TYPE_CHECKING:
    from cellclf.cleaning.dedup.colours import Colours

RECOLOURED = "recoloured"
"""Kind of pairs that show one shape in different colours."""

_LARGE_BUCKET = 64  # more images with one hash are thinned before all their pairs are compared
_SAME = 0.999  # similarity to a bucket's first image from which on that image represents another one
_BATCH = 1 << 14  # pairs compared at once: bounds the memory
_CANDIDATES = 1 << 18  # candidates listed at once: bounds the memory


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that show the same, each pair once.

    Args:
        first: (n,) int64 position of one image.
        second: (n,) int64 position of the other.
        turn: (n,) uint8 index into ``TURNS``: how the second is flipped or turned to match the first.
        similarity: (n,) float32 cosine of the two images' gradients, 0-1; of the hashes for imagehash's methods.
        distance: (n,) uint8 differing bits of the hashes.
        kind: (n,) str.
        change: (n,) str, what was done to the first to give the second, where ``turn`` does not say it; None: "".
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turn: NDArray[np.uint8]
    similarity: NDArray[np.float32]
    distance: NDArray[np.uint8]
    kind: NDArray[np.str_]
    change: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: NDArray[Any]) -> Self:
        columns: list[Any] = [getattr(self, field.name) for field in fields(self)]
        chosen: list[Any] = [None if column is None else column[which] for column in columns]
        return type(self)(*chosen)

    @property
    def changes(self) -> NDArray[np.str_]:
        """What was done to the first to give the second: (n,) str."""
        turned = np.array(TURNS)[self.turn]
        return turned if self.change is None else np.where(self.change == "", turned, self.change)

    @classmethod
    def none(cls) -> Self:
        """No pairs."""
        positions, bits = np.empty(0, np.int64), np.empty(0, np.uint8)
        return cls(positions, positions, bits, np.empty(0, np.float32), bits, np.empty(0, "<U10"))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Join several lists of pairs; a pair that is in two of them is kept as in the earlier list."""
        if not parts:
            return cls.none()
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(cls)}
        if all(part.change is None for part in parts):
            del columns["change"]
        else:
            columns["change"] = [np.full(len(part), "") if part.change is None else part.change for part in parts]
        joined = cls(**{name: np.concatenate(column) for name, column in columns.items()})
        pairs = np.stack([joined.first, joined.second])
        _, first_time = np.unique(pairs, axis=1, return_index=True)
        return joined[first_time]


def directions(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Turn blocks into unit vectors whose product is the cosine between the images' gradients.

    Each coefficient is weighted with its frequency (the DCT of a gradient), so that fine detail counts as much as the
    dark blob that all centred cells have in common. All flat images get one direction, different from any other.

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
    """Compare images pair by pair, the second turned to match the first: (n,) float32 cosines.

    Args:
        blocks: (N, k, k).
        first: (n,) positions in ``blocks``.
        second: (n,) positions in ``others``.
        turn: (n,) indices into ``TURNS``.
        others: (M, k, k); None takes ``blocks``.
    """
    others = blocks if others is None else others
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _BATCH):
        here = slice(start, start + _BATCH)
        one = directions(blocks[first[here]])
        for number in np.unique(turn[here]):
            some = np.flatnonzero(turn[here] == number)
            other = directions(turned(others[second[here][some]], int(number)))
            found[start + some] = np.einsum("ij,ij->i", one[some], other)
    return np.minimum(found, 1)


@dataclass(frozen=True)
class _Buckets:
    """Positions grouped by equal hashes: bucket k holds ``places[starts[k]:starts[k + 1]]``."""

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


def thin_buckets(
    blocks: Blocks, hashes: Hashes, places: NDArray[np.int64], colours: Colours | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where very many images have one hash, let one image represent those that are nearly identical to it.

    A bucket of n images has n² / 2 pairs: without this, a set with 100,000 blank images would never end.

    Args:
        blocks: (N, k, k).
        hashes: (N,).
        places: (n,) positions of the images to pair, the best ones first.
        colours: Of the images; None does not look at them.

    Returns:
        The positions that remain, in order, and for each of ``places`` the one that represents it (mostly itself).
    """
    represented_by = places.copy()
    buckets = _Buckets.of(hashes, places)
    where = np.empty(len(blocks), np.int64)
    where[places] = np.arange(len(places))
    for number in np.flatnonzero(buckets.sizes > _LARGE_BUCKET):
        left = buckets.places[buckets.starts[number] : buckets.starts[number + 1]]
        while len(left):
            head = np.full(len(left), left[0])
            unturned = np.zeros(len(left), np.uint8)
            same = similarities(blocks, head, left, unturned) >= _SAME
            if colours is not None:
                same[same] = colours.agree(head[same], left[same], unturned[same])
            same[0] = True  # rounding must not keep the head from leaving the loop
            represented_by[where[left[same]]] = left[0]
            left = left[~same]
    return places[represented_by == places], represented_by


def find_pairs(
    blocks: Blocks,
    thresholds: NDArray[np.float32],
    places: NDArray[np.int64],
    *,
    hashes: Hashes,
    distance: int,
    min_similarity: float,
    turns: bool,
    side: NDArray[np.bool_] | None = None,
    colours: Colours | None = None,
    n_jobs: int = 1,
) -> Pairs:
    """Find the pairs of images within a distance of each other whose blocks agree.

    Args:
        blocks: (N, k, k).
        thresholds: (8, 8) that the hashes were made with.
        places: (n,) positions of the images to pair; no two with the same content.
        hashes: (N,) uint64.
        distance: Most bits that may differ.
        min_similarity: Similarity that a pair must reach.
        turns: Search flips and turns, too.
        side: (N,) bool; given, only pairs with one image on each side are searched.
        colours: Of the images; None does not look at them.
        n_jobs: Threads for the search.

    Returns:
        Pairs with first < second, sorted, with the best turn of each pair; the kind is ``RECOLOURED`` or empty.
    """
    buckets = _Buckets.of(hashes, places)
    # images with equal hashes: the search pairs different hashes only
    several = np.flatnonzero(buckets.sizes > 1)
    zeros = np.zeros(len(several), np.uint8)
    found = [_verified(blocks, buckets, several, several, zeros, zeros, min_similarity, side, colours)]

    def as_it_is(first: NDArray[np.int64], second: NDArray[np.int64], bits: NDArray[np.uint8]) -> Pairs:
        unturned = np.zeros(len(bits), np.uint8)
        return _verified(blocks, buckets, first, second, unturned, bits, min_similarity, side, colours)

    found += search(buckets.hashes, distance=distance, n_jobs=n_jobs, take=as_it_is)
    if turns and len(buckets.hashes):
        # turn 6 undoes 5: a pair (a, b) with 6 is found as (b, a) with 5, so 6 is not searched
        searched = np.array([1, 2, 3, 4, 5, 7], np.uint8)
        heads = buckets.firsts()
        variants = np.concatenate([_turned_bits(blocks, heads, int(turn), thresholds) for turn in searched])

        def with_turn(variant: NDArray[np.int64], first: NDArray[np.int64], bits: NDArray[np.uint8]) -> Pairs:
            number, second = np.divmod(variant, len(heads))
            turn = searched[number]
            swap = (turn == 5) & (first > second)
            first, second = np.where(swap, second, first), np.where(swap, first, second)
            turn = np.where(swap, np.uint8(INVERSE[5]), turn)
            # every pair of buckets comes in both orders: one is enough
            new = (first < second) | ((first == second) & (buckets.sizes[first] > 1))
            one, two, turn, bits = first[new], second[new], turn[new], bits[new]
            return _verified(blocks, buckets, one, two, turn, bits, min_similarity, side, colours)

        found += search(variants, buckets.hashes, distance=distance, n_jobs=n_jobs, take=with_turn)
    return _best_turns(found)


def _turned_bits(blocks: Blocks, heads: NDArray[np.int64], turn: int, thresholds: NDArray[np.float32]) -> Hashes:
    made = np.empty(len(heads), np.uint64)
    for start in range(0, len(heads), 1 << 15):
        some = heads[start : start + (1 << 15)]
        made[start : start + len(some)] = to_bits(turned(blocks[some, :8, :8], turn), thresholds)
    return made


def _verified(
    blocks: Blocks,
    buckets: _Buckets,
    one: NDArray[np.int64],
    two: NDArray[np.int64],
    turn: NDArray[np.uint8],
    bits: NDArray[np.uint8],
    min_similarity: float,
    side: NDArray[np.bool_] | None,
    colours: Colours | None,
) -> Pairs:
    """List all pairs of images of paired buckets, keep those that reach the similarity, and compare their colours."""
    sizes = buckets.sizes
    counts = sizes[one] * sizes[two]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    verified = []
    for start in range(0, total, _CANDIDATES):
        # candidates are numbered through: row is the pair of buckets, (upper, lower) the places within the two
        number = np.arange(start, min(total, start + _CANDIDATES))
        row = np.searchsorted(ends, number, side="right")
        upper, lower = np.divmod(number - ends[row] + counts[row], sizes[two[row]])
        first = buckets.places[buckets.starts[one[row]] + upper]
        second = buckets.places[buckets.starts[two[row]] + lower]
        new = first != second if side is None else side[first] != side[second]
        row, first, second = row[new], first[new], second[new]
        similarity = similarities(blocks, first, second, turn[row])
        good = similarity >= min_similarity
        row = row[good]
        verified.append((first[good], second[good], turn[row], similarity[good], bits[row]))
    if not verified:
        return Pairs.none()
    first, second, turn, similarity, bits = (np.concatenate(column) for column in zip(*verified, strict=True))
    kind = np.full(len(first), "", "<U10")
    if colours is not None:
        kind[~colours.agree(first, second, turn)] = RECOLOURED
    swap = first > second
    turn = np.where(swap, np.array(INVERSE, np.uint8)[turn], turn)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    return Pairs(first, second, turn, similarity, bits, kind)


def _best_turns(parts: list[Pairs]) -> Pairs:
    """Join pairs, sorted, and keep the best turn of each."""
    columns = [f.name for f in fields(Pairs) if f.name != "change"]
    pairs = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))
    other_colours = pairs.kind == RECOLOURED
    order = np.lexsort((pairs.turn, -pairs.similarity.round(4), other_colours, pairs.second, pairs.first))
    pairs = pairs[order]
    best = np.ones(len(pairs), bool)
    best[1:] = (pairs.first[1:] != pairs.first[:-1]) | (pairs.second[1:] != pairs.second[:-1])
    return pairs[best]
