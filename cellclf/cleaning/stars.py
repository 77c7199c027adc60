"""Groups without drift: every member looks like its keeper, never only like another member."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.links import Links


def stars(count: int, links: Links, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose keepers, best rank first, and give each other picture to the most similar keeper of better rank.

    A picture is a keeper unless it is linked to a keeper of better rank. So A~B~C with A unlike C makes, with B best,
    the group A, B, C, and with A best the group A, B and C alone.

    Args:
        count: Number of pictures.
        links: Between their places.
        rank: (count,) the lower the better; no two alike.

    Returns:
        (count,) for each picture the place in ``links`` that ties it to its keeper; -1 for keepers.

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
