from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.probabilities import honest
from hypothesis import given
from hypothesis import strategies as st

import cellclf as cc
from cellclf.errors import DataError
from cellclf.evaluation.label_noise import find_label_problems

NAMES = ["a", "b", "c", "d"]


def flipped(seed: int, n: int = 1000, flips: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of which some were changed, good probabilities, and which were changed."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    logits = 4.0 * np.eye(4)[labels] + rng.normal(0, 1, (n, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    chosen = rng.permutation(n)[:flips]
    labels[chosen] = (labels[chosen] + rng.integers(1, 4, flips)) % 4
    return labels, probabilities, chosen


@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_labels_come_first_whatever_the_order(seed):
    labels, probabilities, chosen = flipped(seed)
    found = find_label_problems(labels, probabilities, NAMES)
    assert len({*found.order[:60].tolist()} & {*chosen.tolist()}) >= 24
    assert found.flagged[found.order[: found.count]].all() and not found.flagged[found.order[found.count :]].any()
    assert (found.suggested != labels).all()
    order = np.random.default_rng(seed).permutation(len(labels))
    again = find_label_problems(labels[order], probabilities[order], NAMES)
    np.testing.assert_array_equal(again.flagged, found.flagged[order])
    np.testing.assert_array_equal(again.score, found.score[order])
    np.testing.assert_array_equal(again.joint, found.joint)


def test_thresholds_are_the_mean_that_a_class_gives_itself():
    labels, probabilities = honest(500, 0)
    found = find_label_problems(labels, probabilities, NAMES)
    for k in range(4):
        assert found.thresholds[k] == pytest.approx(probabilities[labels == k, k].mean())


def test_a_class_that_is_never_sure_is_not_called_wrong_all_the_time():
    labels = np.repeat([0, 1], 50)
    probabilities = np.where(labels[:, None] == 0, [[0.9, 0.1]], [[0.55, 0.45]])  # class 1 always looks like class 0
    assert (probabilities.argmax(1) == 0).all()
    assert find_label_problems(labels, probabilities, ["sure", "vague"]).count == 0


def test_classes_without_images_and_hopeless_probabilities_are_borne():
    found = find_label_problems([0, 0], [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], ["a", "b", "none"])
    assert found.count == 0  # nobody is confidently of a class that has no images to compare with
    assert found.order.tolist() == [1, 0] and found.to_dict()["thresholds"]["none"] is None


def test_it_can_be_read_drawn_and_stored():
    labels, probabilities, _ = flipped(0, n=200, flips=10)
    found = find_label_problems(labels, probabilities, NAMES)
    assert "labels" in found.summary() and "predicted as" in found.summary()
    assert len(json.loads(json.dumps(found.to_dict()))["problems"]) == found.count
    cells = cc.ImageSet(np.zeros((200, 8, 8, 3), np.uint8), labels)
    assert len(found.plot(cells, limit=3).axes) == 3
    with pytest.raises(DataError, match="200 labels for 5 images"):
        found.plot(cells[:5])
