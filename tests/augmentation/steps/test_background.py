"""The exchanged ground: the cell stays, what surrounds it changes, and without a trusted mask nothing does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cellclf as cc
from cellclf.augmentation import Background
from cellclf.augmentation.augmenter import Augmenter
from cellclf.data.foreground_mask import foreground_masks

CELLS = cc.make_cells(16, size=48, seed=3, balance="even").images
MASKS = foreground_masks(CELLS)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 999), strength=st.floats(0.1, 2))
def test_the_cell_stays_and_its_surroundings_change(seed, strength):
    augmenter = Augmenter([Background()], seed=seed, strength=strength)
    out = augmenter.apply(CELLS, augmenter.draw(range(16)))
    out = np.asarray(out)
    inside, outside = MASKS.masks == 1, MASKS.masks == 0
    for image, new, within, without, trusted in zip(CELLS, out, inside, outside, MASKS.trusted, strict=True):
        if trusted:
            np.testing.assert_array_equal(new[within], image[within])
            assert (new[without] != image[without]).any()
        else:
            np.testing.assert_array_equal(new, image)
    assert MASKS.trusted.sum() >= 6


def test_the_ground_is_drawn_for_each_image_and_is_like_its_own():
    trusted = CELLS[MASKS.trusted][:1]
    augmenter = Augmenter([Background(mottling=0.0, cells=0)], seed=1)
    many = np.repeat(trusted, 40, axis=0)
    out = np.asarray(augmenter.apply(many, augmenter.draw(range(40))))
    outside = foreground_masks(trusted).masks[0] == 0
    grounds = out[:, outside]
    assert (grounds == grounds[:, :1]).all(), "without mottling and red cells it is of one colour"
    assert len(np.unique(grounds[:, 0], axis=0)) == 40
    own = trusted[0][outside].mean(0)
    np.testing.assert_allclose(np.median(grounds[:, 0], axis=0), own, rtol=0.12)


def test_it_comes_before_geometry_and_of_two_the_last_counts():
    one = Augmenter([Background(cells=0), cc.augmentation.Rotate()], seed=1)
    two = Augmenter([cc.augmentation.Rotate(), Background(cells=0)], seed=1)
    for augmenter in (one, two):
        drawn = augmenter.draw(range(16))
        assert {"0/ground_count", "0/warp_count"} <= set(drawn) and drawn["0/ground_shape"].shape[0] == 16
    both = Augmenter([Background(rate=0.5), Background(rate=0.5)], seed=1).draw(range(400))
    assert abs(both["0/ground_count"].mean() - 0.75) < 0.07
