"""Flips and turns, and averages over them."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.runs.predict import average_views
from cellclf.runs.tta import VIEWS, view_names

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)


def test_the_views_are_the_eight_symmetries_of_a_square():
    seen = {view(IMAGES).tobytes() for view in VIEWS.values()}
    assert len(seen) == 8
    for first in VIEWS.values():  # a group: one after another is one of them again
        for second in VIEWS.values():
            assert second(first(IMAGES)).tobytes() in seen


def test_an_average_over_all_views_does_not_care_how_a_image_lies():
    def predict(images):
        return images[:, 1, 2].astype(np.float32)

    expected = average_views(predict, IMAGES, list(VIEWS))
    for view in VIEWS.values():
        np.testing.assert_allclose(average_views(predict, view(IMAGES), list(VIEWS)), expected, rtol=1e-5)


def test_images_that_are_not_square():
    assert len(view_names(4, (4, 6, 3))) == 4
    with pytest.raises(DataError, match="tta=4"):
        view_names(8, (4, 6, 3))
    oblong = IMAGES[:, :4]
    assert average_views(lambda x: x.mean((1, 2)), oblong, view_names(4, oblong.shape[1:])).shape == (3, 3)


def test_mistakes_are_told():
    with pytest.raises(OptionError, match="tta=3"):
        view_names(3, (4, 4, 3))
    with pytest.raises(UnknownNameError, match="turn_90"):
        view_names(["turn_9"], (4, 4, 3))
    with pytest.raises(OptionError, match="empty"):
        view_names([], (4, 4, 3))
