"""Blur, sharpness, noise and JPEG against scipy and Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.one import cell, in_turn, run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from cellclf.augmentation.steps import optics

CELL = cell(33, 47)


def kernel(values):
    return lambda program, active: program.kernel(active, np.tile(values, (program.count, 1, 1)))


def convolved(image, values):
    planes = [ndimage.correlate(image[..., c].astype(float), values, mode="reflect") for c in range(3)]
    return np.stack(planes, -1)


@settings(max_examples=6, deadline=None)
@given(sigma=st.floats(0.3, 2.5))
def test_blur_equals_scipy(sigma):
    values = optics.gaussian_kernel(np.asarray([sigma]), 2 * int(np.ceil(4 * sigma)) + 1)[0]
    got = run(CELL[None], kernel(values))[0]
    expected = ndimage.gaussian_filter(CELL.astype(float), (sigma, sigma, 0), mode="reflect", truncate=4.0)
    assert np.abs(got - expected).max() <= 1.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), side=st.sampled_from([1, 3, 5, 9]))
def test_any_kernel_equals_scipy(seed, side):
    values = np.random.default_rng(seed).uniform(0, 1, (side, side))
    values /= values.sum()
    got = run(CELL[None], kernel(values))[0]
    assert np.abs(got - convolved(CELL, values)).max() <= 0.51


def test_kernels_follow_each_other():
    wide = optics.disc_kernel(np.asarray([2.0]), 5)[0]
    narrow = optics.gaussian_kernel(np.asarray([0.7]), 3)[0]
    np.testing.assert_array_equal(
        run(CELL[None], kernel(wide), kernel(narrow)), in_turn(CELL[None], kernel(wide), kernel(narrow))
    )


@settings(max_examples=25, deadline=None)
@given(value=st.floats(0.3, 3.5), angle=st.floats(0, np.pi))
def test_kernels_sum_to_one_and_balance(value, angle):
    one = np.asarray([value])
    for values in (
        optics.gaussian_kernel(one, 9)[0],
        optics.disc_kernel(one, 9)[0],
        optics.line_kernel(one, np.asarray([angle]), 9)[0],
    ):
        assert values.min() >= 0
        np.testing.assert_allclose(values.sum(), 1)
        np.testing.assert_allclose(values, values[::-1, ::-1], atol=1e-9)


def test_disc_has_its_radius():
    values = optics.disc_kernel(np.asarray([3.0]), 9)[0]
    assert values[4, 7] > 0 and values[4, 8] == 0
    np.testing.assert_allclose(1 / values.max(), np.pi * 9, rtol=0.05)


def test_motion_follows_its_direction():
    flat = optics.line_kernel(np.asarray([6.0]), np.asarray([0.0]), 9)[0]
    assert flat[4].sum() > 0.999 and flat[4, 1] > 0.05


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0, 4), seed=st.integers(0, 1000))
def test_sharpness_equals_pillow(factor, seed):
    image = np.random.default_rng(seed).integers(0, 256, (14, 17, 3), dtype=np.uint8)
    got = run(image[None], lambda program, active: program.sharpen(active, np.full(1, factor)))[0]
    expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
    # Pillow cuts the fraction off where this rounds
    assert np.abs(got.astype(int) - expected).max() <= 1


def noisy(deviation, key, count=1):
    return lambda program, active: program.noise(
        active, np.full(count, deviation), np.full(count, key, np.uint64) << np.uint64(33)
    )


def test_noise_is_normal_white_and_its_own():
    grey = np.full((1, 96, 96, 3), 128, np.uint8)
    made = [run(grey, noisy(20.0, key))[0].astype(float) - 128 for key in range(4)]
    for noise in made:
        assert abs(noise.mean()) < 0.5 and abs(noise.std() - 20) < 0.4
        # whole levels: compare the distribution at their edges
        edges = np.arange(-60, 61, 10) + 0.5
        assert np.abs((noise.ravel()[:, None] < edges).mean(0) - stats.norm.cdf(edges / 20)).max() < 0.012
        for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
            assert abs(shifted.mean()) / 400 < 0.03
    off = np.corrcoef([noise.ravel() for noise in made])[np.triu_indices(4, 1)]
    assert np.abs(off).max() < 0.03


def test_noise_is_repeatable():
    np.testing.assert_array_equal(run(CELL[None], noisy(5.0, 9)), run(CELL[None], noisy(5.0, 9)))


@pytest.mark.parametrize("quality", [5, 15, 30, 50, 75, 95])
@pytest.mark.parametrize("shape", [(96, 96), (33, 47), (40, 24)])
def test_jpeg_equals_pillow(quality, shape):
    image = cell(*shape, seed=quality)
    got = run(image[None], lambda program, active: program.jpeg(active, np.full(1, quality)))[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(file)).astype(int)
    lost = np.abs(expected - image).mean()
    # what differs (rounding of integer transforms) is small beside what JPEG changes
    assert np.abs(got - expected).mean() <= 0.5 + 0.1 * lost
