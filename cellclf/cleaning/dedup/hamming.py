"""Every pair of 64-bit hashes within a Hamming distance: complete, and without comparing all with all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import OptionError

_PIECE = 1 << 18  # candidate pairs compared at once: bounds the memory
_TAKEN = 1 << 16  # pairs passed to ``take`` at once, about
_LOOKUP, _CANDIDATE, _COMPARE, _TABLE = 6.0, 16.0, 1.3, 1.5  # nanoseconds each, only to choose the cheapest plan

Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Positions in the first list, positions in the second list, differing bits."""
Taken = TypeVar("Taken")


@dataclass(frozen=True)
class HashPairs:
    """Pairs of positions in two lists of hashes.

    Args:
        first: (n,) int64, position in the first list.
        second: (n,) int64, position in the second list.
        distance: (n,) uint8, differing bits.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class _Part:
    """Some neighbouring bits of a hash, looked up exactly or with up to ``radius`` of them changed."""

    shift: int
    width: int
    radius: int

    def of(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return ((hashes >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)).astype(np.int64)

    def masks(self) -> list[int]:
        """Every change of at most ``radius`` bits."""
        return [
            sum(1 << bit for bit in bits)
            for count in range(self.radius + 1)
            for bits in itertools.combinations(range(self.width), count)
        ]


def near_pairs(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64] | None = None,
    *,
    distance: int,
    n_jobs: int = 1,
) -> HashPairs:
    """Find all pairs that differ in at most ``distance`` bits.

    Args:
        hashes: (N,) uint64. Leave only one of equal ones: n equal hashes make n² / 2 pairs.
        others: (M,) uint64; None searches pairs within ``hashes``, each once.
        distance: Most bits that may differ, 0-64.
        n_jobs: Threads.

    Returns:
        The pairs sorted by first, then second; within one list first < second.

    Raises:
        OptionError: The distance is not a whole number from 0 to 64.

    Examples:
        >>> found = near_pairs(np.array([0, 1, 0xFF], np.uint64), distance=1)
        >>> found.first, found.second, found.distance
        (array([0]), array([1]), array([1], dtype=uint8))
    """
    none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8))
    found = [none, *search(hashes, others, distance=distance, n_jobs=n_jobs, take=lambda *pairs: pairs)]
    first, second, bits = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(first * len(hashes if others is None else others) + second)
    return HashPairs(first[order], second[order], bits[order])


def search(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64] | None = None,
    *,
    distance: int,
    n_jobs: int = 1,
    take: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]], Taken],
) -> list[Taken]:
    """Find all pairs that differ in at most ``distance`` bits, and pass them to ``take`` as they are found.

    The hash is split into parts. If two hashes differ in few bits, they differ in very few in at least one part: so
    it is enough to look each part up in a table, with few of its bits changed. The number of parts, or comparing all
    with all, is chosen by the estimated cost on these hashes; every choice finds the same pairs.

    Args:
        hashes: (N,) uint64.
        others: (M,) uint64; None searches pairs within ``hashes``, each once.
        distance: Most bits that may differ, 0-64.
        n_jobs: Threads.
        take: Gets positions, positions and distances of some pairs, in no order, in the thread that found them. There
            can be a hundred million of them: only what it returns is kept.

    Returns:
        What ``take`` returned.

    Raises:
        OptionError: The distance is not a whole number from 0 to 64.

    Examples:
        >>> search(np.array([0, 1, 0xFF], np.uint64), distance=7, take=lambda *pairs: len(pairs[0]))
        [2]

    Source: Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index hashing"; Qin et al. 2018,
    "GPH: similarity search in Hamming space" (the general pigeonhole).
    """
    if not isinstance(distance, int | np.integer) or not 0 <= distance <= 64:
        raise OptionError(f"the distance is {distance!r}; expected a whole number of bits from 0 to 64")
    within = others is None
    stored = hashes if others is None else others
    if not len(hashes) or not len(stored):
        return []
    parts = _cheapest(len(hashes), stored, int(distance))
    if parts:
        return _looked_up(hashes, stored, int(distance), parts, within, n_jobs, take)
    return _compared(hashes, stored, int(distance), within, n_jobs, take)


def _plans(distance: int) -> list[list[_Part]]:
    """Give ways to split 64 bits into parts such that every pair within the distance is found in one of them.

    The general pigeonhole: a pair that is found in no part k differs there in radius_k + 1 bits or more, so in all of
    them in sum(radius_k + 1) bits or more. With radii that sum to distance - parts + 1, this is distance + 1.
    """
    plans = []
    for count in sorted({3, 4, 5, 6, 7, 8, min(max(distance + 1, 3), 10)}):
        slack = distance - count + 1
        edges = [round(k * 64 / count) for k in range(count + 1)]
        radii = [slack // count + (k < slack % count) for k in range(count)]  # -1: this part need not be looked up
        plans.append([_Part(edges[k], edges[k + 1] - edges[k], radii[k]) for k in range(count) if radii[k] >= 0])
    return plans


def _cheapest(count: int, stored: NDArray[np.uint64], distance: int) -> list[_Part]:
    """Choose the plan with the least estimated cost; [] compares all with all."""
    # skewed hashes fill few buckets, which makes lookups dear: a sample shows how they are spread
    sample = stored[:: max(1, len(stored) // 4096)]
    best: list[_Part] = []
    least = count * len(stored) * _COMPARE
    for parts in _plans(distance):
        lookups = sum(math.comb(p.width, k) for p in parts for k in range(p.radius + 1))
        cost = sum(_TABLE * (1 << p.width) + 2 * _CANDIDATE * (len(stored) + count) for p in parts)
        cost += count * lookups * _LOOKUP
        if cost >= least:
            continue
        for part in parts:  # candidates: pairs in one bucket (by chance or by skew), for each changed key
            ball = sum(math.comb(part.width, k) for k in range(part.radius + 1))
            sizes = np.unique(part.of(sample), return_counts=True)[1].astype(float)
            chance = (sizes * (sizes - 1)).sum() / max(1, len(sample) * (len(sample) - 1))
            cost += count * len(stored) * max(chance, 0.5**part.width) * ball * _CANDIDATE
        if cost < least:
            best, least = parts, cost
    return best


def _looked_up(
    hashes: NDArray[np.uint64],
    stored: NDArray[np.uint64],
    distance: int,
    parts: list[_Part],
    within: bool,
    n_jobs: int,
    take: Callable[..., Taken],
) -> list[Taken]:
    import joblib

    made: list[Taken] = []
    for place, part in enumerate(parts):
        # the table: stored hashes sorted by this part; those with key k are order[starts[k]:starts[k + 1]]
        keys = part.of(stored)
        order = np.argsort(keys, kind="stable")
        starts = np.zeros((1 << part.width) + 1, np.int32)
        np.cumsum(np.bincount(keys, minlength=1 << part.width), out=starts[1:])
        queries = part.of(hashes)
        # queries in the order of their keys: neighbouring lookups then read neighbouring memory
        query_order = order if within else np.argsort(queries, kind="stable")
        slices = np.array_split(query_order, max(1, min(n_jobs, len(query_order) // 1024)))
        tables = (order, stored[order], starts)
        made += itertools.chain.from_iterable(
            joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
                joblib.delayed(_collected)(
                    _look_up(hashes, queries[some], some, tables, distance, parts, place, within), take
                )
                for some in slices
            )
        )
    return made


def _collected(pairs: Iterator[Found], take: Callable[..., Taken]) -> list[Taken]:
    """Pass pairs to ``take`` some thousands at a time: single ones would cost more in calls than in work."""
    made, waiting, count = [], [], 0
    for some in pairs:
        waiting.append(some)
        count += len(some[0])
        if count >= _TAKEN:
            made.append(take(*map(np.concatenate, zip(*waiting, strict=True))))
            waiting, count = [], 0
    if count:
        made.append(take(*map(np.concatenate, zip(*waiting, strict=True))))
    return made


def _look_up(
    hashes: NDArray[np.uint64],
    keys: NDArray[np.int64],
    query_places: NDArray[np.int64],
    tables: tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int32]],
    distance: int,
    parts: list[_Part],
    place: int,
    within: bool,
) -> Iterator[Found]:
    """Find the pairs that show in one part and in no earlier part, so that each pair comes once."""
    order, stored, starts = tables
    queries = hashes[query_places]
    for mask in parts[place].masks():
        # all queries with these bits of their keys changed: the buckets low:high hold their candidates
        changed = keys ^ mask
        low, high = starts[changed], starts[changed + 1]
        hit = np.flatnonzero(high > low)
        low, sizes = low[hit], (high[hit] - low[hit])
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, np.arange(_PIECE, ends[-1] if len(ends) else 0, _PIECE))
        for some in np.split(np.arange(len(hit)), cuts):
            total = int(sizes[some].sum())
            if not total:
                continue
            # one line for each candidate: row is the query, column walks from low to high of its bucket
            row = np.repeat(hit[some], sizes[some])
            column = np.arange(total) + np.repeat(low[some] - np.cumsum(sizes[some]) + sizes[some], sizes[some])
            differ = queries[row] ^ stored[column]
            bits = np.bitwise_count(differ)
            near = np.flatnonzero(bits <= distance)
            first, second = query_places[row[near]], order[column[near]]
            new = first < second if within else np.ones(len(near), bool)
            for earlier in parts[:place]:
                new &= np.bitwise_count(earlier.of(differ[near])) > earlier.radius
            yield first[new], second[new], bits[near[new]]


def _compared(
    hashes: NDArray[np.uint64],
    stored: NDArray[np.uint64],
    distance: int,
    within: bool,
    n_jobs: int,
    take: Callable[..., Taken],
) -> list[Taken]:
    import joblib

    # eight tasks a thread: within one list, early rows have more to compare than late ones
    rows = np.array_split(np.arange(len(hashes)), max(1, min(8 * n_jobs, len(hashes) // 64)))
    parts = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
        joblib.delayed(_collected)(_compare(hashes, stored, some, distance, within), take) for some in rows
    )
    return list(itertools.chain.from_iterable(parts))


def _compare(
    hashes: NDArray[np.uint64],
    stored: NDArray[np.uint64],
    rows: NDArray[np.int64],
    distance: int,
    within: bool,
) -> Iterator[Found]:
    """Compare some hashes with all, in blocks that stay in a core's cache."""
    high, wide = 16, 4096  # 16 x 4096 words of 8 bytes: half a megabyte
    for top in range(0, len(rows), high):
        some = rows[top : top + high]
        for left in range(int(some[0]) + 1 if within else 0, len(stored), wide):
            bits = np.bitwise_count(hashes[some, None] ^ stored[None, left : left + wide])
            row, column = np.divmod(np.flatnonzero(bits.ravel() <= distance), bits.shape[1])
            if not len(row):
                continue
            first, second = some[row], column + left
            new = first < second if within else np.ones(len(row), bool)
            yield first[new], second[new], bits[row[new], column[new]]
