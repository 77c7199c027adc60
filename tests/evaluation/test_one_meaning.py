"""A number means the same in every place: log loss, intervals of hopeless classifiers, temperatures of few images."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import xlogy

from cellclf.evaluation.calibration import calibrate, fit_temperature, scale
from cellclf.evaluation.metrics import evaluate
from cellclf.training.losses import make_loss, penalties, validation_loss

RNG = np.random.default_rng(7)
RANDOM = RNG.dirichlet(np.ones(3), 50)


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([0, 0], [[1.0, 0.0], [0.0, 1.0]], -np.log(1e-7) / 2),
        ([0, 1], [[1.0, 0.0], [0.0, 1.0]], 0.0),
        ([0, 0], [[0.5, 0.5], [1e-9, 1 - 1e-9]], (np.log(2) - np.log(1e-7)) / 2),
        ([0, 0], [[0.5, 0.5], [1e-30, 1.0]], (np.log(2) - np.log(1e-7)) / 2),
        ([1], [[1 - 2e-7, 2e-7]], -np.log(2e-7)),
        ([0], [[0.25, 0.75]], np.log(4)),
        ([0], [[0.249, 0.749]], -np.log(0.249 / 0.998)),
        ([2, 1], [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]], -np.log([0.5, 0.8]).mean()),
        ([0] * 50, RANDOM, -np.log(RANDOM[:, 0]).mean()),
        ([2] * 50, RANDOM, -np.log(RANDOM[:, 2]).mean()),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_is_one_number(labels, probabilities, expected, dtype):
    given = np.asarray(probabilities, dtype)
    report = evaluate(labels, given, [f"class {k}" for k in range(given.shape[1])])
    assert report.log_loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert calibrate(labels, given, simulations=1).log_loss == report.log_loss
    assert validation_loss(np.asarray(labels), given) == pytest.approx(report.log_loss, abs=2e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("focal", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("given", ["random", "sure"])
def test_the_validation_loss_is_that_of_keras(smoothing, focal, given):
    labels = np.arange(50) % 3
    probabilities = RANDOM if given == "random" else np.eye(3)[(labels + (np.arange(50) % 7 == 0)) % 3]
    ours = validation_loss(labels, probabilities, label_smoothing=smoothing, focal=focal)
    theirs = make_loss(smoothing, 0.0, focal)(np.eye(3)[labels], probabilities.astype("float64"))
    assert ours == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("l1", [0.0, 0.02])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("frozen", [False, True])
def test_penalties_are_those_that_keras_adds(l1, l2, frozen):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, kernel_regularizer=keras.regularizers.L1(l1) if l1 else None)(inputs)
    x = keras.layers.Dense(3, "softmax", bias_regularizer="l1", kernel_regularizer=keras.regularizers.L2(l2))(x)
    model = keras.Model(inputs, x)
    model.layers[1].trainable = not frozen
    model.compile("sgd", "categorical_crossentropy")
    images, labels = RNG.normal(size=(20, 4)).astype(np.float32), np.arange(20) % 3
    theirs = model.evaluate(images, np.eye(3)[labels], verbose=0, batch_size=20)
    found = validation_loss(labels, model.predict(images, verbose=0)) + penalties(model)
    assert found == pytest.approx(theirs, rel=1e-5)


PREDICTIONS = {
    "all called one class": (np.arange(8), np.zeros(8, int), 8),
    "one class, three of each": (np.arange(24) % 8, np.zeros(24, int), 8),
    "one class, many": (np.arange(800) % 8, np.zeros(800, int), 8),
    "a rare class, never called": (np.r_[np.zeros(50, int), [1, 1]], np.zeros(52, int), 2),
    "all wrong": (np.arange(6) % 3, (np.arange(6) + 1) % 3, 3),
    "all wrong, many": (np.arange(600) % 3, (np.arange(600) + 1) % 3, 3),
    "all right": (np.arange(9) % 3, np.arange(9) % 3, 3),
    "one image": (np.array([1]), np.array([1]), 2),
    "one image, wrong": (np.array([1]), np.array([0]), 2),
    "two classes swapped": (np.arange(12) % 4, np.array([0, 1, 3, 2])[np.arange(12) % 4], 4),
    "one of each, one mistake": (np.arange(5), np.array([0, 1, 2, 3, 3]), 5),
    "a class without images": (np.array([0, 0, 2, 2]), np.array([1, 1, 1, 1]), 3),
    "only the last is right": (np.arange(10) % 5, np.full(10, 4), 5),
}


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("groups", [None, 1, 2, 3])
def test_no_interval_is_a_point_or_leaves_its_bounds(name, groups):
    labels, called, classes = PREDICTIONS[name]
    given = None if groups is None else np.arange(len(labels)) // groups
    report = evaluate(labels, np.eye(classes)[called], [f"class {k}" for k in range(classes)], groups=given)
    scores = [*report.headline().values(), *(s for c in report.classes if c.support for s in (c.recall, c.f1))]
    for score in scores:
        assert 0 <= score.low <= score <= score.high <= 1
        assert score.low < score.high
        assert score.high - score.low > 0.02 or len(labels) >= 100
        if 0 < score < 1 and score in (report.accuracy, report.balanced_accuracy):
            assert score.low < score < score.high


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("said", [0.6, 0.9, 0.99, 0.9999])
def test_a_few_right_answers_do_not_prove_certainty(count, said):
    row = np.array([said, (1 - said) / 2, (1 - said) / 2])
    temperature = fit_temperature(np.zeros(count, int), np.tile(row, (count, 1)))
    assert 0.4 < temperature <= 1.001
    after = scale(row[None], temperature)[0]
    before, now = (-xlogy(row, one).sum() for one in (row, after))  # what is expected on new images, if it was honest
    assert now < 1.12 * before


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_wrong_answers_do_not_prove_ignorance(count):
    labels, given = np.ones(count, int), np.tile([0.9, 0.1], (count, 1))
    assert 1 < fit_temperature(labels, given) < 2.5


@pytest.mark.parametrize("true", [0.4, 0.7, 1.5, 3.0])
def test_many_images_outweigh_the_imagined_ones(true):
    rng = np.random.default_rng(1)
    honest = rng.dirichlet(np.full(4, 0.5), 4000)
    labels = (honest.cumsum(1) > rng.random((4000, 1))).argmax(1)
    assert fit_temperature(labels, scale(honest, 1 / true)) == pytest.approx(true, rel=0.08)
