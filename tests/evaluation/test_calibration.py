from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.probabilities import honest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from cellclf.errors import DataError, OptionError
from cellclf.evaluation.calibration import calibrate, fit_temperature, scale
from cellclf.evaluation.selective import abstain

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, temperature=st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_of_the_classes(seed, temperature):
    _, probabilities = honest(20, seed)
    scaled = scale(probabilities, temperature)
    np.testing.assert_allclose(scaled.sum(1), 1)
    # two nearly equal classes may become equal
    best = scaled[np.arange(20), probabilities.argmax(1)]
    assert (best >= scaled.max(1)).all()
    if temperature > 0.5:  # below, small probabilities fall under what a float32 softmax can tell from 0
        np.testing.assert_allclose(scale(scaled, 1 / temperature), probabilities, atol=1e-6)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(true):
    labels, probabilities = honest(20_000, 1)
    assert fit_temperature(labels, scale(probabilities, 1 / true)) == pytest.approx(true, rel=0.05)


def test_impossible_classes_of_a_float32_softmax_do_not_break_it():
    probabilities = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert 0.05 <= fit_temperature([0, 1, 1], probabilities) <= 20
    assert np.isfinite(scale(probabilities, 0.1)).all()
    with pytest.raises(OptionError, match="temperature=0"):
        scale(probabilities, 0)


@given(seed=seeds)
def test_an_honest_classifier_shows_what_a_perfect_one_shows(seed):
    labels, probabilities = honest(1500, seed)
    found = calibrate(labels, probabilities, simulations=100)
    assert found.ece < 0.07
    assert found.ece < 3 * found.ece_if_perfect
    boastful = calibrate(labels, scale(probabilities, 0.3), simulations=20)
    assert boastful.ece > boastful.ece_if_perfect.high and boastful.confidence > boastful.accuracy


@given(seed=seeds)
def test_the_order_of_the_images_plays_no_part(seed):
    labels, probabilities = honest(200, seed)
    probabilities = np.round(probabilities, 1) + 1e-9  # many of equal confidence
    probabilities /= probabilities.sum(1, keepdims=True)
    order = np.random.default_rng(seed).permutation(200)
    first = calibrate(labels, probabilities, simulations=1)
    second = calibrate(labels[order], probabilities[order], simulations=1)
    assert first.ece == pytest.approx(second.ece)
    for a, b in zip(first.bins, second.bins, strict=True):
        assert (a.count, float(a.accuracy)) == (b.count, pytest.approx(float(b.accuracy)))
        assert 0 <= a.accuracy.low <= a.accuracy <= a.accuracy.high <= 1
    one, two = abstain(labels, probabilities), abstain(labels[order], probabilities[order])
    np.testing.assert_allclose(one.accuracy, two.accuracy)


def test_brier_and_log_loss_are_scikit_learns():
    labels, probabilities = honest(300, 0)
    found = calibrate(labels, probabilities, simulations=1)
    np.testing.assert_allclose(found.log_loss, log_loss(labels, probabilities))
    two = np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], 1)
    half = calibrate((labels != 0).astype(int), two, simulations=1)
    np.testing.assert_allclose(half.brier, 2 * brier_score_loss((labels == 0).astype(int), two[:, 0]))


def test_a_calibration_can_be_read_drawn_and_stored():
    found = calibrate(*honest(100, 3))
    assert "a perfectly calibrated classifier would show" in str(found) and "15 bins" in str(found)
    assert sum(one["count"] for one in json.loads(json.dumps(found.to_dict()))["bins"]) == 100
    assert found.plot().axes[0].get_xlabel() == "confidence (%)"
    with pytest.raises(OptionError, match="bins=0"):
        calibrate([0], [[1.0]], bins=0)
    with pytest.raises(DataError, match="images x classes"):
        calibrate([0, 1], [[0.5, 0.5]])


@given(seed=seeds)
def test_the_abstention_curve_ends_at_the_accuracy(seed):
    labels, probabilities = honest(150, seed)
    curve = abstain(labels, probabilities)
    assert curve.answered[-1] == 1 and (np.diff(curve.answered) > 0).all() and (np.diff(curve.confidence) < 0).all()
    assert curve.accuracy[-1] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert curve.accuracy_without(0) == curve.accuracy[-1]
    try:
        found = curve.at(0.9)
    except OptionError:
        return
    answered = probabilities.max(1) >= found.threshold
    assert answered.mean() == pytest.approx(found.answered)
    assert (probabilities.argmax(1) == labels)[answered].mean() == pytest.approx(found.observed)
    assert found.observed >= 0.9


def test_leaving_uncertain_images_to_a_person_helps():
    curve = abstain(*honest(5000, 0))
    assert curve.accuracy_without(0.3) > curve.accuracy_without(0) + 0.05
    assert json.loads(json.dumps(curve.to_dict()))["n"] == 5000
    assert curve.plot().axes[0].get_ylabel() == "accuracy of these (%)"
