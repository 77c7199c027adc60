from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score

from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate
from cellclf.evaluation.significance import compare_paired, compare_sets, holm, mcnemar, points

CALLS = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=40).map(lambda rows: np.array(rows).T)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_the_exact_binomial_test(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)
    counted = sum(Fraction(comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    assert mcnemar(b, c) == pytest.approx(float(min(Fraction(1), 2 * counted)), rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


@given(st.lists(st.floats(0, 1), min_size=0, max_size=8))
def test_holm_is_its_definition(p_values):
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    expected = list(p_values)
    for place, k in enumerate(order):
        expected[k] = min(1.0, max((len(order) - j) * p_values[order[j]] for j in range(place + 1)))
    assert holm(p_values) == pytest.approx(expected)


@given(CALLS)
def test_the_differences_are_those_of_scikit_learn(calls):
    truth, one, two = calls
    found = compare_paired(truth, one, two, 3, min_count=1, resamples=100)
    there = np.unique(truth)
    f1 = [f1_score(truth, called, labels=there, average="macro", zero_division=0) for called in (one, two)]
    assert found.macro_f1 == pytest.approx(f1[0] - f1[1])
    recalls = [np.mean([(called[truth == k] == k).mean() for k in there]) for called in (one, two)]
    assert found.balanced_accuracy == pytest.approx(recalls[0] - recalls[1])
    assert found.accuracy == pytest.approx((one == truth).mean() - (two == truth).mean())
    assert found.only_first - found.only_second == round(len(truth) * found.accuracy)
    turned = compare_paired(truth, two, one, 3, min_count=1, resamples=100)
    assert (turned.only_first, turned.only_second) == (found.only_second, found.only_first)
    assert turned.p_value == found.p_value and turned.macro_f1 == pytest.approx(-found.macro_f1)


def test_a_class_of_few_images_is_in_no_average_of_classes_unless_asked_for():
    truth, one, two = np.repeat([0, 1, 2], [10, 10, 1]), np.zeros(21, int), np.repeat([0, 1], [20, 1])
    f1 = [f1_score(truth, called, labels=[0, 1, 2], average=None, zero_division=0) for called in (one, two)]
    assert compare_paired(truth, one, two, 3, resamples=100).macro_f1 == pytest.approx((f1[0] - f1[1])[:2].mean())
    every = compare_paired(truth, one, two, 3, min_count=1, resamples=100)
    assert every.macro_f1 == pytest.approx((f1[0] - f1[1]).mean())


@given(CALLS)
def test_a_classifier_does_not_differ_from_itself(calls):
    truth, one, _ = calls
    found = compare_paired(truth, one, one, 3, resamples=100)
    assert not found.significant and found.p_value == 1
    assert found.macro_f1 == found.macro_f1.low == found.macro_f1.high == 0


def noisy(rng, truth, share):
    return np.where(rng.random(len(truth)) < share, truth, rng.integers(0, 3, len(truth)))


def plain_f1(truth, called):
    right = [((truth == k) & (called == k)).sum() for k in range(3)]
    return np.mean([2 * right[k] / ((truth == k).sum() + (called == k).sum()) for k in range(3)])


def test_the_paired_interval_is_that_of_drawing_whole_images():
    rng = np.random.default_rng(0)
    truth = np.arange(240) % 3
    one, two = noisy(rng, truth, 0.8), noisy(rng, truth, 0.5)
    found = compare_paired(truth, one, two, 3, resamples=4000)
    draws = []
    for _ in range(600):  # slowly: places of images, each class for itself
        places = np.concatenate([rng.choice(np.flatnonzero(truth == k), 80) for k in range(3)])
        scores = [plain_f1(truth[places], called[places]) for called in (one, two)]
        draws.append(scores[0] - scores[1])
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.macro_f1.low == pytest.approx(low, abs=0.015) and found.macro_f1.high == pytest.approx(high, abs=0.015)
    assert found.significant and found.p_value < 0.01


def test_pairing_is_sharper_than_two_intervals_side_by_side():
    rng = np.random.default_rng(1)
    truth = np.arange(600) % 3
    one = noisy(rng, truth, 0.7)
    two = np.where(rng.random(600) < 0.03, (truth + 1) % 3, one)
    wide = compare_sets(*[np.histogram2d(truth, c, (3, 3))[0] for c in (two, one)], "abc")[0][1].difference
    near = compare_paired(truth, one, two, 3).macro_f1
    assert near == pytest.approx(wide, abs=1e-9)
    assert near.high - near.low < 0.6 * (wide.high - wide.low)


def test_small_classes_stay_out_of_the_means():
    truth = np.array([0, 0, 0, 1])
    found = compare_paired(truth, [0, 0, 0, 0], [0, 0, 0, 1], 2, min_count=2)
    assert found.balanced_accuracy == 0 and found.accuracy == -0.25
    with pytest.raises(DataError, match="min_count = 9"):
        compare_paired(truth, truth, truth, 2, min_count=9)
    with pytest.raises(DataError, match="one of each"):
        compare_paired(truth, truth[:2], truth, 2)


@given(st.lists(st.integers(0, 30), min_size=9, max_size=9), st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_two_sets_are_compared_over_what_they_share(one, two):
    before, after = np.array(one).reshape(3, 3), np.array(two).reshape(3, 3)
    shared = (before.sum(1) > 0) & (after.sum(1) > 0)
    if not shared.any():
        with pytest.raises(DataError, match="share no class"):
            compare_sets(before, after, "abc")
        return
    averages, recalls = compare_sets(before, after, "abc", resamples=200)
    assert [one.name for one in recalls] == [name for name, both in zip("abc", shared, strict=True) if both]
    share = [np.diag(c)[shared] / c.sum(1)[shared] for c in (before, after)]
    assert [one.difference for one in recalls] == pytest.approx((share[1] - share[0]).tolist())
    assert averages[0].difference == pytest.approx(share[1].mean() - share[0].mean())
    weight = after.sum(1)[shared]
    assert averages[2].before == pytest.approx(share[0] @ weight / weight.sum())
    for change in (*averages, *recalls):
        assert change.before + change.difference == pytest.approx(change.after)
        assert change.difference.low - 1e-9 <= change.difference <= change.difference.high + 1e-9 or change in averages
        assert change.difference.low < change.difference.high, "no finite set shows a difference exactly"


def test_another_mix_of_classes_alone_is_no_change():
    before = np.array([[80, 20], [10, 90]])
    after = before * [[5], [1]]
    averages, recalls = compare_sets(before, after, ["a", "b"])
    assert [change.difference for change in (*averages, *recalls)] == pytest.approx([0] * 5)


def test_intervals_hold_the_true_drop_as_often_as_they_say():
    rng = np.random.default_rng(3)
    held = []
    for seed in range(120):
        here = [rng.multinomial(300, p) for p in ([0.9, 0.1], [0.2, 0.8])]
        there = [rng.multinomial(60, p) for p in ([0.7, 0.3], [0.3, 0.7])]
        change = compare_sets(here, there, "ab", resamples=300, seed=seed)[0][0].difference
        held.append(change.low <= -0.15 <= change.high)
    assert np.mean(held) >= 0.89


def test_a_class_without_mistakes_that_weighs_more_there_is_as_uncertain_there():
    averages, _ = compare_sets([[5, 0], [0, 995]], [[50, 0], [0, 50]], "ab")
    few = 1 - 0.025 ** (1 / 5)
    assert averages[2].name == "accuracy" and averages[2].before == 1
    assert averages[2].before.low == pytest.approx(1 - few / 2) == pytest.approx(averages[0].before.low)
    assert averages[2].after.low == pytest.approx(0.025 ** (1 / 100))


def test_balanced_accuracy_of_a_set_is_scikit_learns():
    rng = np.random.default_rng(4)
    truth = np.arange(90) % 3
    called = noisy(rng, truth, 0.5)
    counts = np.histogram2d(truth, called, (3, 3))[0]
    change = compare_sets(counts, counts, "abc")[0][0]
    assert change.after == pytest.approx(balanced_accuracy_score(truth, called))
    assert change.difference.low < 0 < change.difference.high


def test_points_are_signed():
    assert points(Estimate(0.012, -0.0001, 0.03)) == "+1.2 points (+0.0 to +3.0)"
