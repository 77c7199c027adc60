from __future__ import annotations

import json
import time

import numpy as np
import pytest
from helpers.images import png
from sklearn import metrics

from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.evaluation.calibration import calibrate
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.significance import compare_paired

NAMES = ("basophil", "monocyte", "neutrophil", "platelet")


def some(n: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of uneven classes and probabilities that mostly point at them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = rng.normal(size=(n, classes)) + 2.0 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probabilities


@pytest.fixture
def report() -> Report:
    return evaluate(*some(), NAMES)


def test_point_values_equal_scikit_learn(report: Report) -> None:
    labels, probabilities = some()
    called = probabilities.argmax(1)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, called))
    assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, called))
    assert report.macro_recall == report.balanced_accuracy and report.weighted_recall == report.accuracy
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, called, average="macro"))
    assert report.weighted_f1 == pytest.approx(metrics.f1_score(labels, called, average="weighted"))
    assert report.macro_precision == pytest.approx(metrics.precision_score(labels, called, average="macro"))
    assert report.log_loss == pytest.approx(metrics.log_loss(labels, probabilities))
    np.testing.assert_array_equal(report.confusion, metrics.confusion_matrix(labels, called))
    np.testing.assert_allclose(report.rates, metrics.confusion_matrix(labels, called, normalize="true"))


def test_every_interval_holds_its_value(report: Report) -> None:
    scores = [*report.headline().values(), *(s for c in report.classes for s in (c.precision, c.recall, c.f1))]
    assert all(s.low <= s <= s.high and s.low < s.high for s in scores)


def test_a_wider_level_and_fewer_images_widen_the_interval() -> None:
    def width(n: int, confidence: float) -> float:
        f1 = evaluate(*some(n), NAMES, confidence=confidence).macro_f1
        return f1.high - f1.low

    assert width(300, 0.8) < width(300, 0.99)
    assert width(3000, 0.95) < width(150, 0.95)


def test_a_class_without_images_is_named_and_not_averaged() -> None:
    labels, probabilities = some(classes=3)
    probabilities = np.hstack([probabilities * 0.9, np.full((len(labels), 1), 0.1)])
    report = evaluate(labels, probabilities, NAMES)
    assert report.left_out == {"platelet": 0}
    assert np.isnan(report.classes[3].recall) and np.isnan(report.rates[3]).all()
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, probabilities.argmax(1), average="macro"))
    text = str(report)
    assert "no images" in text and "leave out" in text and "platelet (0)" in text
    assert "NaN" not in json.dumps(report.to_dict(), allow_nan=False)


def test_balanced_accuracy_over_the_classes_with_enough_images() -> None:
    labels = np.repeat([0, 1, 2], [3, 20, 30])
    probabilities = np.full((53, 4), 0.01) + 0.96 * np.eye(4)[np.where(np.arange(53) % 5 == 0, 2, labels)]
    report = evaluate(labels, probabilities, NAMES, min_count=20)
    assert report.left_out == {"basophil": 3, "platelet": 0}
    assert report.balanced_accuracy == pytest.approx(np.mean([c.recall for c in report.classes[1:3]]))
    assert report.classes[0].support == 3 and 0 <= report.classes[0].recall <= 1
    assert report.weakest.name == "monocyte"
    with pytest.raises(DataError, match="the largest has 30; lower min_count"):
        evaluate(labels, probabilities, NAMES, min_count=31)


def test_a_class_of_three_images_leads_no_average_unless_asked_for() -> None:
    truth = [0] * 20 + [1] * 20 + [2] * 3
    called = np.eye(3)[[0] * 20 + [1] * 20 + [0] * 3]
    report = evaluate(truth, called, ["a", "b", "rare"])
    assert report.left_out == {"rare": 3} and "leave out, for lack of images: rare (3)" in str(report)
    assert float(report.balanced_accuracy) == 1 and float(evaluate(truth, called, min_count=1).balanced_accuracy) < 0.7
    few = evaluate(truth[17:], called[17:], ["a", "b", "rare"])  # one class alone has ten: no average over one class
    assert few.left_out == {}
    paired = compare_paired(truth, truth, [0] * 20 + [1] * 20 + [0] * 3, 3)
    assert float(paired.balanced_accuracy) == 0


