"""What people pass to a finished run: numbers are checked by name, and a folder of other files is left alone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cellclf as cc

SIDE = 16


@pytest.fixture(scope="module")
def run() -> cc.Run:
    import keras

    pixels = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.Conv2D(3, 3, name="maps")(keras.layers.Rescaling(1 / 255)(pixels))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled))
    return cc.Run(model, ("round", "lobed", "kidney"), [], {})


@pytest.fixture(scope="module")
def cells() -> cc.ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)
    return cc.ImageSet(images, [k % 3 for k in range(12)], class_names=["round", "lobed", "kidney"])


USES: dict[str, Callable[[cc.Run, cc.ImageSet, Any], Any]] = {
    "batch_size": lambda run, cells, x: run.predict_proba(cells, batch_size=x),
    "tta": lambda run, cells, x: run.predict_proba(cells, tta=x),
    "threshold": lambda run, cells, x: run.report_predictions(cells, threshold="a" if x is None else x),
    "seed": lambda run, cells, x: run.evaluate(cells, seed=x),
    "size": lambda run, cells, x: run.explain(cells, batch_size=x),
    "class": lambda run, cells, x: run.explain(cells, classes="a" if x is None else x),
    "min_count": lambda run, cells, x: run.external(cells, min_count=x),
    "mapping": lambda run, cells, x: run.external(cells, mapping=x or 3),
    "label_counts": lambda run, cells, x: run.external(cells, label_counts=x, min_count=1),
    "robustness batch_size": lambda run, cells, x: run.robustness(cells, batch_size=x),
    "path": lambda run, cells, x: cc.load_run(0 if isinstance(x, str) else x),
    "runs": lambda run, cells, x: cc.compare_runs(cells, [run, run]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("value", [1.5, "8 ", None, -3], ids=str)
@pytest.mark.parametrize("name", USES)
def test_arguments_of_another_kind_are_refused_by_name(run: cc.Run, cells: cc.ImageSet, name: str, value: Any) -> None:
    what = {"tta": "tta=|view"}.get(name, name)
    with pytest.raises(cc.CellclfError, match=what) as caught:
        USES[name](run, cells, value)
    assert "\n" not in str(caught.value)


def test_one_view_is_named_without_a_list(run: cc.Run, cells: cc.ImageSet) -> None:
    assert np.array_equal(run.predict_proba(cells, tta="flip"), run.predict_proba(cells, tta=["flip"]))
    assert np.array_equal(run.predict_proba(cells, tta=np.int64(4)), run.predict_proba(cells, tta=4))  # type: ignore[arg-type]


def test_labels_counted_from_1_are_refused_with_the_fix(run: cc.Run, cells: cc.ImageSet) -> None:
    assert cells.labels is not None
    with pytest.raises(cc.DataError, match=r"has 3 classes, 0 is round.*counted from 1, pass labels - 1"):
        run.evaluate(cells.read(range(12)), cells.labels + 1)
    with pytest.raises(cc.DataError, match="expected at least one image"):
        run.evaluate(cells[:0])


def head_of(activation: str | None, *, nan: bool = False) -> Any:
    import keras

    pixels = keras.Input((SIDE, SIDE, 3))
    flat = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3, activation=activation, name="end")(flat))
    if nan:
        model.get_layer("end").set_weights([np.full((3, 3), np.nan, np.float32), np.zeros(3, np.float32)])
    return model


@pytest.mark.parametrize(
    ("activation", "nan", "message"),
    [
        (None, False, "ends in a softmax"),
        ("sigmoid", False, "ends in a softmax"),
        ("softmax", True, "NaN for 12 of 12"),
    ],
)
def test_what_is_no_probability_is_no_prediction(
    cells: cc.ImageSet, activation: str | None, nan: bool, message: str
) -> None:
    run = cc.Run(head_of(activation, nan=nan), ("round", "lobed", "kidney"), [], {})
    for predict in (run.predict_proba, run.predict, run.evaluate):
        with pytest.raises(cc.TrainingError, match=message):
            predict(cells)


def test_the_image_itself_is_no_feature_map(cells: cc.ImageSet) -> None:
    """Of networks without a map, a gradient by the pixels would be drawn as if it showed where a class was found."""
    run = cc.Run(head_of("softmax"), ("round", "lobed", "kidney"), [], {})
    with pytest.raises(cc.OptionError, match="no feature map of 2x2 or more; use method 'occlusion'"):
        run.explain(cells)
    assert len(run.explain(cells, method="occlusion").heat) == len(cells)


def test_features_of_a_sequential_model_are_read(cells: cc.ImageSet) -> None:
    import keras

    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    assert cc.Run(model, ("round", "lobed", "kidney"), [], {}).features(cells).shape == (12, 4)


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"], ids=["long", "nul"])
def test_names_that_no_file_can_have_are_refused(run: cc.Run, name: str) -> None:
    for use in (cc.load_run, run.save):
        with pytest.raises(cc.OptionError, match="choose another name"):
            use(name)


def test_files_that_are_no_export_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from cellclf.runs import open_exported

    (tmp_path / "text.onnx").write_text("no network")
    for path, message in [
        (tmp_path / "text.onnx", "cannot be opened as onnx"),
        (tmp_path / "none.onnx", "there is no"),
    ]:
        with pytest.raises(cc.ExportError, match=message):
            open_exported(path)
    with pytest.raises(cc.OptionError, match="n_jobs"):
        open_exported(tmp_path / "text.onnx", n_jobs=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_ever(run: cc.Run, cells: cc.ImageSet, tmp_path: Path) -> None:
    run.predict(cells)
    run.save(tmp_path / "run")
    uses = [lambda: run.predict(cells), lambda: run.explain(cells), lambda: cc.load_run(tmp_path / "run")]

    def work(answers: Any) -> None:
        for use in uses:
            try:
                answers.put(str(use()))
            except cc.OptionError as error:
                answers.put(str(error))

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=work, args=(answers,), daemon=True)
    worker.start()
    try:
        for _ in uses:
            assert "was forked from one in which" in answers.get(timeout=60)
    finally:
        worker.kill()


def test_a_folder_of_other_files_is_left_alone(run: cc.Run, tmp_path: Path) -> None:
    other = cc.Run(run.model, run.class_names, [], {})  # of the shared one, another test may have set the folder
    for name in ("features.npz", "notes.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(cc.RunFolderError, match="is not empty and holds no run; choose a new folder"):
        other.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "notes.txt"]
    assert (tmp_path / "features.npz").read_text() == "mine" and other.folder is None
    assert other.save(tmp_path / "new") == tmp_path / "new"
