"""Labels that spread from a few cells to the cells around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURS = 10  # cells that a label spreads to at once
_FAR = 0.9  # how much of it is handed on


def spread_labels(labelled: Floats, targets: Floats, others: Floats) -> Floats:
    """Let labels spread to the cells around them, and from these on.

    Args:
        labelled: (n, r) coordinates of labelled cells.
        targets: (n, K) probabilities of their classes.
        others: (m, r) coordinates of other cells.

    Returns:
        (m, K) probabilities, every class of the labels counting the same.

    Examples:
        >>> line = np.stack([np.ones(9), np.linspace(-1, 1, 9)], 1)
        >>> spread_labels(line[[0, 8]], np.eye(2), line[1:8]).argmax(1)[[0, 1, 2, 4, 5, 6]].tolist()
        [0, 0, 0, 1, 1, 1]

    Source:
        Zhou, Bousquet, Lal, Weston, Schoelkopf 2004, Learning with local and global consistency, NIPS 16.
    """
    points = np.concatenate([labelled, others])
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    near = points @ points.T
    np.fill_diagonal(near, -1.0)
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    least = np.partition(near, -neighbours, axis=1)[:, -neighbours][:, None]
    near = np.where(near >= least, np.maximum(near, 0.0) ** 3, 0.0)
    near = np.maximum(near, near.T)
    near[: len(labelled), : len(labelled)] = 0.0  # labels do not doubt each other
    degree = 1.0 / np.sqrt(np.maximum(near.sum(1), 1e-9))
    near = np.eye(len(points)) - _FAR * degree[:, None] * near * degree
    start = np.zeros((len(points), targets.shape[1]))
    start[: len(labelled)] = targets / np.maximum(targets.sum(0), 1e-9)
    found = np.maximum(np.linalg.solve(near, start)[len(labelled) :], 1e-9)
    share: Floats = found / found.sum(1, keepdims=True)
    return share
