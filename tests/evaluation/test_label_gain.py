"""What labels bring: the mean over draws, paired with the run as it is, with an interval for one adaptation."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.errors import DataError
from cellclf.evaluation.label_gain import label_gain


def predicted(truth, recall, rng):
    return np.where(rng.random(len(truth)) < recall[truth], truth, (truth + 1) % len(recall))


def cut(draws, count):
    """Give halves of some cells, other ones in each draw."""
    return np.stack([np.random.default_rng(k).permutation(count) < count // 2 for k in range(draws)])


def test_the_values_are_means_of_recalls():
    truth = np.repeat([0, 1], [4, 2])
    before = np.array([0, 0, 1, 1, 1, 1])
    after = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0]])
    found = label_gain(truth, before, after, cut(2, 6), 25)
    assert found.balanced_accuracy == pytest.approx(np.mean([(3 / 4 + 1) / 2, (1 + 1 / 2) / 2]))
    assert found.gain == pytest.approx(found.balanced_accuracy - (1 / 2 + 1) / 2)
    assert (found.count, found.n, found.draws) == (25, 6, 2)
    one = label_gain(truth, before, after, cut(2, 6), 25, classes=np.array([0, 7]))
    assert one.balanced_accuracy == pytest.approx(7 / 8) and one.n == 4, "only classes that count, and are there"


def test_the_interval_covers_another_adaptation():
    rng = np.random.default_rng(0)
    truth, covered, widths = np.arange(300) % 3, [], []
    for _ in range(200):
        means = np.clip(rng.normal(0.8, 0.04, 5), 0, 1)  # how good an adaptation is depends on the labelled cells
        halves = cut(2, 300)
        each = [predicted(truth, np.full(3, mean), rng) for mean in means[:4]]
        after = np.stack([np.where(halves[d], each[2 * d], each[2 * d + 1]) for d in range(2)])
        found = label_gain(truth, predicted(truth, np.full(3, 0.5), rng), after, halves, 25)
        covered.append(found.balanced_accuracy.low <= means[4] <= found.balanced_accuracy.high)
        widths.append(found.balanced_accuracy.high - found.balanced_accuracy.low)
    assert np.mean(covered) > 0.9 and np.mean(widths) < 0.3


def test_nothing_gained_is_not_shown():
    rng = np.random.default_rng(1)
    truth = np.arange(200) % 2
    shown = []
    for _ in range(100):
        before, *after = (predicted(truth, np.full(2, 0.7), rng) for _ in range(3))
        shown.append(label_gain(truth, before, np.stack(after), cut(2, 200), 25).gain.low > 0)
    assert np.mean(shown) <= 0.05


def test_groups_widen_the_interval():
    truth = np.arange(200) % 2
    groups = np.arange(200) // 20
    right = (groups % 2 == 0)[None].repeat(3, 0)  # all cells of a slide are right, or none is
    after = np.where(right, truth, 1 - truth)
    before = np.zeros(200, np.int64)
    alone, grouped = (
        label_gain(truth, before, after, cut(3, 200), 25, groups=one).balanced_accuracy for one in (None, groups)
    )
    assert grouped == alone and grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_class_without_a_mistake_is_not_certain():
    truth = np.arange(20) % 2
    found = label_gain(truth, 1 - truth, np.stack([truth, truth]), cut(2, 20), 25)
    assert found.balanced_accuracy == 1 and found.balanced_accuracy.low < 0.96 and found.balanced_accuracy.high == 1


@pytest.mark.parametrize("shape", [(0, 4), (2, 3), (4,)])
def test_arrays_must_fit(shape):
    with pytest.raises(DataError, match="do not fit together"):
        label_gain(np.zeros(4, int), np.zeros(4, int), np.zeros(shape, int), np.zeros(shape, bool), 25)
    with pytest.raises(DataError, match="do not fit together"):
        label_gain(np.zeros(4, int), np.zeros(4, int), np.zeros((2, 4), int), cut(1, 4), 25)
    with pytest.raises(DataError, match="none of the classes has a cell"):
        label_gain(np.zeros(4, int), np.zeros(4, int), np.zeros((2, 4), int), cut(2, 4), 25, classes=np.array([3]))
