"""One background behind many different cells: a contamination that no comparison of pairs can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import map_parts
from cellclf.cleaning.dedup.hashes import dct_blocks, whole
from cellclf.utils.dct import dct_matrix
from cellclf.utils.threads import one_blas_thread

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

FEWEST = 30
"""Fewest different cells with one background that make a group."""
_SIDE = 24  # backgrounds are compared on a grid of 24 x 24
_RADIUS = 0.46  # of the side: within it may be cell, outside is background
_NEAR = 0.38  # the 30th most similar image is below it for all but a few in ten thousand ordinary smears
_MEMBER = 0.46  # similarity to the mean of a group; ordinary images reach .38, blends of a half .55 and more
_TIGHT = 0.42  # mean similarity of a group's pairs; of similar ordinary images .3


def shared_backgrounds(
    cells: ImageSet, keeper: NDArray[np.int64], *, n_jobs: int | None = None
) -> list[NDArray[np.int64]]:
    """Find groups of 30 or more different images with the same background.

    Only what lies outside the middle is compared, as the gradients of a 24 x 24 image of it: ordinary smears have
    red cells in random places there, so the 30 nearest of an ordinary image are not near, nor like each other. A
    group is grown around its mean, in which the cells average out and the background remains. Every image is
    compared with every other one: seconds for 14,000, minutes for 200,000. A background without any structure cannot
    be distinguished from an empty smear.

    Args:
        cells: What to search.
        keeper: (N,) position of the image that each one is a copy of; copies count once and follow it.
        n_jobs: Tasks at once.

    Returns:
        The positions of each group's images, the largest group first; no image is in two.
    """
    if len(cells) < FEWEST:
        return []
    parts = list(map_parts(cells, _corners, n_jobs=n_jobs, label="reading backgrounds"))
    places = np.flatnonzero(keeper == np.arange(len(cells)))
    rows = np.concatenate(parts)[places].astype(np.float32)
    rows -= np.median(rows, axis=0)  # what all images have in common, such as vignetting, is no evidence
    rows -= rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1)
    # a nearly empty background has a short row: it must not be stretched to full length, or noise would decide
    rows /= np.maximum(lengths, max(1e-6, 0.25 * float(np.median(lengths))))[:, None]
    free = np.ones(len(places), bool)
    groups = []
    counts = _neighbours(rows)
    for seed in np.argsort(-counts, kind="stable"):
        if counts[seed] < FEWEST:
            break
        if not free[seed]:
            continue
        members = _grown(rows, int(seed), free)
        if len(members) >= FEWEST:
            free[members] = False
            groups.append(np.flatnonzero(np.isin(keeper, places[members])))
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _grown(rows: NDArray[np.float32], seed: int, free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Grow a group around an image until it no longer changes; empty if there is none."""
    similarity = rows @ rows[seed]
    similarity[~free] = -1
    members = np.argpartition(similarity, -FEWEST)[-FEWEST:]
    for _ in range(10):
        mean = rows[members].mean(0)
        similarity = rows @ (mean / max(1e-6, float(np.linalg.norm(mean))))
        now = np.flatnonzero((similarity >= _MEMBER) & free)
        if len(now) < FEWEST or np.array_equal(now, members):
            break
        members = now
    if len(now) < FEWEST:
        return np.empty(0, np.int64)
    # the mean over all pairs, without making them: |sum|² holds every pair twice, and each row with itself
    total = rows[now].sum(0)
    own = float((rows[now] ** 2).sum())
    pairs = (float(total @ total) - own) / (len(now) * (len(now) - 1))
    return now if pairs >= _TIGHT else np.empty(0, np.int64)


def _neighbours(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count for each image the ones near it, itself included."""
    counts = np.empty(len(rows), np.int64)
    with one_blas_thread():
        for start in range(0, len(rows), 256):
            counts[start : start + 256] = (rows[start : start + 256] @ rows.T >= _NEAR).sum(1)
    return counts


def _corners(cells: ImageSet) -> NDArray[np.float16]:
    """Give the smoothed gradients outside the middle: (n, about 190)."""
    basis = whole(*cells.image_shape[:2], _SIDE, 2 * _SIDE)
    frequency = np.hypot(*np.mgrid[:_SIDE, :_SIDE]).astype(np.float32) / _SIDE
    row, column = np.mgrid[:_SIDE, :_SIDE] + 0.5 - _SIDE / 2
    outside = np.hypot(row, column) > _RADIUS * _SIDE
    back = dct_matrix(_SIDE).T.astype(np.float32)
    made = []
    for images in cells.batches(64, show=False):
        [blocks] = dct_blocks(images, basis)
        # weighting by frequency takes the gradient; back in pixels, the middle can be cut out
        made.append((back @ (blocks * frequency) @ back.T)[:, outside].astype(np.float16))
    return np.concatenate(made)
