"""The discrete cosine transform as a matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dct_matrix(points: int, kept: int | None = None) -> NDArray[np.float64]:
    """Give the orthonormal DCT-II as a matrix: ``matrix @ signal`` are the coefficients, lowest frequency first.

    Its transpose is the inverse.

    Args:
        points: Length of the signal.
        kept: Number of low frequencies to keep; None keeps all.

    Returns:
        (kept, points) float64.

    Examples:
        >>> matrix = dct_matrix(4)
        >>> bool(np.allclose(matrix @ matrix.T, np.eye(4)))
        True
    """
    frequency = np.arange(points if kept is None else kept)[:, None]
    matrix: NDArray[np.float64] = np.cos(np.pi * frequency * (np.arange(points) + 0.5) / points) * np.sqrt(2 / points)
    matrix[0] /= np.sqrt(2)
    return matrix
