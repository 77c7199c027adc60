"""Labels of one set are numbered by the classes of another: by name, or by position where one side has no names."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import cellclf as cc
from cellclf.data.classes import match_labels


def cells(labels, names=None):
    return cc.ImageSet(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, class_names=names)


@pytest.mark.parametrize(
    ("labels", "names", "known", "expected"),
    [
        ([0, 1, 1], ["lobed", "round"], ["round", "flat", "lobed"], [2, 0, 0]),
        ([2, 0, 1], None, ["round", "flat", "lobed"], [2, 0, 1]),
        ([0, 1], ["2", "0"], ["0", "1", "2"], [2, 0]),
        ([0, 1], ["2", "0"], ["round", "flat", "lobed"], [2, 0]),
    ],
)
def test_names_are_matched_and_bare_numbers_are_positions(labels, names, known, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert match_labels(cells(labels, names), known).tolist() == expected


def test_names_for_a_run_that_has_none_are_matched_by_position_with_a_warning():
    named = cells([1, 0, 1], ["flat", "round"])
    with pytest.warns(
        cc.CellclfWarning, match=r"by position: 0 is flat, 1 is round; if that is wrong, pass the same class names"
    ):
        assert match_labels(named, ["0", "1"]).tolist() == [1, 0, 1]
    with pytest.raises(
        cc.DataError, match="knows no class 'flat', 'round'; expected one of 0, 1, 2: pass the same class names"
    ):
        match_labels(named, ["0", "1", "2"])


def test_unknown_classes_and_sets_without_labels_are_refused():
    with pytest.raises(cc.DataError, match="labels are numbers up to 3, and the run has 2 classes, 0 is round"):
        match_labels(cells([0, 1], ["0", "3"]), ["round", "flat"])
    with pytest.raises(cc.DataError, match="no labels"):
        match_labels(cc.ImageSet(np.zeros((1, 4, 4, 3), np.uint8)), ["round"])
