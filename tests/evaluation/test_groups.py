"""Intervals where images are of slides: they resample slides, hold what they say they hold, and say what they took."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from cellclf.errors import DataError
from cellclf.evaluation.groups import number_groups, resample_groups, stretch
from cellclf.evaluation.intervals import Grouped
from cellclf.evaluation.metrics import evaluate
from cellclf.evaluation.significance import compare_paired, compare_sets

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "intervals.py"
    spec = importlib.util.spec_from_file_location("bench_intervals", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("slides", "cells"), [(10, 100), (40, 25)])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_intervals_by_slide_hold_the_truth(bench, slides, cells, spread):
    found = bench.coverage(slides, cells, spread, trials=150, resamples=200, seed=3)
    for share in found.values():
        assert 0.89 <= share <= 1.0, "90-98 %, and what 150 trials scatter"


def test_intervals_by_image_do_not(bench):
    found = bench.coverage(10, 100, 0.05, trials=100, resamples=100, by_slide=False, seed=3)
    assert max(found.values()) < 0.85


def sample(seed, count=120, classes=3, slides=12):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, slides, count)
    labels = rng.integers(0, classes, count)
    right = rng.random(count) < np.clip(rng.normal(0.8, 0.15, slides), 0, 1)[groups]
    return labels, np.where(right, labels, rng.integers(0, classes, count)), groups


def test_drawing_counts_is_drawing_groups_with_their_images():
    labels, called, groups = sample(1)
    numbers = number_groups(groups, len(groups))
    hits, predicted = resample_groups(labels, called, numbers, 3, resamples=40, seed=5)
    slides = int(numbers.max()) + 1
    drawn = np.random.default_rng(5).multinomial(slides, np.full(slides, 1 / slides), size=40)
    support = np.bincount(labels, minlength=3)
    for number, times in enumerate(drawn):
        rows = np.concatenate([np.flatnonzero(numbers == k) for k in np.repeat(np.arange(slides), times)])
        own = np.bincount(labels[rows], minlength=3)
        scale = support / own
        expected = np.bincount(labels[rows], labels[rows] == called[rows], minlength=3) * scale
        np.testing.assert_allclose(hits[number], expected)
        np.testing.assert_allclose(predicted[number], np.bincount(called[rows], scale[labels[rows]], minlength=3))
    np.testing.assert_allclose(predicted.sum(1), len(labels))


def test_a_class_of_one_slide_keeps_its_row_where_it_is_not_drawn():
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3, 3])
    hits, predicted = resample_groups(labels, np.array([0, 1, 0, 0, 1, 0]), groups, 2, resamples=200, seed=0)
    assert np.isfinite(hits).all() and (hits[:, 1] == 1).all() and (predicted.sum(1) == 6).all()


@pytest.mark.parametrize("seed", range(10))
def test_an_interval_is_never_narrower_with_groups_and_stays_within_its_bounds(seed):
    labels, called, groups = sample(seed, slides=(2, 3, 5, 8, 9, 10, 11, 20, 40, 120)[seed])
    alone, grouped = (evaluate(labels, np.eye(3)[called], NAMES, groups=one) for one in (None, groups))
    assert {k: float(v) for k, v in alone.scores.items()} == {k: float(v) for k, v in grouped.scores.items()}
    pairs = list(zip(alone.headline().values(), grouped.headline().values(), strict=True))
    for one, other in zip(alone.classes, grouped.classes, strict=True):
        pairs += [(one.recall, other.recall), (one.precision, other.precision), (one.f1, other.f1)]
    for one, other in pairs:
        assert 0 <= other.low <= one.low <= one <= one.high <= other.high <= 1


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (None, "bootstrap resamples of images\n"),
        (np.arange(40), "of 40 groups\n"),
        (np.arange(40) // 4, "of 10 groups\n"),
        (np.arange(40) // 5, "of 8 groups (so few that the intervals are rough)\n"),
        (np.arange(40) // 20, "of 2 groups (so few"),
        (["one"] * 40, "of images (all of one group, so that the intervals say nothing about other groups)\n"),
        ([f"slide {k % 12}" for k in range(40)], "of 12 groups\n"),
        ([("left", "right")[k % 2] for k in range(40)], "of 2 groups (so few"),
        (np.arange(40) % 15 / 2, "of 15 groups\n"),
        (np.array(["a", 1] * 20, dtype=object), "of 2 groups (so few"),
    ],
)
def test_a_report_says_what_its_intervals_resample(groups, expected):
    report = evaluate(np.arange(40) % 2, np.eye(2)[np.arange(40) // 3 % 2], ["a", "b"], groups=groups)
    assert expected in str(report)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["groups"] == (None if groups is None else len(set(np.asarray(groups).tolist())))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([1, 2], r"shape \(2,\); expected \(3,\)"),
        ([[1], [2], [3]], r"shape \(3, 1\)"),
        ("slide", r"shape \(\)"),
        ([1.0, np.nan, 2.0], "1 of 3 images have no group"),
        ([None, None, "a"], "2 of 3 images have no group"),
        ([], r"shape \(0,\)"),
    ],
)
def test_groups_that_cannot_be_are_refused(groups, expected):
    with pytest.raises(DataError, match=expected):
        evaluate([0, 1, 0], np.eye(2)[[0, 1, 1]], ["a", "b"], groups=groups)


def test_the_difference_of_two_classifiers_knows_slides():
    labels, one, groups = sample(4, count=400)
    two = np.where(groups == 4, labels, one)  # better on one slide only
    alone, grouped = (compare_paired(labels, two, one, 3, groups=given) for given in (None, groups))
    for name, value in alone.differences.items():
        other = grouped.differences[name]
        assert other == value and other.low <= value.low and other.high >= value.high
    assert alone.accuracy.low > 0 >= grouped.accuracy.low
    assert grouped.p_value == alone.p_value


@pytest.mark.parametrize("known", [(True, True), (False, True), (True, False)])
def test_the_change_between_two_sets_knows_slides(known):
    sets = [sample(seed, count=300, slides=slides) for seed, slides in ((5, 20), (6, 12))]
    counts = [np.bincount(labels * 3 + called, minlength=9).reshape(3, 3) for labels, called, _ in sets]
    images = [
        Grouped(labels, called, number_groups(groups, 300)) if given else None
        for (labels, called, groups), given in zip(sets, known, strict=True)
    ]
    alone, grouped = compare_sets(*counts, NAMES), compare_sets(*counts, NAMES, images=tuple(images))
    for one, other in zip((*alone[0], *alone[1]), (*grouped[0], *grouped[1]), strict=True):
        assert (one.name, one.before, one.after) == (other.name, other.before, other.after)
        assert other.difference == pytest.approx(one.difference)
        for first, second, given in ((one.before, other.before, known[0]), (one.after, other.after, known[1])):
            assert second.low <= first.low and second.high >= first.high
            assert given or (second.low, second.high) == (first.low, first.high)
    wide, narrow = (found[0][0].difference for found in (grouped, alone))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_classes_count_as_many_images_as_they_are_told():
    labels, called, groups = sample(1)
    sizes = np.array([100, 0, 10])
    hits, predicted = resample_groups(labels, called, groups, 3, resamples=50, seed=5, sizes=sizes)
    plain, _ = resample_groups(labels, called, groups, 3, resamples=50, seed=5)
    np.testing.assert_allclose(hits, plain * sizes / np.bincount(labels))
    np.testing.assert_allclose(predicted.sum(1), 110)


@pytest.mark.parametrize(("groups", "expected"), [(2, 9.168), (3, 2.69), (5, 1.58), (10, 1.217), (1000, 1.0018)])
def test_few_groups_need_wider_intervals(groups, expected):
    found = stretch(groups, 0.95)
    assert found == pytest.approx(expected, rel=0.01)
    assert stretch(1, 0.95) == np.inf
