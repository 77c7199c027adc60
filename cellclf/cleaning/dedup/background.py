"""One foreign image behind many different cells: a contamination that no comparison of pairs can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import one_blas_thread, spread_out
from cellclf.cleaning.dedup.hashes import dct_blocks, whole

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

FEWEST = 30
"""So many different cells must share a background for it to be called foreign."""
_SIDE = 24  # the corners are looked at on a grid of 24 x 24
_RADIUS = 0.46  # of the side: what lies within may be cell, what lies outside is background
_NEAR = 0.38  # of ordinary smears, the 30th most similar other one lies below it for all but some in ten thousand
_MEMBER = 0.46  # similarity to the mean of a group; ordinary ones reach .38, blends of a half .55 and more
_TIGHT = 0.42  # mean similarity of a group's pairs; of ordinary look-alikes .3


def shared_backgrounds(
    cells: ImageSet, keeper: NDArray[np.int64], *, n_jobs: int | None = None
) -> list[NDArray[np.int64]]:
    """Find groups of 30 or more different images with one and the same background.

    Only what lies outside the middle is compared, as the gradients of a 24 x 24 image of it: ordinary smears have
    red cells in random places there, so the 30 nearest of an ordinary image are not near, nor like each other. A
    group is grown around its mean, in which the cells average out and the foreign image stays. Every image is
    compared with every other one: seconds for 14,000, minutes for 200,000. A background without any structure cannot
    be told from an empty smear.

    Args:
        cells: What to search.
        keeper: (N,) place of the image that each one is a copy of; copies count once and go with it.
        n_jobs: Tasks at once.

    Returns:
        The places of each group's images, the largest group first; no image is in two.
    """
    if len(cells) < FEWEST:
        return []
    parts = list(spread_out(cells, _corners, n_jobs=n_jobs, label="reading backgrounds"))
    places = np.flatnonzero(keeper == np.arange(len(cells)))
    seen = np.concatenate(parts)[places].astype(np.float32)
    seen -= np.median(seen, axis=0)
    seen -= seen.mean(1, keepdims=True)
    lengths = np.linalg.norm(seen, axis=1)
    seen /= np.maximum(lengths, max(1e-6, 0.25 * float(np.median(lengths))))[:, None]
    left = np.ones(len(places), bool)
    groups = []
    counts = _neighbours(seen)
    for seed in np.argsort(-counts, kind="stable"):
        if counts[seed] < FEWEST:
            break
        if not left[seed]:
            continue
        members = _grown(seen, int(seed), left)
        if len(members) >= FEWEST:
            left[members] = False
            groups.append(np.flatnonzero(np.isin(keeper, places[members])))
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _grown(seen: NDArray[np.float32], seed: int, left: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Grow a group around an image until its mean stays; empty if it is none."""
    like = seen @ seen[seed]
    like[~left] = -1
    members = np.argpartition(like, -FEWEST)[-FEWEST:]
    for _ in range(10):
        mean = seen[members].mean(0)
        like = seen @ (mean / max(1e-6, float(np.linalg.norm(mean))))
        now = np.flatnonzero((like >= _MEMBER) & left)
        if len(now) < FEWEST or np.array_equal(now, members):
            break
        members = now
    if len(now) < FEWEST:
        return np.empty(0, np.int64)
    total = seen[now].sum(0)
    own = float((seen[now] ** 2).sum())
    pairs = (float(total @ total) - own) / (len(now) * (len(now) - 1))
    return now if pairs >= _TIGHT else np.empty(0, np.int64)


def _neighbours(seen: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count for each image the ones near it, itself included."""
    counts = np.empty(len(seen), np.int64)
    with one_blas_thread():
        for start in range(0, len(seen), 256):
            counts[start : start + 256] = (seen[start : start + 256] @ seen.T >= _NEAR).sum(1)
    return counts


def _corners(cells: ImageSet) -> NDArray[np.float16]:
    """Give the smoothed gradients outside the middle: (n, about 190)."""
    basis = whole(*cells.image_shape[:2], _SIDE, 2 * _SIDE)
    frequency = np.hypot(*np.mgrid[:_SIDE, :_SIDE]).astype(np.float32) / _SIDE
    row, column = np.mgrid[:_SIDE, :_SIDE] + 0.5 - _SIDE / 2
    outside = np.hypot(row, column) > _RADIUS * _SIDE
    back = np.cos(np.pi * (np.arange(_SIDE)[:, None] + 0.5) * np.arange(_SIDE) / _SIDE).astype(np.float32)
    back *= np.sqrt(2 / _SIDE).astype(np.float32)
    back[:, 0] /= np.sqrt(2).astype(np.float32)
    made = []
    for images in cells.batches(64):
        [blocks] = dct_blocks(images, basis)
        made.append((back @ (blocks * frequency) @ back.T)[:, outside].astype(np.float16))
    return np.concatenate(made)
