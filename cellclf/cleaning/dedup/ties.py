"""Augmented copies among the copies: which images are searched, what was found, and which one is the least altered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.augmented import SEARCHED, AugmentedPairs, augmented_pairs
from cellclf.cleaning.dedup.matching import Copies, expanded, keepers_of
from cellclf.cleaning.dedup.verify import Pairs

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

AUGMENTED = "augmented"
"""Kind of pairs of which one image is an augmented copy of the other."""
ALWAYS = "identical, re-encoded, brightened, flipped and quarter-turned images"
"""What every search with the method "dct" finds."""
_BORDER = 0.2  # share of the outline that smooth ground in a JPEG fills by chance
_WHITE = 0.3  # share of white pixels that a bright field has by itself


def searched(augmented: bool) -> str:
    """Say which copies a search finds, and which it does not.

    Args:
        augmented: It searched for augmented copies, too.
    """
    if augmented:
        return f"{ALWAYS}, and images {SEARCHED}; not those that were changed more, stained or coloured in another way"
    return f"{ALWAYS}; not those that were turned by a few degrees, shifted, zoomed or cropped"


def ties_within(cells: ImageSet, copies: Copies, n_jobs: int | None) -> AugmentedPairs:
    """Find the augmented copies among the images of a set that have no plainer copy.

    Args:
        cells: The set.
        copies: The plainer copies, which are left out: of a crowd each would see nothing but the others.
        n_jobs: Tasks at once.

    Returns:
        Pairs of positions in ``cells``.
    """
    kept = np.flatnonzero(copies.keeper == np.arange(len(cells)))
    found = augmented_pairs(cells.subset(kept), n_jobs=n_jobs)
    return replace(found, first=kept[found.first], second=kept[found.second])


def ties_across(
    cells: ImageSet, against: ImageSet, content: NDArray[np.int64], plainer: Pairs, n_jobs: int | None
) -> Pairs:
    """Find the images of a set that are augmented copies of images of another one.

    Args:
        cells: The one set.
        against: The other one.
        content: (N + M,) equal numbers for equal images of both, one after the other.
        plainer: Pairs that are known: they are not listed again.
        n_jobs: Tasks at once.

    Returns:
        Pairs of the kind "augmented"; ``second`` counts on from the end of ``cells``.
    """
    count = len(cells)
    number = np.arange(len(content))
    side = number >= count
    _, first, same = np.unique(content * 2 + side, return_index=True, return_inverse=True)
    one, two = first[first < count], first[first >= count]
    found = augmented_pairs(cells.subset(one), against.subset(two - count), n_jobs=n_jobs)
    pairs = as_pairs(replace(found, first=one[found.first], second=two[found.second]))
    pairs = expanded(pairs, first[same])
    known = set(zip(plainer.first.tolist(), plainer.second.tolist(), strict=True))
    new = [pair not in known for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    return pairs[np.array(new, bool)]


def as_pairs(found: AugmentedPairs) -> Pairs:
    """Write augmented copies as pairs, with the change in words."""
    zeros = np.zeros(len(found), np.uint8)
    change = np.array(found.changes(), np.str_) if len(found) else np.empty(0, "<U1")
    kind = np.full(len(found), AUGMENTED, "<U10")
    return Pairs(found.first, found.second, zeros, found.similarity, zeros, kind, change)


def tied(copies: Copies, found: AugmentedPairs) -> Copies:
    """Add augmented copies to the pairs that look alike: they are kept, and never split across parts."""
    pairs = as_pairs(found)
    new = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    older = [pair not in new for pair in zip(copies.near.first.tolist(), copies.near.second.tolist(), strict=True)]
    return replace(copies, near=Pairs.joined([copies.near[np.array(older, bool)], pairs]))


def removed(copies: Copies, found: AugmentedPairs, rank: NDArray[np.int64]) -> Copies:
    """Add augmented copies to the copies: of each group, the image of the lowest rank is kept.

    Args:
        copies: The plainer ones.
        found: Pairs of their keepers.
        rank: (N,) lower is better.
    """
    count = len(copies.keeper)
    swap = rank[found.first] > rank[found.second]
    back = inverse(found)
    columns = {name: getattr(found, name).copy() for name in vars(found)}
    for name, values in columns.items():
        values[swap] = getattr(back, name)[swap]
    keeper, pairs = keepers_of(count, as_pairs(AugmentedPairs(**columns)), rank)
    final = keeper[copies.keeper]
    # the copies of an image that is now a copy itself follow it, with what was done to it
    pair_of = np.full(count, -1, np.int64)
    pair_of[pairs.second] = np.arange(len(pairs))
    moved = pair_of[copies.keeper] >= 0
    others = np.flatnonzero(moved & (copies.keeper != np.arange(count)))
    follower = replace(pairs[pair_of[copies.keeper[others]]], second=others)
    stay = copies.pairs[~moved[copies.pairs.second]]
    first, second = final[copies.near.first], final[copies.near.second]
    apart = first != second
    near = replace(copies.near, first=np.minimum(first, second), second=np.maximum(first, second))[apart]
    return Copies(final, Pairs.joined([stay, pairs, follower]), Pairs.joined([near]))


def inverse(found: AugmentedPairs) -> AugmentedPairs:
    """Give the pairs the other way round: what is to be done to the second to give the first."""
    turn = np.where(found.mirrored, found.turn, -found.turn)
    turn = np.where(turn <= -180, turn + 360, turn).astype(np.float32)
    angle = np.deg2rad(turn)
    right, down = found.shift.T
    right = np.where(found.mirrored, -right, right)
    back = np.stack([np.cos(angle) * right - np.sin(angle) * down, np.sin(angle) * right + np.cos(angle) * down], 1)
    shift = (-back / found.zoom[:, None]).astype(np.float32)
    return replace(
        found,
        first=found.second,
        second=found.first,
        turn=turn,
        zoom=(1 / found.zoom).astype(np.float32),
        shift=shift,
        gain=(1 / found.gain).astype(np.float32),
    )


def alteration_rank(cells: ImageSet, found: AugmentedPairs) -> NDArray[np.int64]:
    """Rank images by how little they seem to be altered: (N,) lower is less; ties by position.

    Borders that were filled and white that was cut off give a copy away first; of the others, the one with the most
    detail is the least altered, since every turn, shift and zoom blurs.

    Args:
        cells: The set.
        found: Pairs; images that are in none are ranked by their position.
    """
    some = np.unique(np.concatenate([found.first, found.second]))
    lost, detail = np.zeros(len(cells)), np.zeros(len(cells))
    for places in np.array_split(some, len(some) // 64 + 1):
        if len(places):
            lost[places], detail[places] = _signs(cells.read(places))
    order = np.lexsort((np.arange(len(cells)), -detail.round(2), lost.round(1)))
    rank = np.empty(len(cells), np.int64)
    rank[order] = np.arange(len(cells))
    return rank


def _signs(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the shares of the outline that was filled and of what was cut off at white, and the fine detail."""
    planes = images.astype(np.float32)
    luma = planes.mean(3)
    filled = np.zeros(len(images))
    for edge in (planes, planes[:, ::-1], planes.swapaxes(1, 2), planes.swapaxes(1, 2)[:, ::-1]):
        # three lines of pixels that repeat each other: a border of one colour, or an edge that was drawn out
        repeated = (edge[:, 0] == edge[:, 1]).all(2) & (edge[:, 1] == edge[:, 2]).all(2)
        filled += repeated.mean(1) / 4
    inner = luma[:, 1:-1, 1:-1]
    bend = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * inner
    white = (planes.max(3) >= 255).mean((1, 2))
    lost = np.maximum(filled - _BORDER, 0) + np.maximum(white - _WHITE, 0)
    detail = np.sqrt((bend**2).mean((1, 2))) / (luma.std((1, 2)) + 1)
    return lost, detail.astype(np.float64)
