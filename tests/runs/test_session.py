"""The network in ONNX Runtime: the same probabilities as Keras, only where it pays, and never of other weights."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import MissingPackageError, UnknownNameError
from cellclf.runs import runtime
from cellclf.runs import session as session_module

pytestmark = pytest.mark.tensorflow("ONNX Runtime predicts")

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

    def open_session(model, cells, reader, folder):
        found.append(len(cells))
        return whole(model, cells, reader, folder)

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
    monkeypatch.setattr(runtime, "ENOUGH", 80)
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
    monkeypatch.setattr(runtime, "ENOUGH", 2)
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


@pytest.fixture
def stored(run: cc.Run, tmp_path: Path) -> Path:
    """A run folder in which a converted network is kept."""
    folder = run.save(tmp_path / "run")
    first = cc.load_run(folder)
    first.runtime = "onnx"
    first.report_predictions(images(5))
    assert (folder / session_module.KEPT).is_file()
    return folder


def used(run: cc.Run, count: int = 3) -> str:
    """Predict with a run as it is, compare with Keras, and give what computed it."""
    found = run.report_predictions(images(count, 4))
    np.testing.assert_allclose(
        run.predict_proba(images(count)), keras_made_probabilities(run, images(count)), atol=1e-4
    )
    return found.runtime


def test_what_was_converted_is_kept_with_the_run_and_used_for_one_image(
    stored: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = cc.load_run(stored)
    monkeypatch.setattr(session_module, "PACKAGES", ("onnxruntime", "no_such_converter"))
    assert "of Keras's on 64 images" in used(again, 1) and opened == [], "not even the converter is needed"
    again.runtime = "keras"
    assert used(again) == ""
    again = cc.load_run(stored)
    with zipfile.ZipFile(stored / session_module.KEPT) as archive:
        assert archive.read("network.onnx"), "a file for other programs, too"
    again.model.layers[-1].set_weights([-weight for weight in again.model.layers[-1].get_weights()])
    assert used(again) == "" and opened == [], "weights that were changed in memory"


@pytest.mark.parametrize(
    "what", ["other weights", "other version", "other layers", "damaged", "short", "lies", "empty"]
)
def test_what_is_kept_is_not_trusted_when_anything_changed(
    stored: Path, run: cc.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    path = stored / session_module.KEPT
    content = path.read_bytes()
    if what == "other weights":
        run.model.layers[-1].set_weights([2 * weight for weight in run.model.layers[-1].get_weights()])
        other = run.save(tmp_path / "other")
        shutil.copy(path, other / path.name)
        stored = other
    elif what == "other version":
        monkeypatch.setattr(session_module, "versions", lambda: {"keras": "99"})
    elif what == "other layers":
        first = cc.load_run(stored)
        first.model.layers[2].activation = keras.activations.tanh  # the weights are the same
        first.model = keras.models.clone_model(first.model)
        first.model.set_weights(run.model.get_weights())
        with pytest.warns(cc.CellclfWarning, match="not calibrated"):
            bare = cc.Run(first.model, run.class_names).save(tmp_path / "bare")
            shutil.copy(path, bare / path.name)
            assert cc.load_run(bare).report_predictions(images(3)).runtime == ""
        return
    elif what == "damaged":
        place = content.index(b"network.onnx") + 200
        path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    elif what == "lies":  # whole, but gives something else than Keras gave
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        values = io.BytesIO()
        np.save(values, np.full((session_module._AGAIN, 3), 1 / 3, np.float32))
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in (parts | {"probabilities.npy": values.getvalue()}).items():
                archive.writestr(name, part)
    else:
        path.write_bytes(content[: len(content) // 2 if what == "short" else 0])
    again = cc.load_run(stored)
    assert used(again) == ""
    again.runtime = "onnx"
    assert used(again), "it is made again"
    assert used(cc.load_run(stored)), "and kept again"


def test_a_folder_that_cannot_be_written_predicts_as_well(run: cc.Run, tmp_path: Path, monkeypatch) -> None:
    folder = run.save(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only", "onnx.zip")

    monkeypatch.setattr(session_module, "replacing", full)
    again = cc.load_run(folder)
    again.runtime = "onnx"
    assert used(again) and not (folder / session_module.KEPT).exists()


def test_many_calls_with_one_image_count_as_many_images(
    run: cc.Run, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "ENOUGH", 3 * runtime.CALL)
    for expected in ([], [], [1], [1]):
        run.predict(images(1))
        assert opened == expected


def test_an_early_layer_that_was_changed_between_single_images_is_seen(run: cc.Run, opened: list[int]) -> None:
    run.runtime = "onnx"
    run.predict(images(1))
    norm = next(layer for layer in run.model.layers if isinstance(layer, keras.layers.BatchNormalization))
    norm.moving_mean.assign(norm.moving_mean + 0.3)
    for _ in range(session_module.COMPARED):
        found = run.predict_proba(images(1))
    np.testing.assert_allclose(found, keras_made_probabilities(run, images(1)), atol=1e-4)
    norm.moving_mean.assign(norm.moving_mean + 0.3)
    np.testing.assert_allclose(run.predict_proba(images(64)), keras_made_probabilities(run, images(64)), atol=1e-4)
    assert len(opened) == 3
