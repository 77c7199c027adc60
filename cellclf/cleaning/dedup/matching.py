"""From fingerprints to who is a copy of whom: contents, links of every kind, and keepers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import Fingerprints
from cellclf.cleaning.dedup.hamming import near_pairs
from cellclf.cleaning.dedup.hashes import INVERSE, Blocks, Hashes, calibrate, to_bits
from cellclf.cleaning.dedup.verify import Links, find_links, similarities, thin_crowds

ALIKE = 0.03
"""So far below the similarity of copies, pairs are still reported as looking alike."""


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
        keeper: (N,) place of the keeper; its own place for keepers and for what has no copy.
        how: (N,) links: ``first`` is the keeper and ``second`` the image.
        near: Links between keepers that look alike and are not copies.
    """

    keeper: NDArray[np.int64]
    how: Links
    near: Links


def kind_of(turn: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Name the kind of copies that were found by the whole image."""
    return np.where(turn == 0, "re-encoded", "turned").astype("<U10")


def calibrated(blocks: Blocks, flat: NDArray[np.bool_]) -> tuple[NDArray[np.float32], Hashes]:
    """Find the thresholds for these blocks and the bits; flat images all get the same."""
    cut = calibrate(blocks)
    return cut, bits_of(blocks, cut, flat)


def bits_of(blocks: Blocks, cut: NDArray[np.float32], flat: NDArray[np.bool_]) -> Hashes:
    """Give the bits of blocks under known thresholds; flat images all get the same."""
    return np.where(flat, np.uint64(0), to_bits(blocks, cut))


def best_of(labels: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give for each image the place of the best-ranked one with the same number."""
    order = np.argsort(rank, kind="stable")
    _, first, which = np.unique(labels[order], return_index=True, return_inverse=True)
    best = np.empty(len(labels), np.int64)
    best[order] = order[first[which]]
    return best


def link_images(
    prints: Fingerprints,
    hashes: Hashes,
    cut: NDArray[np.float32],
    places: NDArray[np.int64],
    rules: Rules,
    side: NDArray[np.bool_] | None = None,
) -> Links:
    """Link images of different content by their blocks: copies and pairs that only look alike."""
    links = find_links(
        prints.blocks,
        cut,
        places,
        hashes=hashes,
        distance=rules.distance,
        least=rules.similarity - ALIKE,
        turns=rules.turns,
        side=side,
        n_jobs=rules.n_jobs,
    )
    kinds = np.where(links.similarity >= rules.similarity, kind_of(links.turn), "alike").astype("<U10")
    return Links(links.first, links.second, links.turn, links.similarity, links.distance, kinds)


def copies_by_blocks(
    prints: Fingerprints,
    content: NDArray[np.int64],
    rank: NDArray[np.int64],
    rules: Rules | None,
    *,
    hashes: Hashes,
    cut: NDArray[np.float32],
    more: Links | None = None,
) -> Copies:
    """Find each image's keeper: identical ones first, then by the blocks.

    Args:
        prints: Of all images.
        content: (N,) equal numbers for equal images.
        rank: (N,) the lower the better.
        rules: None stops after the identical ones.
        hashes: (N,) the images' bits.
        cut: (8, 8) the thresholds that made them.
        more: Further links (of the centres), between any images.
    """
    best = best_of(content, rank)
    if rules is None:
        return _settled(best, np.arange(len(best)), Links.none(), Links.none(), content)
    places = np.flatnonzero(best == np.arange(len(best)))
    places = places[np.argsort(rank[places])]
    lasting, stands = thin_crowds(prints.blocks, hashes, places)
    found = link_images(prints, hashes, cut, lasting, rules)
    alike = found.kind == "alike"
    links, near = found[~alike], found[alike]
    if more is not None:
        links = Links.joined([links, more])
    tied = stars(len(best), links, rank)
    keeper = np.arange(len(best))
    member = np.flatnonzero(tied >= 0)
    how = links[tied[member]]
    how = _oriented(how, how.second == member)
    keeper[member] = how.first
    # those that another stood for follow it only as far as they look like its keeper themselves
    stood = places[stands != places]
    lead = stands[stands != places]
    turn = np.zeros(len(best), np.uint8)
    turn[member] = how.turn
    like = similarities(prints.blocks, keeper[lead], stood, turn[lead])
    good = like >= rules.similarity
    stood, lead, like = stood[good], lead[good], like[good]
    keeper[stood] = keeper[lead]
    apart = np.zeros(len(stood), np.uint8)
    how = Links.joined([how, Links(keeper[stood], stood, turn[lead], like, apart, kind_of(turn[lead]))])
    return _settled(best, keeper, how, near, content)


def _oriented(links: Links, right: NDArray[np.bool_]) -> Links:
    """Swap the two images of each link that is not the right way round."""
    back = np.array(INVERSE, np.uint8)[links.turn]
    return Links(
        np.where(right, links.first, links.second),
        np.where(right, links.second, links.first),
        np.where(right, links.turn, back),
        links.similarity,
        links.distance,
        links.kind,
    )


def _settled(
    best: NDArray[np.int64], keeper: NDArray[np.int64], how: Links, near: Links, content: NDArray[np.int64]
) -> Copies:
    """Let identical images follow the best of them."""
    count = len(best)
    where = np.full(count, -1, np.int64)
    where[how.second] = np.arange(len(how))
    final = keeper[best]
    twins = np.flatnonzero(best != np.arange(count))
    same = final[twins] == best[twins]
    plain, passed = twins[same], twins[~same]
    zeros, ones = np.zeros(len(plain), np.uint8), np.ones(len(plain), np.float32)
    identical = Links(final[plain], plain, zeros, ones, zeros, np.full(len(plain), "identical", "<U10"))
    handed = how[where[best[passed]]]
    handed = Links(handed.first, passed, handed.turn, handed.similarity, handed.distance, handed.kind)
    first, second = final[near.first], final[near.second]
    between = Links(first, second, near.turn, near.similarity, near.distance, near.kind)
    between = between[first != second]
    swap = between.first < between.second
    return Copies(final, Links.joined([how, identical, handed]), Links.joined([_oriented(between, swap)]))


def copies_by_hash(hashes: Hashes, rank: NDArray[np.int64], distance: int, kind: str, n_jobs: int) -> Copies:
    """Find each image's keeper by nothing but a distance between hashes, as imagehash's users do."""
    _, number = np.unique(hashes, return_inverse=True)
    best = best_of(number.astype(np.int64), rank)
    places = np.flatnonzero(best == np.arange(len(best)))
    found = near_pairs(hashes[places], distance=distance, n_jobs=n_jobs)
    links = Links(
        places[found.first],
        places[found.second],
        np.zeros(len(found), np.uint8),
        (1 - found.distance / 64).astype(np.float32),
        found.distance,
        np.full(len(found), kind, "<U10"),
    )
    tied = stars(len(hashes), links, rank)
    keeper = np.arange(len(hashes))
    member = np.flatnonzero(tied >= 0)
    how = links[tied[member]]
    how = _oriented(how, how.second == member)
    keeper[member] = how.first
    settled = _settled(best, keeper, how, Links.none(), number.astype(np.int64))
    kinds = np.full(len(settled.how), kind, "<U10")
    how = settled.how
    named = Links(how.first, how.second, how.turn, how.similarity, how.distance, kinds)
    return Copies(settled.keeper, named, settled.near)


def leaks_by_blocks(
    prints: Fingerprints,
    content: NDArray[np.int64],
    side: NDArray[np.bool_],
    rules: Rules | None,
    *,
    hashes: Hashes,
    cut: NDArray[np.float32],
    more: Links | None = None,
) -> Links:
    """Link the images of one set with their copies in another.

    Of many copies on both sides not every pair is listed: each image is paired with the first one on the other
    side, in both directions.

    Args:
        prints: Of both sets, one after the other.
        content: (N,) equal numbers for equal images.
        side: (N,) bool, False for the first set.
        rules: None stops after the identical ones.
        hashes: (N,) the images' bits.
        cut: (8, 8) the thresholds that made them.
        more: Further links (of the centres) across the two sets.
    """
    count = len(content)
    number = np.arange(count)
    best = best_of(content * 2 + side, number)
    places = np.flatnonzero(best == number)
    stands = number.copy()
    if rules is None:
        found = Links.none()
    else:
        lasting = []
        for here in (places[~side[places]], places[side[places]]):
            left, lead = thin_crowds(prints.blocks, hashes, here)
            stands[here] = lead
            lasting.append(left)
        found = link_images(prints, hashes, cut, np.concatenate(lasting), rules, side)
        if more is not None:
            found = Links.joined([found[found.kind != "alike"], more, found])
    stands = stands[best]
    shared = _across(content, side)
    links = _expanded(found, stands, side)
    thinned = (stands[links.first] != best[links.first]) | (stands[links.second] != best[links.second])
    if rules is not None and thinned.any():
        like = similarities(prints.blocks, links.first[thinned], links.second[thinned], links.turn[thinned])
        kept = np.ones(len(links), bool)
        kept[np.flatnonzero(thinned)[like < rules.similarity]] = False
        links = links[kept]
    return Links.joined([shared, links])


def _across(content: NDArray[np.int64], side: NDArray[np.bool_]) -> Links:
    """Pair each image with the first one of the same content on the other side."""
    number = np.arange(len(content))
    pairs = []
    for one in (False, True):
        other = number[side != one]
        values, first = np.unique(content[other], return_index=True)
        here = number[side == one]
        if not len(values) or not len(here):
            continue
        at = np.minimum(np.searchsorted(values, content[here]), len(values) - 1)
        hit = values[at] == content[here]
        pairs.append((here[hit], other[first[at[hit]]]))
    if not pairs:
        return Links.none()
    one_, two_ = (np.concatenate(column) for column in zip(*pairs, strict=True))
    first_, second_ = np.minimum(one_, two_), np.maximum(one_, two_)
    zeros, ones = np.zeros(len(first_), np.uint8), np.ones(len(first_), np.float32)
    return Links.joined([Links(first_, second_, zeros, ones, zeros, np.full(len(first_), "identical", "<U10"))])


def _expanded(links: Links, stands: NDArray[np.int64], side: NDArray[np.bool_]) -> Links:
    """Pass each link on to all whom its two images stand for: all of one end with the head of the other."""
    order = np.argsort(stands, kind="stable")
    heads = stands[order]
    parts = [links]
    for end in (links.first, links.second):
        low, high = np.searchsorted(heads, end), np.searchsorted(heads, end, side="right")
        which = np.repeat(np.arange(len(links)), high - low)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        member = order[low[which] + offset]
        some = links[which]
        first = member if end is links.first else some.first
        second = some.second if end is links.first else member
        parts.append(Links(first, second, some.turn, some.similarity, some.distance, some.kind))
    return Links.joined(parts)


def stars(count: int, links: Links, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose keepers, best rank first, and give each other image to the most similar keeper of better rank.

    An image is a keeper unless it is linked to a keeper of better rank. So A~B~C with A unlike C makes, with B best,
    the group A, B, C, and with A best the group A, B and C alone.

    Args:
        count: Number of images.
        links: Between their places.
        rank: (count,) the lower the better; no two alike.

    Returns:
        (count,) for each image the place in ``links`` that ties it to its keeper; -1 for keepers.

    Examples:
        >>> one = np.zeros(2, np.uint8)
        >>> chain = Links(
        ...     np.array([0, 1]), np.array([1, 2]), one, np.ones(2, np.float32), one, np.array(["", ""])
        ... )
        >>> stars(3, chain, np.array([0, 1, 2]))
        array([-1,  0, -1])
        >>> stars(3, chain, np.array([1, 0, 2]))
        array([ 0, -1,  1])
    """
    tied = np.full(count, -1, np.int64)
    if not len(links):
        return tied
    swap = rank[links.first] > rank[links.second]
    better = np.where(swap, links.second, links.first)
    worse = np.where(swap, links.first, links.second)
    order = np.argsort(rank[worse], kind="stable")
    keeper = np.ones(count, bool)
    # by rank of the worse one: when a link is reached, it is settled whether its better one is a keeper
    for above, below in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        if keeper[above]:
            keeper[below] = False
    usable = np.flatnonzero(keeper[better] & ~keeper[worse])
    # the most similar keeper last, so that it is the one that stays written
    usable = usable[np.lexsort((-rank[better[usable]], links.similarity[usable].round(4)))]
    tied[worse[usable]] = usable
    return tied
