"""Point operations against Pillow and slow formulas; fused against in turn."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.one import cell, in_turn, run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from cellclf.augmentation.kernels import colour as toning
from cellclf.augmentation.program import AUTOCONTRAST, CONTRAST, DENSITY, EQUALISE, LAB
from cellclf.augmentation.steps import colour, stain
from cellclf.utils.colour import LUMA


@st.composite
def image_of(draw):
    """Random, dark, flat or smooth images: what histograms trip over."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["noise", "dark", "flat", "few", "cell"]))
    if kind == "cell":
        return cell(seed=int(rng.integers(1000)))
    if kind == "flat":
        return np.full((20, 24, 3), rng.integers(0, 256, 3), np.uint8)
    low, high = sorted(rng.integers(0, 257, 2))
    pixels = rng.integers(low, max(high, low + 1), (20, 24, 3)).clip(0, 255).astype(np.uint8)
    return pixels // 97 * 97 if kind == "few" else pixels // 3 if kind == "dark" else pixels


def table(values):
    return lambda program, active: program.table(active, np.tile(values, (program.count, 1)))


def matrix(values, space=1):
    return lambda program, active: program.matrix(active, np.tile(values, (program.count, 1, 1)), space)


def look(kind, amount=1.0):
    return lambda program, active: program.statistic(active, kind, np.full(program.count, amount))


def off(one, two):
    return np.abs(np.asarray(one).astype(int) - np.asarray(two).astype(int)).max()


@settings(max_examples=15, deadline=None)
@given(pixels=image_of(), factor=st.floats(0, 3))
def test_brightness_contrast_saturation_equal_pillow(pixels, factor):
    image = Image.fromarray(pixels)
    one = np.asarray([factor])
    # Pillow cuts the fraction off where this rounds
    got = run(pixels[None], table(colour.brightness_table(one)[0]))[0]
    assert off(got, ImageEnhance.Brightness(image).enhance(factor)) <= 1
    assert off(run(pixels[None], look(CONTRAST, factor))[0], ImageEnhance.Contrast(image).enhance(factor)) <= 1
    # its grey is rounded to a level before the factor stretches the difference
    got = run(pixels[None], matrix(colour.saturation_matrix(one)[0]))[0]
    assert off(got, ImageEnhance.Color(image).enhance(factor)) <= 1 + np.ceil(abs(1 - factor) / 2)


@settings(max_examples=40, deadline=None)
@given(pixels=image_of())
def test_autocontrast_and_equalise_equal_pillow(pixels):
    image = Image.fromarray(pixels)
    assert off(run(pixels[None], look(AUTOCONTRAST))[0], ImageOps.autocontrast(image)) <= 1
    np.testing.assert_array_equal(run(pixels[None], look(EQUALISE))[0], np.asarray(ImageOps.equalize(image)))


@settings(max_examples=15, deadline=None)
@given(pixels=image_of(), threshold=st.integers(0, 256), bits=st.integers(1, 8), gamma=st.floats(0.2, 5))
def test_tables_equal_pillow_and_formula(pixels, threshold, bits, gamma):
    image = Image.fromarray(pixels)
    got = run(pixels[None], table(colour.solarise_table(np.asarray([threshold]))[0]))[0]
    np.testing.assert_array_equal(got, np.asarray(ImageOps.solarize(image, threshold)))
    got = run(pixels[None], table(colour.posterise_table(np.asarray([bits]))[0]))[0]
    np.testing.assert_array_equal(got, np.asarray(ImageOps.posterize(image, bits)))
    got = run(pixels[None], table(colour.gamma_table(np.asarray([gamma]))[0]))[0]
    np.testing.assert_array_equal(got, np.rint(255 * (pixels / 255.0) ** gamma).astype(np.uint8))


@settings(max_examples=15, deadline=None)
@given(pixels=image_of(), degrees=st.floats(-180, 180))
def test_hue_equals_a_turn_in_yiq(pixels, degrees):
    got = run(pixels[None], matrix(colour.hue_matrix(np.radians([degrees]))[0]))[0]
    flat = pixels.reshape(-1, 3)[::17]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for old, new in zip(flat, got.reshape(-1, 3)[::17], strict=True):
        r, g, b = old / 255
        y = 0.299 * r + 0.587 * g + 0.114 * b
        i, q = 0.595716 * r - 0.274453 * g - 0.321263 * b, 0.211456 * r - 0.522591 * g + 0.311135 * b
        i, q = c * i - s * q, s * i + c * q
        expected = [y + 0.9563 * i + 0.6210 * q, y - 0.2721 * i - 0.6474 * q, y - 1.1070 * i + 1.7046 * q]
        assert off(np.clip(np.asarray(expected) * 255, 0, 255), new) <= 1.5


def test_hue_by_a_third_turns_red_towards_green():
    red = np.full((1, 4, 4, 3), (200, 80, 80), np.uint8)
    out = run(red, matrix(colour.hue_matrix(np.radians([-120.0]))[0]))[0, 0, 0]
    assert out.argmax() in (1, 2)
    assert abs(float(out @ np.array(LUMA)) - float(red[0, 0, 0] @ np.array(LUMA))) < 1.5


@settings(max_examples=20, deadline=None)
@given(
    pixels=image_of(),
    factor=st.lists(st.floats(0.7, 1.3), min_size=3, max_size=3),
    shift=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
)
def test_stain_jitter_equals_unmixing(pixels, factor, shift):
    got = run(pixels[None], matrix(stain.stain_matrix(np.asarray([factor]), np.asarray([shift]))[0], DENSITY))[0]
    stains = stain.HED / np.linalg.norm(stain.HED, axis=1, keepdims=True)
    density = -np.log((pixels.reshape(-1, 3) + 1) / 256)
    amount = np.linalg.solve(stains.T, density.T).T * factor + shift
    expected = np.clip(256 * np.exp(-amount @ stains) - 1, 0, 255).reshape(pixels.shape)
    assert np.abs(got - expected).max() <= 0.6


