"""RandAugment, AugMix and lists of steps."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.one import cell

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.steps.colour import Brightness, Invert, Posterise
from cellclf.augmentation.steps.geometry import Flip, Rotate
from cellclf.augmentation.steps.optics import Noise
from cellclf.augmentation.steps.policies import RAND_AUGMENT_OPS, AllOf, AugMix, RandAugment, SomeOf

IMAGES = np.stack([cell(24, 24, seed=k) for k in range(8)])
IDS = np.arange(8)


def apply(augmenter, images=IMAGES, ids=IDS):
    return np.asarray(augmenter.apply(images, augmenter.draw(ids)))


@pytest.mark.parametrize("op", RAND_AUGMENT_OPS)
def test_every_operation_of_rand_augment_acts(op):
    out = apply(Augmenter([RandAugment(count=1, ops=(op,), magnitude=0.7)], seed=2))
    assert (out != IMAGES).any((1, 2, 3)).all()


@pytest.mark.parametrize("op", sorted(set(RAND_AUGMENT_OPS) - {"autocontrast", "equalise"}))
def test_rand_augment_at_magnitude_zero_is_the_identity(op):
    out = apply(Augmenter([RandAugment(count=2, ops=(op,), magnitude=0.0, deviation=0.0)]))
    np.testing.assert_array_equal(out, IMAGES)


def test_rand_augment_draws_all_operations_evenly():
    drawn = Augmenter([RandAugment(count=1)], seed=1).draw(range(4000))
    moved = drawn["0/warp_count"].mean()
    toned = (drawn["0/tone_count"] > 0).mean()
    assert abs(moved - 0.4) < 0.03 and abs(toned - 0.6) < 0.03
    assert abs((drawn["0/tone_statistic"] > 0).any(1).mean() - 0.3) < 0.03


def test_rand_augment_keeps_its_room_small():
    # one segment of colour for each slot, although a slot may be any of six colour operations
    assert Augmenter([RandAugment(count=4)]).draw(range(3))["0/tone_table"].shape == (3, 5, 3, 256)


@pytest.mark.parametrize("seed", range(5))
def test_room_is_always_enough(seed):
    steps = [RandAugment(count=5), SomeOf(steps=(Invert(), RandAugment(count=2), Posterise()), count=3)]
    augmenter = Augmenter(steps, seed=seed)
    drawn = augmenter.draw(range(3000))
    segments = drawn["0/tone_table"].shape[1]
    assert drawn["0/tone_count"].max() <= segments
    out = apply(augmenter)
    assert out.shape == IMAGES.shape


def test_rand_augment_magnitudes_follow_their_distribution():
    drawn = Augmenter([RandAugment(count=1, ops=("translate_x",), magnitude=0.5, deviation=0.1)]).draw(range(4000))
    moved = np.abs(drawn["0/warp_shift"][:, 0, 1])
    assert abs(moved.mean() - 0.5) < 0.01 and abs(moved.std() - 0.1) < 0.01


def test_aug_mix_with_one_chain_blends_it():
    mixed = Augmenter([AugMix(steps=(Invert(),), width=1, depth=1)], seed=3)
    share = mixed.draw(IDS)["0/blend"]
    np.testing.assert_allclose(share.sum(1), 1, atol=1e-6)
    expected = share[:, :1, None, None] * IMAGES + share[:, 1:, None, None] * (255.0 - IMAGES)
    assert np.abs(apply(mixed) - expected).max() <= 0.51


def test_aug_mix_shares_follow_their_distributions():
    share = Augmenter([AugMix(steps=(Invert(),))], seed=1).draw(range(5000))["0/blend"]
    assert share.shape == (5000, 4)
    assert abs(share[:, 0].mean() - 0.5) < 0.02 and abs(share[:, 0].var() - 1 / 12) < 0.01
    parts = share[:, 1:] / (1 - share[:, :1])
    np.testing.assert_allclose(parts.mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(parts.var(0), 1 / 18, atol=0.01)  # Dirichlet(1, 1, 1)


def test_aug_mix_rate_leaves_the_rest_alone():
    mixed = Augmenter([AugMix(rate=0.5, steps=(Invert(),))], seed=1)
    still = (apply(mixed) == IMAGES).all((1, 2, 3))
    assert still.any() and not still.all()
    np.testing.assert_array_equal(still, mixed.draw(IDS)["0/blend"][:, 0] == 1)


def test_steps_before_aug_mix_come_first():
    first = Augmenter([Noise(low=9, high=9)], seed=1)
    both = Augmenter([Noise(low=9, high=9), AugMix(steps=(Rotate(rate=0),))], seed=1)
    assert np.abs(apply(both).astype(int) - apply(first)).max() <= 1


def test_some_of_draws_different_steps_in_any_order():
    some = Augmenter([SomeOf(steps=(Flip(rate=0), Brightness(low=0.5, high=0.5), Posterise(bits=1)), count=2)], seed=1)
    drawn = some.draw(range(3000))
    tables = drawn["0/tone_table"][:, 0, 0]
    kinds = {tuple(table) for table in tables[:, ::37].tolist()}
    # nothing is drawn as the pair with the flip; either alone; both orders of the two
    assert len(kinds) > 4


def test_all_of_is_all_or_nothing():
    both = Augmenter([AllOf(rate=0.4, steps=(Rotate(), Invert()))], seed=1).draw(range(3000))
    np.testing.assert_array_equal(both["0/warp_count"] > 0, both["0/tone_count"] > 0)
    assert abs((both["0/warp_count"] > 0).mean() - 0.4) < 0.03
