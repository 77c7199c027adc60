"""Masks of the cell in the middle: where it is, and when there is none to trust."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cellclf as cc
from cellclf.data.foreground_mask import foreground_masks

GROUND, NUCLEUS, CYTOPLASM, RED_CELL = (240, 222, 205), (86, 52, 140), (205, 170, 200), (214, 178, 180)


def slide(side: int = 64, *, place: tuple[float, float] = (0.5, 0.5), nucleus: float = 0.14, body: float = 0.24):
    """Draw a cell with nucleus and cytoplasm between two red cells; give it and where the cell is."""
    down, right = (np.mgrid[0:side, 0:side] + 0.5) / side
    image = np.empty((side, side, 3), np.uint8)
    image[:] = GROUND
    for y, x in ((0.1, 0.15), (0.9, 0.8)):
        image[np.hypot(down - y, right - x) < 0.14] = RED_CELL
    far = np.hypot(down - place[0], right - place[1])
    image[far < body] = CYTOPLASM
    image[far < nucleus] = NUCLEUS
    return image, far < body


@settings(max_examples=10, deadline=None)
@given(
    side=st.sampled_from([32, 61]),
    place=st.tuples(st.floats(0.44, 0.56), st.floats(0.44, 0.56)),
    nucleus=st.floats(0.12, 0.18),
    rim=st.floats(0.0, 0.1),
)
def test_the_mask_is_the_cell(side, place, nucleus, rim):
    image, cell = slide(side, place=place, nucleus=nucleus, body=nucleus + rim)
    found = foreground_masks(image[None])
    mask = found.masks[0] > 0.5
    assert found.trusted.all() and found.masks.min() >= 0 and found.masks.max() <= 1
    assert (mask & cell).sum() / (mask | cell).sum() > 0.7
    assert mask[image[..., 2] == NUCLEUS[2]].mean() > 0.9
    assert not mask[: side // 5, : side // 5].any(), "red cells that do not touch it are no part of it"


def test_generated_cells_are_found_and_what_is_no_cell_is_not_trusted():
    cells = cc.make_cells(48, size=64, seed=3, balance="even")
    found = foreground_masks(cells.images)
    assert found.trusted.mean() > 0.6
    rng = np.random.default_rng(0)
    nothing = np.stack(
        [
            np.full((64, 64, 3), 200),
            np.zeros((64, 64, 3)),
            rng.integers(0, 256, (64, 64, 3)),
            np.repeat(np.linspace(120, 250, 64)[:, None, None], 64, 1).repeat(3, 2),
            slide(place=(0.1, 0.1))[0],
        ]
    ).astype(np.uint8)
    assert not foreground_masks(nothing).trusted.any()


@pytest.mark.parametrize("turn", [lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: np.swapaxes(x, 1, 2)])
def test_a_turned_image_has_the_turned_mask(turn):
    images = cc.make_cells(6, size=48, seed=1).images
    one, two = foreground_masks(images), foreground_masks(np.ascontiguousarray(turn(images)))
    np.testing.assert_allclose(two.trust, one.trust, atol=1e-3)
    np.testing.assert_allclose(two.masks, turn(one.masks), atol=1e-3)


def test_an_image_has_the_same_mask_in_every_batch():
    images = cc.make_cells(70, size=32, seed=2).images
    whole = foreground_masks(images)
    alone = foreground_masks(images[65:67])
    np.testing.assert_allclose(alone.masks, whole.masks[65:67], atol=1e-5)
    assert len(whole) == 70 and "70 images" in repr(whole) and len(foreground_masks(images[:0])) == 0


@pytest.mark.parametrize(
    "images", [np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8), np.uint8)]
)
def test_other_images_are_refused(images):
    with pytest.raises(cc.DataError, match="expected uint8 0-255"):
        foreground_masks(images)
