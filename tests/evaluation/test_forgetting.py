from __future__ import annotations

import json

import numpy as np
import pytest

from cellclf.evaluation import Forgetting, measure_forgetting

NAMES = ("round", "lobed", "new")


def hits(right):
    """Give probabilities of two classes: (n,) which are predicted rightly of the labels 0 0 0 0 1 1 1 1."""
    labels = np.repeat([0, 1], 4)
    chosen = np.where(right, labels, 1 - labels)
    return np.eye(2)[chosen] * 0.8 + 0.1


def test_the_change_is_paired_and_the_class_that_lost_most_is_named():
    before, after = hits([1, 1, 1, 1, 1, 1, 1, 0]), hits([1, 0, 1, 0, 1, 1, 1, 1])
    wider = np.concatenate([after, np.zeros((8, 1))], axis=1)
    found = measure_forgetting(np.repeat([0, 1], 4), before, wider, NAMES, images="validation images of runs/a")
    assert float(found.before.balanced_accuracy) == 0.875 and float(found.after.balanced_accuracy) == 0.75
    assert float(found.difference.balanced_accuracy) == pytest.approx(-0.125)
    assert found.lost() == [("round", 1.0, 0.5), ("lobed", 0.75, 1.0)]
    text = found.summary()
    assert "on 8 validation images of runs/a the balanced accuracy was 87.5 % and is 75.0 %: -12.5 points" in text
    assert text.endswith("most lost: round, recall 100.0 % to 50.0 %")
    assert found.sentence() == f"In the laboratory that it comes from: {text}."
    assert found.short()["change"] == pytest.approx(-0.125) and len(repr(found).splitlines()) == 1
    assert json.loads(json.dumps(found.to_dict()))["before"]["n"] == 8


def test_a_new_class_takes_from_the_old_ones():
    before = hits(np.ones(8))
    after = np.tile([0.2, 0.2, 0.6], (8, 1))
    found = measure_forgetting(np.repeat([0, 1], 4), before, after, NAMES)
    assert float(found.after.balanced_accuracy) == 0 and found.difference.only_second == 8


def test_without_images_the_reason_is_given():
    found = Forgetting(images="pass OLD")
    assert (
        str(found) == "home score unknown: pass OLD" and found.lost() == [] and found.short() == {"images": "pass OLD"}
    )
    assert found.to_dict()["difference"] is None
