"""Tone curves never fall; light falls off as the formula says."""

from __future__ import annotations

import numpy as np
from helpers.one import cell, run
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.augmentation import Illumination, StainVectors, ToneCurve
from cellclf.augmentation.augmenter import Augmenter

CELL = cell()
RAMP = np.tile(np.arange(256, dtype=np.uint8)[None, None, :, None], (30, 4, 1, 3))


@settings(max_examples=20, deadline=None)
@given(
    spread=st.floats(0, 3),
    ends=st.floats(0, 0.45),
    channels=st.floats(0, 1),
    strength=st.floats(0.05, 3),
    seed=st.integers(0, 99),
)
def test_a_tone_curve_never_falls(spread, ends, channels, strength, seed):
    step = ToneCurve(spread=spread, ends=ends, channels=channels)
    tables = Augmenter([step], seed=seed, strength=strength).draw(range(30))["0/tone_table"][:, 0].astype(int)
    assert (np.diff(tables, axis=2) >= 0).all()
    reach = 255 * min(ends * min(strength, 2.0), 0.45)
    assert (tables[:, :, 0] <= reach + 1).all() and (tables[:, :, -1] >= 255 - reach - 1).all()
    if channels == 0:
        assert (tables == tables[:, :1]).all()


def test_a_tone_curve_is_gentle_at_low_strength_and_differs_from_image_to_image():
    gentle = Augmenter([ToneCurve()], strength=0.02).draw(range(50))["0/tone_table"][:, 0].astype(int)
    assert abs(gentle - np.arange(256)).max() <= 6
    tables = Augmenter([ToneCurve()]).draw(range(50))["0/tone_table"][:, 0].astype(int)
    assert len(np.unique(tables[:, 1], axis=0)) == 50
    assert abs(tables.mean(0) - np.arange(256)).max() < 40, "no curve is the rule"


@settings(max_examples=25, deadline=None)
@given(
    slopes=st.tuples(*[st.floats(-1, 1)] * 2),
    bend=st.floats(0, 2),
    middle=st.tuples(*[st.floats(-0.3, 0.3)] * 2),
    parts=st.tuples(*[st.floats(0.5, 1.5)] * 3),
)
def test_light_falls_off_as_the_formula_says(slopes, bend, middle, parts):
    shape = np.asarray([[*slopes, bend, *middle, *parts]])
    got = run(CELL[None], lambda program, active: program.light(active, shape))[0].astype(float)
    height, width = CELL.shape[:2]
    y, x = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    density = slopes[0] * y[:, None] + slopes[1] * x[None]
    density = density + bend * ((y[:, None] - middle[0]) ** 2 + (x[None] - middle[1]) ** 2)
    density -= density.min()
    expected = CELL * np.exp(-density[:, :, None] * np.asarray(parts))
    assert abs(got - expected).max() <= 0.52


def test_illumination_darkens_and_keeps_the_brightest_place():
    images = np.full((40, 24, 30, 3), 200, np.uint8)
    augmenter = Augmenter([Illumination()], seed=2)
    out = np.asarray(augmenter.apply(images, augmenter.draw(range(40)))).astype(int)
    assert (out.max((1, 2)) >= 199).all() and out.max() <= 200
    assert (out.min((1, 2, 3)) < 185).mean() > 0.8 and out.min() > 200 * np.exp(-1.2 * (0.6 * 1.42 + 0.5 * 2.3)) - 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), strength=st.floats(0.1, 1.5))
def test_stain_vectors_keep_what_takes_no_light_away(seed, strength):
    augmenter = Augmenter([StainVectors()], seed=seed, strength=strength)
    white = np.full((8, 6, 6, 3), 255, np.uint8)
    np.testing.assert_array_equal(np.asarray(augmenter.apply(white, augmenter.draw(range(8)))), white)


def test_stain_vectors_scale_the_density():
    augmenter = Augmenter([StainVectors(low=0.5, high=2.0, theta=0.0, mixing=0.0)], seed=4)
    images = np.full((60, 6, 6, 3), (150, 90, 160), np.uint8)
    out = np.asarray(augmenter.apply(images, augmenter.draw(range(60)))).astype(float)
    ratio = np.log((out[:, 0, 0] + 1) / 256) / np.log((images[:, 0, 0] + 1) / 256.0)
    assert ratio.min() > 0.48 and ratio.max() < 2.1 and ratio.min() < 0.6 and ratio.max() > 1.7
    assert abs(ratio - ratio[:, :1]).max() < 0.05, "all channels by the same factor"
