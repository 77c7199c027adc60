from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cellclf as cc
from cellclf.augmentation.mixing import Mix
from cellclf.training.batches import Batches
from cellclf.training.class_weights import image_weights
from cellclf.training.losses import make_loss
from cellclf.training.sampling import epoch_order, names_of

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.asarray)


@given(labels=LABELS, seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_balanced_sampling_shows_every_class_as_often(labels, seed, epoch):
    rows = epoch_order(labels, seed, epoch, "balanced")
    assert len(rows) == len(labels)
    counts = np.bincount(labels[rows], minlength=4)[np.unique(labels)]
    assert counts.max() - counts.min() <= 1
    for label in np.unique(labels):
        shown = np.bincount(rows, minlength=len(labels))[labels == label]
        assert shown.max() - shown.min() <= 1, "no image twice before each was shown once"
    np.testing.assert_array_equal(rows, epoch_order(labels, seed, epoch, "balanced"))


@given(labels=LABELS, seed=st.integers(0, 9))
def test_plain_sampling_shows_every_image_once(labels, seed):
    assert sorted(epoch_order(labels, seed, 0)) == list(range(len(labels)))


@given(order=st.lists(st.integers(0, 5), max_size=20).map(lambda rows: np.asarray(rows, np.int64)))
def test_an_image_that_comes_again_has_another_name(order):
    ids = np.asarray([f"cell{k}" for k in range(6)])
    names = names_of(ids, order)
    assert len(set(names.tolist())) == len(order)
    assert [name.partition("/")[0] for name in names.tolist()] == ids[order].tolist()


def test_effective_weights_follow_cui_et_al():
    counts = [2000, 200, 20]
    cells = cc.ImageSet(np.zeros((2220, 2, 2, 3), np.uint8), np.repeat([0, 1, 2], counts), class_names=["a", "b", "c"])
    weights = image_weights(cells, "effective")
    beta = 0.999
    expected = [(1 - beta) / (1 - beta**n) for n in counts]
    np.testing.assert_allclose(weights[[0, 2000, 2200]] / weights[0], np.asarray(expected) / expected[0], rtol=1e-4)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-5)
    balanced = image_weights(cells, "balanced")
    assert weights[-1] / weights[0] < balanced[-1] / balanced[0]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_with_smoothing_mixed_labels_and_weights(gamma):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 5).astype(np.float32)
    targets = rng.dirichlet([1, 1, 1], 5).astype(np.float32)
    weights = rng.random(5).astype(np.float32)
    found = float(make_loss(0.1, focal=gamma)(targets, probabilities, sample_weight=weights))
    smooth = targets * 0.9 + 0.1 / 3
    by_hand = -(smooth * (1 - probabilities) ** gamma * np.log(probabilities)).sum(1)
    assert found == pytest.approx((weights * by_hand).mean(), rel=1e-4)


def test_sampling_weights_mixing_and_smoothing_go_together():
    labels = np.repeat([0, 1, 2], [8, 3, 1])
    cells = cc.ImageSet(np.full((12, 4, 4, 3), 40, np.uint8) * labels[:, None, None, None].astype(np.uint8), labels)
    weights = image_weights(cells, {"0": 1.0, "1": 2.0, "2": 3.0})
    batches = Batches(cells, None, 12, weights, 0, Mix(kind="mixup", rate=1.0), sampling="balanced")
    [(images, targets, weight)] = [[np.asarray(x) for x in batch] for batch in batches.epoch(0)]
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(weight, targets @ [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(images[:, 0, 0, 0], targets @ [0, 40, 80], atol=0.51)


@pytest.mark.tensorflow("the batches of an epoch are a tf.data set")
def test_no_epoch_waits_for_the_thread_that_tunes(parts):
    batches = Batches(parts.train, None, 12, np.ones(len(parts.train), np.float32), 0)
    assert not batches.epoch(0).options().autotune.enabled, "an epoch would wait for its thread for seconds"


def test_two_ways_to_balance_are_refused(small_trainer):
    with pytest.raises(cc.OptionError, match="both balance the classes"):
        small_trainer(sampling="balanced", class_weight="effective").check_options()
    with pytest.raises(cc.UnknownNameError, match="did you mean 'balanced'"):
        small_trainer(sampling="balance").check_options()
    with pytest.raises(cc.OptionError, match="focal=-1"):
        small_trainer(focal=-1).check_options()
