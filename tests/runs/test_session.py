"""The network in ONNX Runtime: the same probabilities as Keras, only where it pays, and never of other weights."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import MissingPackageError, UnknownNameError
from cellclf.runs import run as run_module
from cellclf.runs import session as session_module

for package in session_module.PACKAGES:
    pytest.importorskip(package, reason="pip install 'cellclf[export]'")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def run() -> cc.Run:
    keras.utils.set_random_seed(3)
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    made = cc.Run(keras.Model(pixels, keras.layers.Dense(3, "softmax")(pooled)), ("a", "b", "c"))
    cells = cc.ImageSet(images(40), np.arange(40) % 3, class_names=made.class_names)
    made.calibrate(cells[:20], cells[20:])
    return made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images there were each time that a session was made."""
    found: list[int] = []
    whole = session_module.open_session

    def open_session(model, cells, reader):
        found.append(len(cells))
        return whole(model, cells, reader)

    monkeypatch.setattr(session_module, "open_session", open_session)
    return found


def test_it_predicts_what_keras_predicts_and_is_named(run: cc.Run, opened: list[int]) -> None:
    given = images(90, 1)
    keras_made = run.report_predictions(given)
    assert keras_made.runtime == "" and "computed by" not in keras_made.summary() and opened == []
    run.runtime = "onnx"
    found = run.report_predictions(given)
    np.testing.assert_allclose(found.probabilities, keras_made.probabilities, atol=1e-4)
    np.testing.assert_allclose(found.ood_score, keras_made.ood_score, rtol=1e-3)
    np.testing.assert_array_equal(found.sets, keras_made.sets)
    assert found.domain_shift.auroc == pytest.approx(keras_made.domain_shift.auroc, abs=1e-3)
    assert "computed by ONNX Runtime" in found.summary() and "of Keras's on 64 images" in found.summary()
    for count in (1, 2, 90):
        np.testing.assert_allclose(
            run.predict_proba(given[:count]), keras_made_probabilities(run, given[:count]), atol=1e-4
        )
    np.testing.assert_allclose(
        run.predict_proba(given, tta=8), np.asarray(keras_made_probabilities(run, given, tta=8)), atol=1e-4
    )
    assert opened == [90], "kept with the run"


def keras_made_probabilities(run: cc.Run, given: np.ndarray, **options: int) -> np.ndarray:
    return cc.Run(run.model, run.class_names, runtime="keras").predict_proba(given, **options)


def test_it_is_made_by_itself_for_many_images_only(
    run: cc.Run, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_ENOUGH", 80)
    run.predict_proba(images(79))
    assert opened == []
    run.runtime = "keras"
    run.predict_proba(images(100))
    assert opened == []
    run.runtime = "auto"
    assert run.report_predictions(images(100)).runtime
    run.predict_proba(images(30))
    assert opened == [100]
    monkeypatch.setattr(session_module, "is_faster", lambda: False)
    assert cc.Run(run.model, run.class_names).predict_proba(images(100)).shape == (100, 3) and opened == [100]


@pytest.mark.parametrize("count", [1, 100])
def test_weights_that_were_changed_are_not_those_of_the_session(run: cc.Run, opened: list[int], count: int) -> None:
    run.runtime = "onnx"
    run.predict_proba(images(count))
    run.model.layers[-1].set_weights([-weight for weight in run.model.layers[-1].get_weights()])
    found = run.predict_proba(images(count))
    np.testing.assert_allclose(found, keras_made_probabilities(run, images(count)), atol=1e-4)
    assert opened == [count, count]


def test_a_batch_norm_that_was_changed_is_seen_in_a_set(run: cc.Run) -> None:
    run.runtime = "onnx"
    run.predict_proba(images(64))
    norm = next(layer for layer in run.model.layers if isinstance(layer, keras.layers.BatchNormalization))
    norm.moving_mean.assign(norm.moving_mean + 0.3)
    np.testing.assert_allclose(run.predict_proba(images(64)), keras_made_probabilities(run, images(64)), atol=1e-4)


def test_other_probabilities_than_keras_are_not_used(
    run: cc.Run, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "LIMIT", -1.0)
    run.runtime = "onnx"
    with pytest.warns(cc.CellclfWarning, match="gives other probabilities .* Keras is used"):
        found = run.report_predictions(images(70))
    assert found.runtime == "" and "computed by" not in found.summary()
    run.predict_proba(images(70))
    assert opened == [70], "it is tried once"


def test_a_network_that_cannot_be_converted_is_computed_in_keras(run: cc.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError("no such\noperation")

    monkeypatch.setattr(session_module, "onnx_model", refuse)
    run.runtime = "onnx"
    with pytest.warns(cc.CellclfWarning, match="cannot hold this network .no such operation.; Keras is used"):
        assert run.predict_proba(images(3)).shape == (3, 3)


def test_without_the_package_all_is_as_before(run: cc.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_ENOUGH", 2)
    monkeypatch.setattr(session_module, "PACKAGES", ("no_such_runtime",))
    assert run.report_predictions(images(5)).runtime == ""
    run.runtime = "onnx"
    with pytest.raises(MissingPackageError, match=r"no_such_runtime: pip install 'cellclf\[export\]'"):
        run.predict_proba(images(5))
    run.runtime = "tensorrt"
    with pytest.raises(UnknownNameError, match="There are: auto, keras, onnx"):
        run.predict_proba(images(5))


def test_a_run_that_is_not_calibrated_and_one_without_images(run: cc.Run) -> None:
    bare = cc.Run(run.model, run.class_names, runtime="onnx")
    with pytest.warns(cc.CellclfWarning, match="not calibrated"):
        assert bare.report_predictions(images(5)).runtime
    cells = cc.ImageSet(images(40), np.arange(40) % 3, class_names=run.class_names)
    bare.calibrate(cells[:20], cells[20:])
    assert bare.report_predictions(images(5)).ood_score is not None, "features are asked for now"
    assert bare.predict_proba(images(0)).shape == (0, 3)
    assert "onnxruntime" in sys.modules
