"""From fingerprints to copies: pairs of every kind, and for each image the keeper that it is a copy of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import Fingerprints, energies
from cellclf.cleaning.dedup.hamming import near_pairs
from cellclf.cleaning.dedup.hashes import INVERSE, Blocks, Hashes, calibrate, to_bits
from cellclf.cleaning.dedup.verify import RECOLOURED, Pairs, find_pairs, similarities, thin_buckets

if TYPE_CHECKING:
    from cellclf.cleaning.dedup.colours import Colours

NEAR_MARGIN = 0.03
"""Pairs that are less similar than copies, by up to this margin, are reported as near."""


@dataclass(frozen=True)
class Rules:
    """What counts as a copy; see ``Dedup`` for each."""

    distance: int
    similarity: float
    turns: bool
    n_jobs: int


@dataclass(frozen=True)
class Copies:
    """For each image the keeper that it is a copy of, and how.

    Args:
        keeper: (N,) position of the keeper; its own position for keepers and for images without a copy.
        pairs: Each copy with its keeper: ``first`` is the keeper and ``second`` the copy.
        near: Pairs of keepers that look alike and are not copies.
    """

    keeper: NDArray[np.int64]
    pairs: Pairs
    near: Pairs


def kind_of(turn: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Name the kind of copies that were found by their whole images."""
    return np.where(turn == 0, "re-encoded", "turned").astype("<U10")


def calibrated(blocks: Blocks, flat: NDArray[np.bool_]) -> tuple[NDArray[np.float32], Hashes]:
    """Find the thresholds for these blocks, and the bits; all flat images get the same bits."""
    thresholds = calibrate(blocks)
    return thresholds, bits_of(blocks, thresholds, flat)


def bits_of(blocks: Blocks, thresholds: NDArray[np.float32], flat: NDArray[np.bool_]) -> Hashes:
    """Give the bits of blocks under known thresholds; all flat images get the same bits."""
    return np.where(flat, np.uint64(0), to_bits(blocks, thresholds))


