"""MixUp and CutMix against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.augmentation.mixing import Mix, cut_mix, mix_up
from cellclf.errors import OptionError, UnknownNameError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)
TARGETS = np.eye(6, dtype=np.float32)[:, :4] + np.eye(6, 4, k=-4, dtype=np.float32)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_mix_up_is_the_average(data):
    partner = np.asarray(data.draw(st.permutations(range(6))), np.int32)
    share = np.asarray(data.draw(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6)), np.float32)
    images, targets = (np.asarray(x) for x in mix_up(IMAGES, TARGETS, partner, share))
    for i in range(6):
        expected = share[i] * IMAGES[i].astype(float) + (1 - share[i]) * IMAGES[partner[i]]
        np.testing.assert_allclose(images[i], expected, atol=1e-3)
        np.testing.assert_allclose(targets[i], share[i] * TARGETS[i] + (1 - share[i]) * TARGETS[partner[i]], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_cut_mix_pastes_and_counts_pixels(data):
    partner = np.asarray(data.draw(st.permutations(range(6))), np.int32)
    corner = st.floats(-0.5, 1.5, width=32)
    box = np.asarray([[data.draw(corner) for _ in range(4)] for _ in range(6)], np.float32)
    images, targets = (np.asarray(x) for x in cut_mix(IMAGES, TARGETS, partner, box))
    for i in range(6):
        expected, pasted = IMAGES[i].copy(), 0
        for row in range(10):
            for column in range(12):
                y, x = np.float32((row + 0.5) / 10), np.float32((column + 0.5) / 12)
                if box[i, 0] <= y < box[i, 2] and box[i, 1] <= x < box[i, 3]:
                    expected[row, column] = IMAGES[partner[i], row, column]
                    pasted += 1
        np.testing.assert_array_equal(images[i], expected)
        share = 1 - pasted / 120
        np.testing.assert_allclose(targets[i], share * TARGETS[i] + (1 - share) * TARGETS[partner[i]], atol=1e-6)


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
def test_mix_draws_partners_of_the_batch(kind):
    mix = Mix(kind=kind, alpha=1.0, rate=0.7, seed=3)
    mix.check()
    drawn = mix.draw(list("abcdef"), epoch=4)
    assert sorted(drawn["partner"]) == list(range(6)) and (drawn["partner"] != np.arange(6)).all()
    for key, value in mix.draw(list("abcdef"), epoch=4).items():
        np.testing.assert_array_equal(drawn[key], value)
    images, targets = (np.asarray(x) for x in mix.apply(IMAGES, TARGETS, drawn))
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 255
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-5)
    assert Mix.from_dict(mix.to_dict()) == mix


def test_share_follows_its_distribution():
    mix = Mix(kind="mixup", alpha=0.4, rate=1.0)
    share = mix.draw(range(5000))["share"]
    assert abs(share.mean() - 0.5) < 0.02
    assert abs(share.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01


def test_box_covers_what_the_share_leaves():
    mix = Mix(kind="cutmix", alpha=1.0)
    box = mix.draw(range(5000))["box"]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    assert abs(area.mean() - 0.5) < 0.02  # 1 - share, and the share is uniform


def test_mistakes_are_reported():
    with pytest.raises(UnknownNameError, match="mixup"):
        Mix(kind="mixupp").check()
    with pytest.raises(OptionError, match=r"Mix alpha=0; expected a number from 0\.01 to 100"):
        Mix(alpha=0).check()
    with pytest.raises(UnknownNameError, match="alpha"):
        Mix.from_dict({"alfa": 1})
