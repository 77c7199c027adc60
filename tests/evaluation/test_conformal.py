from __future__ import annotations

import numpy as np
import pytest
from helpers.probabilities import honest
from hypothesis import given
from hypothesis import strategies as st

from cellclf.errors import DataError, OptionError
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.conformal import coverage, fit_conformal

NAMES = ["a", "b", "c", "d"]
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("error", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_sets_miss_the_truth_as_often_as_stated_however_bad_the_probabilities(error, temperature):
    covered = []
    for seed in range(60):
        labels, probabilities = honest(800, seed)
        probabilities = scale(probabilities, temperature)
        fitted = fit_conformal(labels[:400], probabilities[:400])
        covered.append(coverage(labels[400:], fitted.sets(probabilities[400:], error, empty=True), NAMES).covered)
    # the mean over calibration sets of 400 lies in [1 - error, 1 - error + 1/401]; 60 halves leave this much chance
    chance = 4 * np.sqrt(2 * error * (1 - error) / 400 / 60)
    assert 1 - error - chance <= np.mean(covered) <= 1 - error + 1 / 401 + chance


def test_every_class_by_itself_is_covered_where_the_common_promise_fails_one():
    rng = np.random.default_rng(0)
    labels = (rng.random(6000) < 0.15).astype(int)
    right = np.where(labels == 0, rng.uniform(0.6, 1, 6000), rng.uniform(0.2, 1, 6000))  # class 1 is hard
    probabilities = np.stack([np.where(labels == 0, right, 1 - right), np.where(labels == 1, right, 1 - right)], 1)
    fitted = fit_conformal(labels[:3000], probabilities[:3000])
    common, own = (
        coverage(labels[3000:], fitted.sets(probabilities[3000:], 0.05, per_class=each), ["easy", "hard"])
        for each in (False, True)
    )
    assert common.covered == pytest.approx(0.95, abs=0.02) and common.classes["hard"] < 0.85
    assert own.classes["hard"] == pytest.approx(0.95, abs=0.04) and own.classes["easy"] > 0.93


@given(seed=seeds, error=st.floats(0.005, 0.5))
def test_smaller_error_larger_sets_never_empty(seed, error):
    labels, probabilities = honest(120, seed)
    fitted = fit_conformal(labels[:80], probabilities[:80])
    sets, wider = fitted.sets(probabilities[80:], error), fitted.sets(probabilities[80:], error / 2)
    assert (wider | ~sets).all() and sets.any(1).all()
    assert sets[np.arange(40), probabilities[80:].argmax(1)].all()
    order = np.random.default_rng(seed).permutation(80)
    again = fit_conformal(labels[:80][order], probabilities[:80][order])
    np.testing.assert_array_equal(again.sets(probabilities[80:], error), sets)


def test_too_few_images_promise_nothing_and_say_it_by_full_sets():
    labels, probabilities = honest(50, 1)
    fitted = fit_conformal(labels, probabilities)
    assert fitted.sets(probabilities, 0.01).all()
    assert (fitted.thresholds(0.03, per_class=True) == 0).any()


def test_what_does_not_fit_is_refused():
    labels, probabilities = honest(50, 1)
    fitted = fit_conformal(labels, probabilities)
    for error in (0.0, 1.0, 5):
        with pytest.raises(OptionError, match="expected a number above 0 and below 1"):
            fitted.sets(probabilities, error)
    with pytest.raises(DataError, match="expected \\(images, 4\\)"):
        fitted.sets(probabilities[:, :3])
    with pytest.raises(DataError, match="expected bool"):
        coverage(labels, fitted.sets(probabilities)[:3], NAMES)
    found = coverage([0, 0], np.ones((2, 4), bool), NAMES).to_dict()
    assert found["classes"] == {"a": 1.0, "b": None, "c": None, "d": None} and found["sizes"] == {"4": 1.0}
