from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from cellclf.evaluation.intervals import Estimate, bootstrap, count, resample
from cellclf.evaluation.scores import SCORES


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_scores_equal_scikit_learn(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, called = rng.integers(0, classes, n), rng.integers(0, classes, n)
    confusion = np.bincount(truth * classes + called, minlength=classes**2).reshape(classes, classes)
    present = confusion.sum(1) > 0
    ours = count(confusion, present)

    def of(*names: str) -> list[float]:
        return [float(SCORES[name].of_counts(ours)) for name in names]

    labels = np.arange(classes)

    def peer(average: str | None, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        return precision_recall_fscore_support(truth, called, labels=chosen, average=average, zero_division=0)[:3]

    np.testing.assert_allclose([ours.precision, ours.recall, ours.f1], peer(None, labels))
    macro = of("macro_precision", "balanced_accuracy", "macro_f1")
    np.testing.assert_allclose(macro, peer("macro", labels[present]))
    np.testing.assert_allclose(of("weighted_precision", "accuracy", "weighted_f1"), peer("weighted", labels))
    np.testing.assert_allclose(of("accuracy"), (truth == called).mean())
    assert of("macro_recall") == of("balanced_accuracy")


def test_resampling_counts_is_resampling_images() -> None:
    confusion = np.array([[30, 8, 2], [5, 14, 1], [0, 1, 9]])
    hits, predicted = resample(confusion, 4000, seed=3)
    assert (predicted.sum(1) == confusion.sum()).all()
    rng = np.random.default_rng(4)
    by_image = []
    for _ in range(4000):
        again = np.zeros((3, 3), int)
        for k, row in enumerate(confusion):
            images = np.repeat(np.arange(3), row)
            np.add.at(again[k], rng.choice(images, len(images)), 1)
        by_image.append((again.diagonal(), again.sum(0)))
    slow_hits, slow_predicted = (np.array(column) for column in zip(*by_image, strict=True))
    for fast, slow in ((hits, slow_hits), (predicted, slow_predicted)):
        np.testing.assert_allclose(fast.mean(0), slow.mean(0), atol=0.25)
        np.testing.assert_allclose(fast.std(0), slow.std(0), atol=0.15)


def test_intervals_cover_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0.9, 0.1], [0.2, 0.8]])
    held = 0
    for trial in range(200):
        confusion = np.stack([rng.multinomial(150, row) for row in truth])
        found = bootstrap(confusion, np.array([True, True]), confidence=0.9, resamples=300, seed=trial)
        recall = SCORES["balanced_accuracy"].estimate(found)
        held += recall.low <= 0.85 <= recall.high
    assert 0.83 <= held / 200 <= 0.97


def test_the_interval_of_recall_is_near_the_binomial_one() -> None:
    found = bootstrap(np.array([[80, 20], [3, 47]]), np.array([True, True]), confidence=0.95, resamples=4000, seed=0)
    exact = binomtest(80, 100).proportion_ci(0.95, "wilson")
    assert found.recall()[0].low == pytest.approx(exact.low, abs=0.015)
    assert found.recall()[0].high == pytest.approx(exact.high, abs=0.015)


def test_no_mistake_in_three_images_is_no_certainty() -> None:
    found = bootstrap(np.array([[3, 0], [0, 200]]), np.array([True, True]), confidence=0.95, resamples=200, seed=0)
    exact = binomtest(3, 3).proportion_ci(0.95)
    assert found.recall()[0] == 1 and found.recall()[0].low == pytest.approx(exact.low)
    assert found.recall()[1].low == pytest.approx(binomtest(200, 200).proportion_ci(0.95).low)
    assert SCORES["accuracy"].estimate(found).low == pytest.approx(binomtest(203, 203).proportion_ci(0.95).low)
    assert SCORES["balanced_accuracy"].estimate(found).low == pytest.approx(1 - (1 - exact.low) / 2)
    weighted = SCORES["weighted_f1"].estimate(found)
    assert weighted.low == pytest.approx(SCORES["accuracy"].estimate(found).low)


def test_a_class_that_is_never_hit_has_an_upper_bound() -> None:
    found = bootstrap(np.array([[0, 10], [0, 10]]), np.array([True, True]), confidence=0.95, resamples=200, seed=0)
    assert found.recall()[0] == 0 and found.recall()[0].high == pytest.approx(binomtest(0, 10).proportion_ci(0.95).high)
    assert found.precision()[0] == 0 and 0 < found.f1()[0].high < 1


def test_a_score_that_no_resample_changes_has_an_interval() -> None:
    """One class always found, the other never: 50 % in every resample, from ten images each."""
    found = bootstrap(np.array([[0, 10], [0, 10]]), np.array([True, True]), confidence=0.95, resamples=200, seed=0)
    for name in ("accuracy", "balanced_accuracy"):
        value = SCORES[name].estimate(found)
        assert value == 0.5 and value.low < 0.5 < value.high


def test_the_seed_decides() -> None:
    confusion, both = np.array([[30, 8], [5, 14]]), np.array([True, True])

    def low(seed: int) -> float:
        return SCORES["macro_f1"].estimate(bootstrap(confusion, both, confidence=0.95, resamples=100, seed=seed)).low

    assert low(1) == low(1) and low(1) != low(2)


def test_an_estimate_is_a_number_that_survives_pickle_and_json() -> None:
    one = Estimate(0.5, 0.25, 0.75)
    again = pickle.loads(pickle.dumps(one))
    assert (again, again.low, again.high) == (0.5, 0.25, 0.75)
    assert f"{one:.2f}" == "0.50" and json.dumps([one]) == "[0.5]"
    nothing = Estimate(np.nan, np.nan, np.nan)
    assert str(nothing) == "no images"
    assert nothing.to_dict() == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("others", [0, 1, 2, 40])
def test_f1_of_a_class_that_was_never_found_is_bounded_by_its_recall(others: int) -> None:
    """However few images were predicted as the class: F1 is at most 2r / (1 + r) for a recall of at most r."""
    confusion = np.array([[0, 15], [others, 60]])
    found = bootstrap(confusion, np.array([True, True]), confidence=0.95, resamples=200, seed=0)
    recall, f1 = found.recall()[0], found.f1()[0]
    assert f1 == recall == 0 and recall.high == pytest.approx(1 - 0.025 ** (1 / 15))
    assert 0 < f1.high <= 2 * recall.high / (1 + recall.high) + 1e-9