def test_confused_pairs_and_mistakes_lead_with_the_surest(report: Report) -> None:
    wrong = report.mistakes()
    assert len(wrong) == (report.truth != report.predicted).sum() > 10
    assert (np.diff(report.confidence[wrong]) <= 0).all()
    pairs = report.confused()
    assert [p.count for p in pairs] == sorted((p.count for p in pairs), reverse=True)
    assert sum(p.count for p in pairs) == len(wrong)
    for pair in pairs:
        row, column = NAMES.index(pair.truth), NAMES.index(pair.predicted)
        assert pair.count == report.confusion[row, column] and pair.rate == report.rates[row, column]
        assert (report.truth[pair.indices] == row).all() and (report.predicted[pair.indices] == column).all()
        assert (np.diff(report.confidence[pair.indices]) <= 0).all()


def test_the_text_leads_with_macro_f1(report: Report) -> None:
    lines = str(report).splitlines()
    assert lines[0].startswith("300 images") and lines[2].startswith("macro F1")
    assert max(map(len, lines)) <= 110
    assert str(report).index("macro F1") < str(report).index("accuracy")


def test_the_dict_is_json_and_equals_the_report(report: Report) -> None:
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["macro_f1"] == {
        "value": report.macro_f1,
        "low": report.macro_f1.low,
        "high": report.macro_f1.high,
    }
    assert data["confusion"] == report.confusion.tolist()
    assert [c["support"] for c in data["classes"]] == [c.support for c in report.classes]
    assert data["most_confused"][0]["count"] == report.confused()[0].count


def test_one_class_and_one_image() -> None:
    report = evaluate([0], [[1.0]], ["cell"])
    assert report.macro_f1 == 1 and report.macro_f1.low < 0.05
    assert report.confused() == () and "most confused" not in str(report)
    assert report.plot().axes


def test_a_perfect_and_a_hopeless_log_loss_are_finite() -> None:
    assert evaluate([0, 1], np.eye(2), ["a", "b"]).log_loss == 0
    hopeless = evaluate([1, 0], np.eye(2), ["a", "b"]).log_loss
    assert hopeless == pytest.approx(metrics.log_loss([1, 0], np.clip(np.eye(2), 1e-7, 1 - 1e-7)))


