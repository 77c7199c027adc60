"""Functions that are used alone: arguments as people write them are right, or refused in a line with the fix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cellclf.errors import CellclfError, DataError, OptionError
from cellclf.evaluation import (
    abstain,
    calibrate,
    compare_paired,
    compare_sets,
    coverage,
    energy,
    evaluate,
    find_label_problems,
    fit_conformal,
    fit_ood_detector,
    fit_temperature,
    holm,
    mcnemar,
    scale,
)

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 3, 40)
GIVEN = RNG.dirichlet(np.ones(3), 40)
CALLED = GIVEN.argmax(1)
NAMES = ["round", "lobed", "kidney"]
NUMBERS = {
    "bins": lambda x: calibrate(LABELS, GIVEN, bins=x),
    "simulations": lambda x: calibrate(LABELS, GIVEN, simulations=x),
    "calibrate seed": lambda x: calibrate(LABELS, GIVEN, seed=x),
    "evaluate seed": lambda x: evaluate(LABELS, GIVEN, seed=x),
    "min_count": lambda x: evaluate(LABELS, GIVEN, min_count=-1 if x is None else x),
    "resamples": lambda x: evaluate(LABELS, GIVEN, resamples=x),
    "confidence": lambda x: evaluate(LABELS, GIVEN, confidence=x),
    "paired classes": lambda x: compare_paired(LABELS, CALLED, CALLED, x),
    "paired resamples": lambda x: compare_paired(LABELS, CALLED, CALLED, 3, resamples=x),
    "paired confidence": lambda x: compare_paired(LABELS, CALLED, CALLED, 3, confidence=x),
    "sets resamples": lambda x: compare_sets(np.eye(3, dtype=int), np.eye(3, dtype=int), NAMES, resamples=x),
    "error": lambda x: fit_conformal(LABELS, GIVEN).sets(GIVEN, error=x),
    "accuracy": lambda x: abstain(LABELS, GIVEN).at(x),
    "share": lambda x: abstain(LABELS, GIVEN).accuracy_without(x),
    "temperature": lambda x: scale(GIVEN, x),
    "only_first": lambda x: mcnemar(x, 3),
    "p_values": lambda x: holm([0.1, x]) if x is not None else holm(0.1),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("value", ["3", -1, None, float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_none_are_refused_by_name(name: str, value: Any) -> None:
    if (name, value) == ("p_values", "3"):
        value = 3
    with pytest.raises(CellclfError, match=name.split()[-1]) as caught:
        NUMBERS[name](value)
    assert "expected" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(float),
        LABELS[:, None],
        LABELS.astype(object),
        LABELS.astype(np.uint8),
        [NAMES[k] for k in LABELS],
        np.ma.array(LABELS, mask=False),
    ],
    ids=["float", "column", "object", "bytes", "names", "nothing masked"],
)
def test_the_same_labels_give_the_same_report(labels: Any) -> None:
    assert np.array_equal(evaluate(labels, GIVEN, NAMES).confusion, evaluate(LABELS, GIVEN, NAMES).confusion)


def test_bools_are_the_second_of_two_classes() -> None:
    given = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert evaluate(np.array([False, True, True]), given, ["healthy", "sick"]).accuracy == 1
    assert fit_temperature([False, True, True], given) == fit_temperature([0, 1, 1], given)


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (LABELS + 1, GIVEN, "counted from 1, pass labels - 1"),
        (GIVEN, LABELS, "expected labels first, then probabilities"),
        (np.ma.array(LABELS, mask=[True] + [False] * 39), GIVEN, "1 of 40 labels are masked"),
        (LABELS, np.ma.array(GIVEN, mask=GIVEN > 0.5), "probabilities are masked"),
        (LABELS > 0, GIVEN[:, 0], r"np.column_stack\(\[1 - p, p\]\)"),
        (LABELS > 0, GIVEN[:, :1], r"np.column_stack\(\[1 - p, p\]\)"),
        ([0, None], GIVEN[:2], "expected one whole number for each image"),
        ([1e300, 0], GIVEN[:2], "expected one whole number for each image"),
    ],
)
def test_labels_and_probabilities_that_mean_something_else_are_refused(labels: Any, given: Any, message: str) -> None:
    for function in (evaluate, calibrate, fit_temperature, fit_conformal, abstain):
        with pytest.raises(DataError, match=message):
            function(labels, given)


@pytest.mark.parametrize(
    "names", [{"a": 0, "b": 1, "c": 2}, {"a", "b", "c"}, "abc", ["a", None, "c"], ["a", " ", "c"], ["a", "b", "a"], 3]
)
def test_names_without_an_order_or_a_name_are_refused(names: Any) -> None:
    with pytest.raises(OptionError, match="class_names"):
        evaluate(LABELS, GIVEN, names)
    with pytest.raises(OptionError, match="class_names"):
        find_label_problems(LABELS, GIVEN, names)


def test_columns_of_a_data_frame_are_matched_by_name() -> None:
    frame = pytest.importorskip("pandas").DataFrame(GIVEN, columns=NAMES)
    expected = evaluate(LABELS, GIVEN, NAMES)
    assert np.array_equal(evaluate(LABELS, frame[NAMES[::-1]], NAMES).confusion, expected.confusion)
    assert evaluate([NAMES[k] for k in LABELS], frame).class_names == tuple(NAMES)
    frame.columns = ["p1", "p2", "p3"]  # no names of classes: taken in their order
    assert np.array_equal(evaluate(LABELS, frame, NAMES).confusion, expected.confusion)


def test_predictions_that_are_no_classes_are_refused() -> None:
    for first, message in [
        (CALLED + 1, "first run from"),
        (CALLED - 1, "first run from"),
        (GIVEN, "first are float"),
        (CALLED[:5], "expected one of each"),
    ]:
        with pytest.raises(DataError, match=message):
            compare_paired(LABELS, first, CALLED, 3)
    with pytest.raises(DataError, match="expected bool"):
        coverage(LABELS, GIVEN, NAMES)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="counts have shapes"):
        compare_sets([[1, 0], [0, 1]], [[1, 0], [0, 1]], NAMES)
    with pytest.raises(DataError, match="logits"):
        energy([1.0, 2.0])
    with pytest.raises(DataError, match="NaN"):
        fit_ood_detector(np.full((5, 2), np.nan), [0] * 5, np.ones((3, 2)))


def test_rows_that_prefer_no_class_have_no_temperature() -> None:
    assert fit_temperature([0, 1] * 10, np.full((20, 2), 0.5)) == 1
