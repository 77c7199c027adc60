"""Boxes and grids against slow loops."""

from __future__ import annotations

import numpy as np
from helpers.one import run
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.steps.masks import Cutout, GridMask

IMAGE = np.random.default_rng(0).integers(1, 256, (1, 15, 19, 3), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(box=st.lists(st.floats(-0.5, 1.5, width=32), min_size=4, max_size=4), level=st.integers(0, 255))
def test_a_box_covers_the_pixels_whose_centre_it_holds(box, level):
    got = run(IMAGE, lambda program, active: program.box(active, np.asarray([box]), np.full((1, 3), level)))[0]
    expected = IMAGE[0].copy()
    for row in range(15):
        for column in range(19):
            y, x = np.float32((row + 0.5) / 15), np.float32((column + 0.5) / 19)
            if box[0] <= y < box[2] and box[1] <= x < box[3]:
                expected[row, column] = level
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=30, deadline=None)
@given(
    period=st.floats(0.1, 1.0),
    share=st.floats(0, 1),
    offsets=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    turn=st.floats(0, 6.3),
)
def test_a_grid_covers_its_squares(period, share, offsets, turn):
    grid = np.asarray([[period, share, *offsets, turn]])
    got = run(IMAGE, lambda program, active: program.grid(active, grid, np.zeros((1, 3), int)))[0]
    hidden = (got == 0).all(-1)
    for row in range(15):
        for column in range(19):
            y, x = row - 7, column - 9
            u = (np.cos(turn) * y - np.sin(turn) * x) / (period * 15) + offsets[0]
            v = (np.sin(turn) * y + np.cos(turn) * x) / (period * 15) + offsets[1]
            edge = min(abs(t - round(t)) for t in (u, v, u - share, v - share))
            if edge > 1e-4:
                assert hidden[row, column] == (u % 1 < share and v % 1 < share)
    np.testing.assert_array_equal(got[~hidden], IMAGE[0][~hidden])


def test_two_boxes_both_stay():
    augmenter = Augmenter([Cutout(low=0.3, high=0.3), Cutout(low=0.3, high=0.3, fill=(255,))], seed=1)
    images = np.full((40, 30, 30, 3), 100, np.uint8)
    out = np.asarray(augmenter.apply(images, augmenter.draw(range(40))))
    assert (out == 0).any((1, 2, 3)).mean() > 0.8 and (out == 255).any((1, 2, 3)).all()


def test_cover_follows_the_share():
    augmenter = Augmenter([GridMask(low=0.3, high=0.5, share=0.5)], seed=1)
    images = np.full((60, 48, 48, 3), 100, np.uint8)
    out = np.asarray(augmenter.apply(images, augmenter.draw(range(60))))
    assert abs((out == 0).mean() - 0.25) < 0.04
