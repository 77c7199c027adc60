"""Descriptors: each is checked on images made for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellclf.cleaning.outliers.descriptors import NAMES, describe

SIDE = 48


def value(name: str, image: NDArray[np.uint8]) -> float:
    return float(describe(image[None])[0, NAMES.index(name)])


def painted(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def test_lab_and_saturation_of_known_colours() -> None:
    # L*a*b* of the sRGB primaries under D65, as every colour table gives them
    for colour, lab in {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.2),
        (0, 0, 255): (32.3, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }.items():
        found = [value(name, painted(colour)) for name in ("lightness", "magenta", "yellow")]
        np.testing.assert_allclose(found, lab, atol=0.15)
    assert value("saturation", painted((200, 100, 50))) == pytest.approx(0.75)


def test_black_and_white_fractions() -> None:
    image = painted((100, 100, 100))
    image[: SIDE // 4] = 255
    image[SIDE // 2 :] = 0
    assert value("white", image) == pytest.approx(0.25)
    assert value("black", image) == pytest.approx(0.5)


def test_dct_bands_hold_all_energy_of_a_wave() -> None:
    across = np.arange(SIDE)
    for wave, band in ((1, 1), (3, 2), (5, 3), (20, 6)):
        line = 128 + 60 * np.cos(np.pi * wave * (2 * across + 1) / (2 * SIDE))
        image = np.broadcast_to(line[None, :, None], (SIDE, SIDE, 3)).round().astype(np.uint8)
        energies = {k: value(f"detail {k}", image) for k in range(1, 8)}
        assert max(energies, key=lambda k: energies[k]) == band
        assert 10 ** energies[band] == pytest.approx(60**2 / 2, rel=0.02)  # the variance of a wave
        assert value("across over down", image) > 0.5  # it changes across, not down
        assert value("across over down", image.transpose(1, 0, 2)) < -0.5


def test_blur_and_noise_move_sharpness_and_grain() -> None:
    rng = np.random.default_rng(0)
    base = np.kron(rng.integers(60, 200, (6, 6)), np.ones((8, 8)))[..., None].repeat(3, 2)
    noisy = np.clip(base + rng.normal(0, 15, base.shape), 0, 255).astype(np.uint8)
    soft = sum(np.roll(base, (i, j), (0, 1)) for i in range(7) for j in range(7)) / 49
    blurred, sharp = soft.astype(np.uint8), base.astype(np.uint8)
    assert value("sharpness", blurred) < value("sharpness", sharp) < value("sharpness", noisy)
    assert value("grain", sharp) < value("grain", noisy)


def test_a_dark_disc_off_the_centre() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = []
    for place in (24, 36):
        image = painted((220, 210, 215))
        image[np.hypot(y - 23.5, x - place + 0.5) < 8] = (80, 40, 120)
        discs.append(image)
    assert value("off centre", discs[0]) < 0.02 < 0.4 < value("off centre", discs[1])
    assert value("centre lightness", discs[0]) < -20
    assert value("dark area", discs[0]) == pytest.approx(np.pi * 64 / SIDE**2, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(4, 70),
    width=st.integers(4, 70),
    count=st.integers(1, 40),
    flat=st.booleans(),
)
def test_finite_for_every_size_and_independent_of_the_batch(
    seed: int, height: int, width: int, count: int, flat: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = (count, 1, 1, 3) if flat else (count, height, width, 3)
    images = np.broadcast_to(rng.integers(0, 256, shape, np.uint8), (count, height, width, 3))
    rows = describe(images)
    assert rows.shape == (count, len(NAMES)) and rows.dtype == np.float32
    assert np.isfinite(rows).all()
    alone = int(rng.integers(count))
    np.testing.assert_allclose(describe(images[alone : alone + 1])[0], rows[alone], rtol=1e-3, atol=2e-3)


def test_none() -> None:
    assert describe(np.empty((0, 8, 8, 3), np.uint8)).shape == (0, len(NAMES))