KNOWN = {(255, 0, 0): (53.24, 80.09, 67.20), (0, 255, 0): (87.73, -86.18, 83.18), (0, 0, 255): (32.30, 79.19, -107.86)}


@pytest.mark.parametrize("levels", KNOWN)
def test_lab_of_known_colours(levels):
    lab = [float(np.asarray(x)[0]) for x in toning.to_lab(*(np.asarray([v], np.int32) for v in levels))]
    np.testing.assert_allclose(lab, KNOWN[levels], atol=0.05)


def test_lab_comes_back():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (3, 500)).astype(np.int32)
    back = np.stack([np.asarray(x) for x in toning.from_lab(*toning.to_lab(*levels))])
    np.testing.assert_allclose(back, levels, atol=0.1)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    move=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    spread=st.lists(st.floats(0.7, 1.2), min_size=3, max_size=3),
)
def test_lab_jitter_moves_the_mean_and_scales_the_spread(seed, move, spread):
    pixels = cell(seed=seed) // 2 + 60  # far from the edge of the gamut
    change = np.concatenate([np.diag(spread), np.asarray(move)[:, None]], axis=1)
    out = run(pixels[None], matrix(change, LAB))[0]

    def lab(image):
        parts = toning.to_lab(*(image[..., c].ravel().astype(np.int32) for c in range(3)))
        return np.stack([np.asarray(part) for part in parts])

    before, after = lab(pixels), lab(out)
    np.testing.assert_allclose(after.mean(1) - before.mean(1), move, atol=0.4)
    np.testing.assert_allclose(after.std(1), before.std(1) * spread, atol=0.6)


def test_grey_and_shuffle():
    pixels = cell()[None]
    grey = run(pixels, matrix(colour.saturation_matrix(np.zeros(1))[0]))
    expected = np.asarray(Image.fromarray(pixels[0]).convert("L"))[..., None]
    assert off(grey[0], np.repeat(expected, 3, 2)) <= 1
    swap = np.zeros((3, 4))
    swap[[0, 1, 2], [2, 0, 1]] = 1
    np.testing.assert_array_equal(run(pixels, matrix(swap))[0], pixels[0][..., [2, 0, 1]])


POINT = st.one_of(
    st.floats(0.3, 2).map(lambda f: ("table", colour.brightness_table(np.asarray([f]))[0])),
    st.floats(0.3, 3).map(lambda g: ("table", colour.gamma_table(np.asarray([g]))[0])),
    st.integers(0, 255).map(lambda t: ("table", colour.solarise_table(np.asarray([t]))[0])),
    st.sampled_from([AUTOCONTRAST, EQUALISE]).map(lambda k: ("look", k)),
    st.floats(0.3, 2).map(lambda f: ("contrast", f)),
    st.floats(0, 2).map(lambda f: ("matrix", colour.saturation_matrix(np.asarray([f]))[0])),
    st.floats(0.8, 1.2).map(lambda f: ("stain", stain.stain_matrix(np.full((1, 3), f), np.full((1, 3), 0.02))[0])),
)


def writer(what, value):
    if what == "table":
        return table(value)
    if what == "contrast":
        return look(CONTRAST, value)
    if what == "look":
        return look(value)
    return matrix(value, DENSITY if what == "stain" else 1)


@settings(max_examples=40, deadline=None)
@given(pixels=image_of(), steps=st.lists(POINT, min_size=1, max_size=6))
def test_fused_equals_in_turn(pixels, steps):
    steps = [
        s
        for s, before in zip(steps, [None, *steps], strict=False)
        if not before or s[0] != before[0] or s[0] in ("table", "look", "contrast")
    ]
    writers = [writer(*step) for step in steps]
    np.testing.assert_array_equal(run(pixels[None], *writers), in_turn(pixels[None], *writers))


@settings(max_examples=15, deadline=None)
@given(one=st.floats(0, 1), two=st.floats(0, 1), degrees=st.floats(-180, 180))
def test_adjacent_matrices_multiply(one, two, degrees):
    pixels = (cell() // 3 + 80)[None]  # the colours in between stay within 0-255, so that nothing is cut
    writers = [
        matrix(colour.saturation_matrix(np.asarray([one]))[0]),
        matrix(colour.hue_matrix(np.radians([degrees]))[0]),
        matrix(colour.saturation_matrix(np.asarray([two]))[0]),
    ]
    assert off(run(pixels, *writers), in_turn(pixels, *writers)) <= 3  # two roundings fewer


def test_images_of_one_batch_do_not_touch_each_other():
    images = np.stack([cell(seed=k) for k in range(5)])
    kinds = np.asarray([AUTOCONTRAST, EQUALISE, CONTRAST, EQUALISE, AUTOCONTRAST])

    def write(program, active):
        program.table(active & (np.arange(5) % 2 == 0), np.stack([255 - np.arange(256, dtype=np.uint8)] * 5))
        program.statistic(active, kinds, np.full(5, 1.7))
        program.matrix(active & (np.arange(5) > 2), colour.saturation_matrix(np.full(5, 0.2)))

    together = run(images, write)
    for k in range(5):
        alone = [table(255 - np.arange(256, dtype=np.uint8))] if k % 2 == 0 else []
        alone.append(look(int(kinds[k]), 1.7))
        alone += [matrix(colour.saturation_matrix(np.asarray([0.2]))[0])] if k > 2 else []
        np.testing.assert_array_equal(together[k], run(images[k : k + 1], *alone)[0])
