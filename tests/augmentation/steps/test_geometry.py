"""Warps against scipy and against doing them in turn."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.one import cell, in_turn, run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.steps.geometry import (
    Aspect,
    Crop,
    Flip,
    Rotate,
    Seam,
    Shear,
    Translate,
    Zoom,
    identity_map,
    rotation,
    shear_map,
    stretch,
)

CELL = cell()
NOISE = np.random.default_rng(0).integers(0, 256, (2, 18, 23, 3), dtype=np.uint8)

MODES = ("reflect", "nearest")


def warp(linear, shift=(0.0, 0.0), border="reflect", fill=(0, 0, 0)):
    def write(program, active):
        n = program.count
        program.warp(
            active,
            np.tile(np.asarray(linear, float), (n, 1, 1)),
            np.tile(np.asarray(shift, float), (n, 1)),
            border=border,
            fill=np.tile(np.asarray(fill), (n, 1)),
        )

    return write


def scipy_warp(image, linear, shift, mode):
    size = np.asarray(image.shape[:2])
    middle = (size - 1) / 2
    offset = middle + np.asarray(shift) * size - np.asarray(linear) @ middle
    planes = [
        ndimage.affine_transform(image[..., c].astype(float), linear, offset, order=1, mode=mode) for c in range(3)
    ]
    return np.stack(planes, axis=-1)


angles = st.floats(-np.pi, np.pi)
factors = st.floats(0.4, 2.5)
slopes = st.floats(-0.8, 0.8)
moves = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6))


@st.composite
def maps(draw):
    one = (np.asarray([draw(v)]) for v in (angles, factors, factors, slopes, slopes))
    angle, down, right, lean, slant = one
    return (rotation(angle) @ stretch(down, right) @ shear_map(lean, slant))[0]


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=30, deadline=None)
@given(linear=maps(), shift=moves)
def test_one_warp_equals_scipy(mode, linear, shift):
    got = run(CELL[None], warp(linear, shift, mode))[0].astype(float)
    expected = scipy_warp(CELL, linear, shift, mode)
    assert np.abs(got - expected).max() <= 2.5  # 1/256 pixel and three roundings


@settings(max_examples=30, deadline=None)
@given(linear=maps(), shift=moves)
def test_constant_border_paints_exactly_what_lies_outside(linear, shift):
    got = run(CELL[None], warp(linear, shift, "constant", (1, 2, 3)))[0]
    inside = scipy_warp(CELL, linear, shift, "nearest")
    size = np.asarray(CELL.shape[:2])
    middle = (size - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) - middle
    where = grid @ np.asarray(linear).T + middle + np.asarray(shift) * size
    outside = ((where < -0.5) | (where >= size - 0.5)).any(-1)
    sure = (np.abs(where + 0.5) > 1e-3).all(-1) & (np.abs(where - size + 0.5) > 1e-3).all(-1)
    assert (got[outside & sure] == (1, 2, 3)).all()
    assert np.abs(got - inside)[~outside & sure].max(initial=0) <= 2.5


WHOLE = st.one_of(
    st.tuples(st.just("turn"), st.integers(0, 3)),
    st.tuples(st.just("flip"), st.sampled_from([(-1, 1), (1, -1), (-1, -1)])),
    st.tuples(st.just("move"), st.tuples(st.integers(-15, 15), st.integers(-15, 15))),
)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(WHOLE, st.sampled_from(["reflect", "nearest", "constant"])), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_whole_pixel_warps_equal_doing_them_in_turn(steps, seed):
    images = np.random.default_rng(seed).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    writers = []
    for k, ((kind, value), border) in enumerate(steps):
        fill = (10 * k, 20 * k, 30 * k)
        if kind == "turn":
            writers.append(warp(np.rint(rotation(np.asarray([value * np.pi / 2]))[0]), border=border, fill=fill))
        elif kind == "flip":
            writers.append(warp(np.diag(value), border=border, fill=fill))
        else:
            writers.append(warp(np.eye(2), np.asarray(value) / 16, border, fill))
    np.testing.assert_array_equal(run(images, *writers), in_turn(images, *writers))


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.tuples(maps(), moves, st.sampled_from(["reflect", "nearest"])), min_size=2, max_size=4))
def test_any_warps_look_as_if_done_in_turn_but_sharper(steps):
    smooth = ndimage.gaussian_filter(CELL.astype(float), (2, 2, 0)).astype(np.uint8)[None]
    # maps that shrink sample too sparsely for a second look: keep the scale
    writers = [warp(m / np.sqrt(abs(np.linalg.det(m))), s, b) for m, s, b in steps]
    once, again = run(smooth, *writers).astype(float), in_turn(smooth, *writers).astype(float)
    assert np.abs(once - again).mean() < 4


def test_known_images():
    p = NOISE
    np.testing.assert_array_equal(run(p, warp(np.diag([1, -1]))), p[:, :, ::-1])
    np.testing.assert_array_equal(run(p, warp(np.diag([-1, 1]))), p[:, ::-1])
    square = p[:, :18, :18]
    np.testing.assert_array_equal(run(square, warp([[0, -1], [1, 0]])), np.rot90(square, -1, (1, 2)))
    moved = run(p, warp(np.eye(2), (3 / 18, 0), "constant", (9, 8, 7)))
    np.testing.assert_array_equal(moved[:, :15], p[:, 3:])
    assert (moved[:, 15:] == (9, 8, 7)).all()


def test_a_strip_of_an_early_step_lies_inside_after_a_mirror():
    # down by 2 with black, down by 6 more with the mirror image: the strip stands at rows 4 and 5 from the end
    image = np.full((1, 20, 20, 3), 200, np.uint8)
    out = run(image, warp(np.eye(2), (2 / 20, 0), "constant"), warp(np.eye(2), (6 / 20, 0)))
    dark = np.flatnonzero((out[0] == 0).all((1, 2)))
    assert dark.tolist() == [12, 13, 14, 15]


@pytest.mark.parametrize("step", [Rotate(degrees=30), Flip(), Zoom(), Aspect(), Crop(), Shear(), Translate(), Seam()])
def test_steps_stay_within_their_range(step):
    drawn = Augmenter([step], seed=1).draw(range(300))
    linear, shift = drawn["0/warp_linear"], drawn["0/warp_shift"]
    live = np.arange(linear.shape[1]) < drawn["0/warp_count"][:, None]
    scale = 1 / np.sqrt(np.abs(np.linalg.det(linear[live])))
    if isinstance(step, Rotate):
        angle = np.degrees(np.arctan2(linear[live][:, 1, 0], linear[live][:, 0, 0]))
        assert np.abs(angle).max() <= 30.001 and angle.min() < -27 and angle.max() > 27
    elif isinstance(step, Zoom):
        assert scale.min() >= 0.799 and scale.max() <= 1.251 and scale.min() < 0.82 and scale.max() > 1.22
    elif isinstance(step, Crop):
        assert scale.min() >= 0.999 and scale.max() <= 1.14
        # the window never leaves the image
        reach = np.abs(linear[live]).sum(-1) * 0.5 + np.abs(shift[live])
        assert reach.max() <= 0.5001
    elif isinstance(step, Translate):
        assert 0.09 < np.abs(shift).max() <= 0.1001
    else:
        np.testing.assert_allclose(scale, 1, atol=1e-5)
    assert np.isfinite(linear).all()


def test_still_is_still():
    np.testing.assert_array_equal(run(NOISE, warp(identity_map(1)[0])), NOISE)
