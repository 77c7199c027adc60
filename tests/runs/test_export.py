from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import ExportError, MissingPackageError, OptionError, RunFolderError, UnknownNameError
from cellclf.runs import export
from cellclf.runs.export import open_exported

writes = pytest.mark.tensorflow("files for other programs are written")

NAMES = {"savedmodel": "model", "onnx": "model.onnx", "litert": "model.tflite"}


@pytest.fixture(scope="module")
def run(small_trainer, parts):
    stage = cc.Stage(epochs=1, learning_rate=3e-3, unfreeze="all", train_batch_norm=True)
    return small_trainer(stages=(stage,)).fit(parts.train, parts.val)


@pytest.fixture(scope="module", params=NAMES)
def exported(run, parts, request, tmp_path_factory):
    for package in export._NEEDS[request.param]:
        pytest.importorskip(package, reason="the runtimes: pip install 'cellclf[export]'")
    return run.export(tmp_path_factory.mktemp("exported") / NAMES[request.param], check=parts.val)


def stored(exported) -> dict[str, object]:
    """Read what is stored with the network, with the means of each format."""
    if exported.format == "onnx":
        import onnxruntime

        texts = onnxruntime.InferenceSession(str(exported.path)).get_modelmeta().custom_metadata_map
        return {**texts, **{key: json.loads(texts[key]) for key in ("class_names", "temperature")}}
    if exported.format == "litert":
        with zipfile.ZipFile(exported.path) as archive:
            assert archive.read("labels.txt").decode().split() == ["dark", "grey", "light"]
            return json.loads(archive.read("cellclf.json"))
    return json.loads((exported.path / "assets.extra" / "cellclf.json").read_text("utf-8"))


@writes
def test_its_probabilities_are_the_runs_for_any_number_of_images(run, parts, exported):
    assert exported.difference <= 1e-5 and exported.images == len(parts.val)
    assert str(exported.path) in str(exported) and f"{len(parts.val)} images" in str(exported)
    predict, images = open_exported(exported.path, n_jobs=1), parts.train.images
    for number in (1, 2, 19):
        found = predict(images[:number])
        assert found.shape == (number, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found, run.predict_proba(images[:number]), atol=1e-5)


@writes
def test_names_and_temperature_are_stored_and_nothing_else_is_left(run, exported):
    found = stored(exported)
    assert found["class_names"] == list(run.class_names) and found["temperature"] == run.confidence.temperature
    assert found["images"] == "(n, 32, 32, 3) uint8, 0-255, RGB"
    assert [path.name for path in exported.path.parent.iterdir()] == [exported.path.name]


@writes
def test_it_is_replaced_only_by_one_that_was_checked(run, parts, exported, monkeypatch):
    before = open_exported(exported.path)(parts.val.images)
    wrong = lambda path, format: lambda images: np.full((len(images), 3), 1 / 3, np.float32)  # noqa: E731  # short
    for opener, message in (
        (wrong, "probabilities differ from the run's by up to 0"),
        (lambda path, format: lambda images: np.full((len(images), 3), np.nan), "by up to inf"),
        (lambda path, format: lambda images: 1 / 0, "cannot hold this network .division by zero"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ExportError, match=message):
            patch.setattr(export, "open_exported", opener)
            run.export(exported.path)
    np.testing.assert_array_equal(open_exported(exported.path)(parts.val.images), before)
    again = run.export(exported.path)
    assert again.images == 64 and again.difference <= 1e-5
    assert [path.name for path in exported.path.parent.iterdir()] == [exported.path.name]


@writes
@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_what_is_not_installed_is_named_with_the_fix(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'cellclf\[export\]'"):
        run.export(tmp_path / name)
    with pytest.raises(MissingPackageError, match=rf"opening {name} needs \w+: pip install"):
        open_exported(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("model.h5", {}, OptionError, "expected one ending in .onnx or .tflite, or without ending"),
        ("model.tflite", {"format": "onnx"}, OptionError, "expected a name ending in .onnx"),
        ("model.onnx", {"format": "savedmodel"}, OptionError, "expected a name of a folder"),
        ("model", {"format": "tflite"}, UnknownNameError, "litert"),
        pytest.param(
            *("model", {"check": cc.ImageSet(np.zeros((0, 32, 32, 3), np.uint8))}, OptionError, "holds no image"),
            marks=writes,
        ),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(run, tmp_path, name, options, kind, message):
    with pytest.raises(kind, match=message):
        run.export(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@writes
def test_a_folder_of_something_else_is_never_replaced(run, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "cells.csv").write_text("x", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"holds no saved_model.pb, so it is not replaced"):
        run.export(tmp_path / "precious")
    assert (tmp_path / "precious" / "cells.csv").read_text(encoding="utf-8") == "x"
    assert run.export(tmp_path / "model.v1", format="savedmodel").path.name == "model.v1"
