"""Sampling: the order of the images in an epoch, with all classes equally often on request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLINGS = ("balanced",)


def epoch_order(labels: NDArray[np.int64], seed: int, epoch: int, sampling: str | None = None) -> NDArray[np.int64]:
    """Give the order of the images in an epoch.

    Args:
        labels: (N,) class of each image.
        seed: With ``epoch``, determines the order.
        epoch: Number of the epoch.
        sampling: None gives each image once; ``"balanced"`` gives N images, equally many of each class: those of a rare
            class several times, of a frequent one only a part, another one in each epoch.

    Returns:
        (N,) rows.

    Examples:
        >>> rows = epoch_order(np.array([0] * 6 + [1, 2]), 0, 0, "balanced")
        >>> np.bincount(np.array([0] * 6 + [1, 2])[rows]).tolist()
        [3, 3, 2]
    """
    rng = np.random.default_rng([seed, epoch])
    if sampling is None:
        return rng.permutation(len(labels))
    present = np.unique(labels)
    counts = np.full(len(present), len(labels) // len(present))
    counts[: len(labels) % len(present)] += 1
    drawn = []
    for label, count in zip(present, counts, strict=True):
        rows = np.flatnonzero(labels == label)
        rounds = [rng.permutation(rows) for _ in range(-(-int(count) // len(rows)))]
        drawn.append(np.concatenate(rounds)[:count])
    return rng.permutation(np.concatenate(drawn))


def names_of(ids: NDArray[np.str_], order: NDArray[np.int64]) -> NDArray[np.str_]:
    """Give the ids in an order; a repeated image gets another name, so that it is augmented in another way.

    Args:
        ids: (N,) ids of the images.
        order: (M,) rows, some of them more than once.

    Returns:
        (M,) names, all different.

    Examples:
        >>> names_of(np.array(["a", "b"]), np.array([1, 0, 1])).tolist()
        ['b', 'a', 'b/again1']
    """
    together = np.argsort(order, kind="stable")
    rows, first = np.unique(order[together], return_index=True)
    if len(rows) == len(order):
        return ids[order]
    again = np.empty(len(order), np.int64)
    again[together] = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
    return np.where(again == 0, ids[order], np.char.add(np.char.add(ids[order], "/again"), again.astype(str)))