def test_inputs_are_neither_changed_nor_shared() -> None:
    labels, probabilities = some()
    before = probabilities.copy()
    report = evaluate(labels, probabilities, NAMES)
    np.testing.assert_array_equal(probabilities, before)
    probabilities[:] = 0
    assert report.confidence.min() > 0
    with pytest.raises(ValueError, match="read-only"):
        report.probabilities[0, 0] = 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1, 4], np.full((3, 4), 0.25), "labels run from 0 to 4; with 4 class names expected 0-3"),
        ([0, 1, -1], np.full((3, 4), 0.25), "labels run from -1 to 1"),
        ([0, 1], np.full((3, 4), 0.25), r"shape \(3, 4\); expected \(2, 4\)"),
        (
            np.eye(4)[:3],
            np.full((3, 4), 0.25),
            r"one whole number for each image: from one-hot, pass labels.argmax\(1\)",
        ),
        ([0, 1, 2], np.array([0, 1, 2]), "images x classes: what predict_proba gives, not the predicted classes"),
        ([0.0, 1.5, 2.0], np.full((3, 4), 0.25), "labels are float64"),
        ([], np.empty((0, 4)), "there are no labels; expected at least one image"),
        ([0, 1, 2], np.full((3, 4), np.nan), "3 of 3 rows of probabilities hold NaN"),
        ([0, 1, 2], np.array([[3.0, -1, 2, 0]] * 3), "apply softmax to logits"),
        ([0, 1, 2], np.full((3, 4), 0.5), "a row sums to 2"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(labels: object, probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        evaluate(labels, probabilities, NAMES)
    assert "\n" not in str(caught.value)


def test_names_are_numbered_where_nothing_says_which_number_is_which() -> None:
    with pytest.raises(DataError, match="number the names in the order of class_names"):
        calibrate(["a", "b"], [[0.9, 0.1], [0.2, 0.8]])


def test_labels_may_be_a_column_and_names_occur_once() -> None:
    labels, probabilities = some()
    assert evaluate(labels[:, None], probabilities, NAMES).macro_f1 == evaluate(labels, probabilities, NAMES).macro_f1
    with pytest.raises(OptionError, match="class_names has 'platelet' twice"):
        evaluate(labels, probabilities, ("platelet", *NAMES[1:]))


@pytest.mark.parametrize("options", [{"confidence": 95}, {"resamples": 0}, {"min_count": 0}])
def test_options_that_cannot_be_used(options: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        evaluate(*some(), NAMES, **options)


def test_intervals_cost_next_to_nothing() -> None:
    labels, probabilities = some(12_000)
    start = time.process_time()
    evaluate(labels, probabilities, NAMES)
    with_intervals = time.process_time() - start
    start = time.process_time()
    metrics.precision_recall_fscore_support(labels, probabilities.argmax(1))
    once = time.process_time() - start
    assert with_intervals < 100 * once, "a loop over 1,000 resamples of scikit-learn's scores would be 1,000"


def test_figures(report: Report) -> None:
    rng = np.random.default_rng(0)
    cells = ImageSet(rng.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8), report.truth, class_names=NAMES)
    matrix = report.plot()
    texts = {t.get_text() for t in matrix.axes[0].texts}
    assert {f"{n:,}" for n in report.confusion.ravel() if n} == texts
    assert "macro F1" in matrix.axes[0].get_title() and "(%)" in matrix.axes[1].get_ylabel()
    images = report.plot_confused(cells, pairs=2, images=3)
    assert len(images.axes) == sum(min(3, p.count) for p in report.confused()[:2])
    with pytest.raises(DataError, match="has 299"):
        report.plot_confused(cells[1:])
    with pytest.raises(DataError, match="other labels"):
        report.plot_confused(cells.replace(labels=np.zeros(300, int)))


def test_class_names_of_any_script_can_be_drawn() -> None:
    report = evaluate([0, 1], [[0.4, 0.6], [0.2, 0.8]], ["白血球 🩸", "costs $5 or $6"])
    cells = ImageSet(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], class_names=report.class_names)
    for figure in (report.plot(), report.plot_confused(cells)):
        assert png(figure)  # a missing glyph would warn, and warnings are errors


def test_real_labels(real_data) -> None:
    """The other laboratory's set: three basophils are listed, not averaged."""
    root = real_data / "data" / "bccd_crops"
    names = sorted(p.name for p in root.iterdir() if p.is_dir())
    labels = np.repeat(np.arange(len(names)), [len(list((root / n).iterdir())) for n in names])
    neutrophil = np.full((len(labels), len(names)), 0.0) + np.eye(len(names))[names.index("neutrophil")]
    report = evaluate(labels, neutrophil, names, min_count=20)
    assert report.left_out == {"basophil": 3}
    assert report.balanced_accuracy == pytest.approx(0.25) and report.accuracy == pytest.approx(0.59, abs=0.005)


def test_without_names_the_classes_are_numbers() -> None:
    found = evaluate([0, 1, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    assert found.class_names == ("0", "1", "2") and float(found.accuracy) == pytest.approx(2 / 3)
    with pytest.raises(DataError, match=r"probabilities have shape \(3,\)"):
        evaluate([0, 1, 1], [0.1, 0.9, 0.4])


def test_labels_may_be_names_of_the_classes():
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]
    named = evaluate(np.array(["round", "lobed", "lobed"]), probabilities, ["round", "lobed"])
    assert named.confusion.tolist() == evaluate([0, 1, 1], probabilities).confusion.tolist() == [[1, 0], [1, 1]]
    with pytest.raises(UnknownNameError, match="no class 'loped'; did you mean 'lobed'"):
        evaluate(["round", "loped", "lobed"], probabilities, ["round", "lobed"])