def best_of(numbers: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give for each image the position of the best-ranked one with the same number."""
    order = np.argsort(rank, kind="stable")
    _, first, which = np.unique(numbers[order], return_index=True, return_inverse=True)
    best = np.empty(len(numbers), np.int64)
    best[order] = order[first[which]]
    return best


def pair_images(
    prints: Fingerprints,
    hashes: Hashes,
    thresholds: NDArray[np.float32],
    places: NDArray[np.int64],
    rules: Rules,
    side: NDArray[np.bool_] | None = None,
    colours: Colours | None = None,
) -> Pairs:
    """Pair images of different content by their blocks: copies, and near ones that only look alike.

    One shape in two colours (stains, channels of one field shown in false colours) is near; of flat images, which have
    no shape, nothing is left then.
    """
    found = find_pairs(
        prints.blocks,
        thresholds,
        places,
        hashes=hashes,
        distance=rules.distance,
        min_similarity=rules.similarity - NEAR_MARGIN,
        turns=rules.turns,
        side=side,
        colours=colours,
        n_jobs=rules.n_jobs,
    )
    alike, other_colours = found.similarity >= rules.similarity, found.kind == RECOLOURED
    shaped = np.ones(len(found), bool)
    shaped[other_colours] = ~energies(prints.blocks[found.first[other_colours]])[1]
    wanted = ~other_colours | (alike & shaped)
    kinds = np.where(alike & ~other_colours, kind_of(found.turn), "near").astype("<U10")[wanted]
    found = found[wanted]
    return Pairs(found.first, found.second, found.turn, found.similarity, found.distance, kinds)


def copies_by_blocks(
    prints: Fingerprints,
    content: NDArray[np.int64],
    rank: NDArray[np.int64],
    rules: Rules | None,
    *,
    hashes: Hashes,
    thresholds: NDArray[np.float32],
    more: Pairs | None = None,
    colours: Colours | None = None,
) -> Copies:
    """Find each image's keeper: identical ones first, then by the blocks.

    Args:
        prints: Of all images.
        content: (N,) equal numbers for equal images.
        rank: (N,) lower is better.
        rules: None finds identical ones only.
        hashes: (N,) the images' bits.
        thresholds: (8, 8) that the hashes were made with.
        more: Further pairs (of the centres), of any images.
        colours: Of the images; None does not look at them.
    """
    best = best_of(content, rank)
    if rules is None:
        return _with_identical(best, np.arange(len(best)), Pairs.none(), Pairs.none())
    places = np.flatnonzero(best == np.arange(len(best)))
    places = places[np.argsort(rank[places])]
    remaining, represented_by = thin_buckets(prints.blocks, hashes, places, colours)
    found = pair_images(prints, hashes, thresholds, remaining, rules, colours=colours)
    is_near = found.kind == "near"
    copies, near = found[~is_near], found[is_near]
    if more is not None:
        copies = Pairs.joined([copies, more])
    keeper, pairs = keepers_of(len(best), copies, rank)
    # thinned images follow their representative only if they themselves are similar to its keeper
    thinned = places[represented_by != places]
    head = represented_by[represented_by != places]
    turn = np.zeros(len(best), np.uint8)
    turn[pairs.second] = pairs.turn
    similarity = similarities(prints.blocks, keeper[head], thinned, turn[head])
    good = similarity >= rules.similarity
    if colours is not None:
        good[good] = colours.agree(keeper[head[good]], thinned[good], turn[head[good]])
    thinned, head, similarity = thinned[good], head[good], similarity[good]
    keeper[thinned] = keeper[head]
    zeros = np.zeros(len(thinned), np.uint8)
    followers = Pairs(keeper[thinned], thinned, turn[head], similarity, zeros, kind_of(turn[head]))
    return _with_identical(best, keeper, Pairs.joined([pairs, followers]), near)


def keepers_of(count: int, copies: Pairs, rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], Pairs]:
    """Give the keeper of each image, and the pairs (keeper, copy)."""
    chosen = choose_keepers(count, copies, rank)
    keeper = np.arange(count)
    member = np.flatnonzero(chosen >= 0)
    pairs = copies[chosen[member]]
    pairs = _oriented(pairs, pairs.second == member)
    keeper[member] = pairs.first
    return keeper, pairs


def _oriented(pairs: Pairs, right: NDArray[np.bool_]) -> Pairs:
    """Swap the two images of each pair that is not in the right order."""
    back = np.array(INVERSE, np.uint8)[pairs.turn]
    return Pairs(
        np.where(right, pairs.first, pairs.second),
        np.where(right, pairs.second, pairs.first),
        np.where(right, pairs.turn, back),
        pairs.similarity,
        pairs.distance,
        pairs.kind,
        pairs.change,
    )


def _with_identical(best: NDArray[np.int64], keeper: NDArray[np.int64], pairs: Pairs, near: Pairs) -> Copies:
    """Add the identical images, which were left out of the search: each follows the best one of its content."""
    count = len(best)
    pair_of = np.full(count, -1, np.int64)
    pair_of[pairs.second] = np.arange(len(pairs))
    final = keeper[best]
    others = np.flatnonzero(best != np.arange(count))
    best_is_keeper = final[others] == best[others]
    same, inheriting = others[best_is_keeper], others[~best_is_keeper]
    zeros, ones = np.zeros(len(same), np.uint8), np.ones(len(same), np.float32)
    identical = Pairs(final[same], same, zeros, ones, zeros, np.full(len(same), "identical", "<U10"))
    inherited = pairs[pair_of[best[inheriting]]]
    inherited = Pairs(
        inherited.first, inheriting, inherited.turn, inherited.similarity, inherited.distance, inherited.kind
    )
    first, second = final[near.first], final[near.second]
    between = Pairs(first, second, near.turn, near.similarity, near.distance, near.kind)
    between = between[first != second]
    in_order = between.first < between.second
    return Copies(final, Pairs.joined([pairs, identical, inherited]), Pairs.joined([_oriented(between, in_order)]))


def copies_by_hash(hashes: Hashes, rank: NDArray[np.int64], distance: int, kind: str, n_jobs: int) -> Copies:
    """Find each image's keeper by the distance between hashes alone, as users of imagehash do."""
    _, number = np.unique(hashes, return_inverse=True)
    best = best_of(number.astype(np.int64), rank)
    places = np.flatnonzero(best == np.arange(len(best)))
    found = near_pairs(hashes[places], distance=distance, n_jobs=n_jobs)
    pairs = Pairs(
        places[found.first],
        places[found.second],
        np.zeros(len(found), np.uint8),
        (1 - found.distance / 64).astype(np.float32),
        found.distance,
        np.full(len(found), kind, "<U10"),
    )
    keeper, pairs = keepers_of(len(hashes), pairs, rank)
    copies = _with_identical(best, keeper, pairs, Pairs.none())
    pairs = copies.pairs  # equal hashes are no proof of equal images, so all pairs carry the hash's name
    kinds = np.full(len(pairs), kind, "<U10")
    named = Pairs(pairs.first, pairs.second, pairs.turn, pairs.similarity, pairs.distance, kinds)
    return Copies(copies.keeper, named, copies.near)


def leaks_by_blocks(
    prints: Fingerprints,
    content: NDArray[np.int64],
    side: NDArray[np.bool_],
    rules: Rules | None,
    *,
    hashes: Hashes,
    thresholds: NDArray[np.float32],
    more: Pairs | None = None,
    colours: Colours | None = None,
) -> Pairs:
    """Pair the images of one set with their copies in another.

    Of many copies on both sides not every pair is listed: each image is paired with the first one on the other
    side, in both directions.

    Args:
        prints: Of both sets, one after the other.
        content: (N,) equal numbers for equal images.
        side: (N,) bool, False for the first set.
        rules: None finds identical ones only.
        hashes: (N,) the images' bits.
        thresholds: (8, 8) that the hashes were made with.
        more: Further pairs (of the centres) across the two sets.
        colours: Of the images; None does not look at them.
    """
    count = len(content)
    number = np.arange(count)
    best = best_of(content * 2 + side, number)
    places = np.flatnonzero(best == number)
    represented_by = number.copy()
    if rules is None:
        found = Pairs.none()
    else:
        remaining = []
        for here in (places[~side[places]], places[side[places]]):
            left, heads = thin_buckets(prints.blocks, hashes, here, colours)
            represented_by[here] = heads
            remaining.append(left)
        found = pair_images(prints, hashes, thresholds, np.concatenate(remaining), rules, side, colours)
        if more is not None:  # before the near ones: a copy by its centre counts more than a near pair
            found = Pairs.joined([found[found.kind != "near"], more, found])
    represented_by = represented_by[best]
    pairs = expanded(found, represented_by)
    # a pair that was passed on from a representative must be similar itself
    first, second = pairs.first, pairs.second
    passed_on = (represented_by[first] != best[first]) | (represented_by[second] != best[second])
    if rules is not None and passed_on.any():
        similarity = similarities(prints.blocks, first[passed_on], second[passed_on], pairs.turn[passed_on])
        alike = similarity >= rules.similarity
        if colours is not None:
            some = np.flatnonzero(passed_on)[alike]
            alike[alike] = colours.agree(first[some], second[some], pairs.turn[some])
        good = np.ones(len(pairs), bool)
        good[np.flatnonzero(passed_on)[~alike]] = False
        pairs = pairs[good]
    return Pairs.joined([_identical_across(content, side), pairs])


def _identical_across(content: NDArray[np.int64], side: NDArray[np.bool_]) -> Pairs:
    """Pair each image with the first one of the same content on the other side."""
    number = np.arange(len(content))
    found = []
    for one in (False, True):
        other = number[side != one]
        values, first = np.unique(content[other], return_index=True)
        here = number[side == one]
        if not len(values) or not len(here):
            continue
        at = np.minimum(np.searchsorted(values, content[here]), len(values) - 1)
        hit = values[at] == content[here]
        found.append(np.stack([here[hit], other[first[at[hit]]]]))
    if not found:
        return Pairs.none()
    low, high = np.sort(np.concatenate(found, axis=1), axis=0)
    zeros, ones = np.zeros(len(low), np.uint8), np.ones(len(low), np.float32)
    return Pairs.joined([Pairs(low, high, zeros, ones, zeros, np.full(len(low), "identical", "<U10"))])


def expanded(pairs: Pairs, represented_by: NDArray[np.int64]) -> Pairs:
    """Pass each pair on to all images that its two images represent: all of one end with the other end."""
    order = np.argsort(represented_by, kind="stable")
    heads = represented_by[order]
    parts = [pairs]
    for end in (pairs.first, pairs.second):
        # the images that end[k] represents are order[low[k]:high[k]]; which and offset walk through all of them
        low, high = np.searchsorted(heads, end), np.searchsorted(heads, end, side="right")
        which = np.repeat(np.arange(len(pairs)), high - low)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        member = order[low[which] + offset]
        some = pairs[which]
        parts.append(replace(some, first=member) if end is pairs.first else replace(some, second=member))
    return Pairs.joined(parts)


def choose_keepers(count: int, pairs: Pairs, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose keepers, best rank first, and give each other image to the most similar keeper of better rank.

    An image is a keeper unless it is paired with a keeper of better rank, so that every copy is similar to its keeper
    itself (a star, not a chain). A~B~C with A unlike C makes, with B best, the group A, B, C, and with A best the
    group A, B and C alone.

    Args:
        count: Number of images.
        pairs: Of their positions.
        rank: (count,) lower is better; no two are equal.

    Returns:
        (count,) for each image the position in ``pairs`` of the pair with its keeper; -1 for keepers.

    Examples:
        >>> one = np.zeros(2, np.uint8)
        >>> chain = Pairs(
        ...     np.array([0, 1]), np.array([1, 2]), one, np.ones(2, np.float32), one, np.array(["", ""])
        ... )
        >>> choose_keepers(3, chain, np.array([0, 1, 2]))
        array([-1,  0, -1])
        >>> choose_keepers(3, chain, np.array([1, 0, 2]))
        array([ 0, -1,  1])
    """
    chosen = np.full(count, -1, np.int64)
    if not len(pairs):
        return chosen
    swap = rank[pairs.first] > rank[pairs.second]
    better = np.where(swap, pairs.second, pairs.first)
    worse = np.where(swap, pairs.first, pairs.second)
    order = np.argsort(rank[worse], kind="stable")
    keeper = np.ones(count, bool)
    # by rank of the worse one: when a pair is reached, it is known whether its better one is a keeper
    for above, below in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        if keeper[above]:
            keeper[below] = False
    usable = np.flatnonzero(keeper[better] & ~keeper[worse])
    # the most similar keeper last: of several assignments to one image the last one holds
    usable = usable[np.lexsort((-rank[better[usable]], pairs.similarity[usable].round(4)))]
    chosen[worse[usable]] = usable
    return chosen
