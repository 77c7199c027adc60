"""The DCT matrix is the orthonormal DCT-II of scipy, whole or cut to its low frequencies."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from cellclf.utils.dct import dct_matrix


@pytest.mark.parametrize(("points", "kept"), [(1, None), (2, 1), (8, None), (32, 16), (97, 32)])
def test_it_is_scipys(points: int, kept: int | None) -> None:
    signal = np.random.default_rng(points).normal(size=points)
    expected = scipy.fft.dct(signal, norm="ortho")[:kept]
    np.testing.assert_allclose(dct_matrix(points, kept) @ signal, expected, atol=1e-12)
