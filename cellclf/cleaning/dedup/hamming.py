"""Every pair of 64-bit hashes within a distance: complete, and without comparing all with all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import OptionError

_PIECE = 1 << 18  # candidate pairs looked at in one go: bounds the memory
_TAKEN = 1 << 16  # pairs handed over in one go, about
_LOOKUP, _CANDIDATE, _COMPARE, _TABLE = 6.0, 16.0, 1.3, 1.5  # nanoseconds, to choose the cheapest plan only


Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Places in the first list, places in the second list, differing bits."""
Taken = TypeVar("Taken")


@dataclass(frozen=True)
class HashPairs:
    """Pairs of places in two lists of hashes.

    Args:
        first: (n,) int64, place in the first list.
        second: (n,) int64, place in the second list.
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
        hashes: (N,) uint64. Collapse equal ones first: each pairs with each.
        others: (M,) uint64; None looks for pairs within ``hashes``, each once.
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
    first, second, apart = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(first * len(hashes if others is None else others) + second)
    return HashPairs(first[order], second[order], apart[order])


def search(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64] | None = None,
    *,
    distance: int,
    n_jobs: int = 1,
    take: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]], Taken],
) -> list[Taken]:
    """Find all pairs that differ in at most ``distance`` bits, and hand them over as they are found.

    The hash is cut into parts. If two hashes differ in few bits, they differ in very few in at least one part: so it
    is enough to look each part up in a table, with few of its bits changed. How many parts, or whether to compare
    all with all, is chosen by the cost on these very hashes; every choice finds the same pairs.

    Args:
        hashes: (N,) uint64.
        others: (M,) uint64; None looks for pairs within ``hashes``, each once.
        distance: Most bits that may differ, 0-64.
        n_jobs: Threads.
        take: Gets places, places and distances of some pairs, in no order, in the thread that found them. There can
            be a hundred million of them: what it does not return is forgotten.

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
    """Cuts of 64 bits in which every pair within the distance shows: radii sum to distance - parts + 1."""
    plans = []
    for count in sorted({3, 4, 5, 6, 7, 8, min(max(distance + 1, 3), 10)}):
        slack = distance - count + 1
        edges = [round(k * 64 / count) for k in range(count + 1)]
        radii = [slack // count + (k < slack % count) for k in range(count)]  # -1: need not be looked up
        plans.append([_Part(edges[k], edges[k + 1] - edges[k], radii[k]) for k in range(count) if radii[k] >= 0])
    return plans


def _cheapest(count: int, stored: NDArray[np.uint64], distance: int) -> list[_Part]:
    """Choose the plan that costs least, or none: [] compares all with all."""
    sample = stored[:: max(1, len(stored) // 4096)]
    best: list[_Part] = []
    least = count * len(stored) * _COMPARE
    for parts in _plans(distance):
        lookups = sum(math.comb(p.width, k) for p in parts for k in range(p.radius + 1))
        cost = sum(_TABLE * (1 << p.width) + 2 * _CANDIDATE * (len(stored) + count) for p in parts)
        cost += count * lookups * _LOOKUP
        if cost >= least:
            continue
        for part in parts:
            ball = sum(math.comb(part.width, k) for k in range(part.radius + 1))
            alike = np.unique(part.of(sample), return_counts=True)[1].astype(float)
            chance = (alike * (alike - 1)).sum() / max(1, len(sample) * (len(sample) - 1))
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
        keys = part.of(stored)
        order = np.argsort(keys, kind="stable")
        starts = np.zeros((1 << part.width) + 1, np.int32)
        np.cumsum(np.bincount(keys, minlength=1 << part.width), out=starts[1:])
        wanted = part.of(hashes)
        asked = order if within else np.argsort(wanted, kind="stable")
        slices = np.array_split(asked, max(1, min(n_jobs, len(asked) // 1024)))
        tables = (order, stored[order], starts)
        made += itertools.chain.from_iterable(
            joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
                joblib.delayed(_handed)(
                    _look_up(hashes, wanted[some], some, tables, distance, parts, place, within), take
                )
                for some in slices
            )
        )
    return made


def _handed(pairs: Iterator[Found], take: Callable[..., Taken]) -> list[Taken]:
    """Collect pairs until they are worth handing over."""
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
    asked: NDArray[np.int64],
    tables: tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int32]],
    distance: int,
    parts: list[_Part],
    place: int,
    within: bool,
) -> Iterator[Found]:
    """Find the pairs that show in one part, and in none before it, so that each pair comes once."""
    order, stored, starts = tables
    queries = hashes[asked]
    for mask in parts[place].masks():
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
            row = np.repeat(hit[some], sizes[some])
            column = np.arange(total) + np.repeat(low[some] - np.cumsum(sizes[some]) + sizes[some], sizes[some])
            differ = queries[row] ^ stored[column]
            apart = np.bitwise_count(differ)
            near = np.flatnonzero(apart <= distance)
            first, second = asked[row[near]], order[column[near]]
            new = first < second if within else np.ones(len(near), bool)
            for before in parts[:place]:
                shown = np.bitwise_count(before.of(differ[near])) <= before.radius
                new &= ~shown
            yield first[new], second[new], apart[near[new]]


def _compared(
    hashes: NDArray[np.uint64],
    stored: NDArray[np.uint64],
    distance: int,
    within: bool,
    n_jobs: int,
    take: Callable[..., Taken],
) -> list[Taken]:
    import joblib

    rows = np.array_split(np.arange(len(hashes)), max(1, min(8 * n_jobs, len(hashes) // 64)))
    parts = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
        joblib.delayed(_handed)(_compare(hashes, stored, some, distance, within), take) for some in rows
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
    high, wide = 16, 4096
    for top in range(0, len(rows), high):
        some = rows[top : top + high]
        for left in range(int(some[0]) + 1 if within else 0, len(stored), wide):
            apart = np.bitwise_count(hashes[some, None] ^ stored[None, left : left + wide])
            row, column = np.divmod(np.flatnonzero(apart.ravel() <= distance), apart.shape[1])
            if not len(row):
                continue
            first, second = some[row], column + left
            new = first < second if within else np.ones(len(row), bool)
            yield first[new], second[new], apart[row[new], column[new]]
