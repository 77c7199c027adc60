from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.training.freezing import freeze, moving_variables
from cellclf.training.resume import is_finished


@pytest.fixture(scope="module")
def finished(small_trainer, parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return small_trainer().fit(parts.train, parts.val, out=folder), folder


def test_it_learns_and_keeps_the_best_epoch(finished, parts):
    run, _ = finished
    assert run.evaluate(parts.val).accuracy > 0.8
    last = [row for row in run.history if row["stage"] == 2]
    best = min(last, key=lambda row: row["val_loss"])
    first = min((row for row in run.history if row["stage"] == 1), key=lambda row: row["val_loss"])
    kept = min(best, first, key=lambda row: row["val_loss"])["val_log_loss"]
    truth = run.predict_proba(parts.val)[np.arange(len(parts.val)), parts.val.labels]
    assert -np.log(truth).mean() == pytest.approx(kept, rel=1e-4)


def test_a_run_comes_back_from_its_folder(finished, parts):
    run, folder = finished
    again = cc.load_run(folder)
    np.testing.assert_array_equal(again.predict_proba(parts.val), run.predict_proba(parts.val))
    assert again.class_names == run.class_names
    assert again.history == run.history
    assert again.manifest["status"] == "finished"
    assert not (folder / "checkpoint").exists()


def test_the_same_call_reads_the_finished_run(finished, small_trainer, parts):
    run, folder = finished
    before = (folder / "model.keras").stat().st_mtime_ns
    again = small_trainer().fit(parts.train, parts.val, out=folder)
    assert (folder / "model.keras").stat().st_mtime_ns == before
    np.testing.assert_array_equal(again.predict_proba(parts.val), run.predict_proba(parts.val))


def test_one_seed_gives_one_result(finished, small_trainer, parts):
    run, _ = finished
    again = small_trainer().fit(parts.train, parts.val)
    np.testing.assert_allclose(again.predict_proba(parts.val), run.predict_proba(parts.val), atol=1e-6)
    other = small_trainer(seed=4).fit(parts.train, parts.val)
    assert np.abs(other.predict_proba(parts.val) - run.predict_proba(parts.val)).max() > 1e-3


def test_a_folder_of_something_else_is_refused_and_left_alone(finished, small_trainer, parts, tmp_path):
    _, folder = finished
    with pytest.raises(cc.RunFolderError, match=r"other trainer.batch_size \(there 16, now 8\)"):
        small_trainer(batch_size=8).fit(parts.train, parts.val, out=folder)
    with pytest.raises(cc.RunFolderError, match="other data"):
        small_trainer().fit(parts.train[1:], parts.val, out=folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(cc.RunFolderError, match="not empty"):
        small_trainer().fit(parts.train, parts.val, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(cc.RunFolderError, match="is a file"):
        small_trainer().fit(parts.train, parts.val, out=tmp_path / "notes.txt")


def test_loading_what_is_no_run_says_so(tmp_path, finished):
    with pytest.raises(cc.RunFolderError, match="holds no run"):
        cc.load_run(tmp_path)
    run, _ = finished
    (tmp_path / "manifest.json").write_text(json.dumps(run.manifest))
    with pytest.raises(cc.RunFolderError, match="not finished"):
        cc.load_run(tmp_path)
    assert not is_finished(tmp_path, run.manifest)


def test_other_sizes_are_resized_with_a_notice(finished):
    run, _ = finished
    with pytest.warns(cc.CellclfWarning, match=r"48x48 pixels are resized to the 32x32 of the run: factor 0.67"):
        assert run.predict(np.zeros((1, 48, 48, 3), np.uint8)).shape == (1,)


def test_classes_are_matched_by_name(finished, parts):
    run, _ = finished
    light = parts.val.subset(parts.val.labels == 2)
    alone = light.replace(labels=np.zeros(len(light), int), class_names=["light"])
    assert run.evaluate(alone).accuracy == pytest.approx((run.predict(light) == 2).mean())
    with pytest.raises(cc.DataError, match="knows no class 'pink'"):
        run.evaluate(alone.replace(class_names=["pink"]))


def test_validation_arrays_that_lack_a_class_are_matched_by_name(small_trainer, parts, finished):
    images, labels = parts.val.read(range(len(parts.val))), np.asarray(["dark", "grey", "light"])[parts.val.labels]
    rows = labels != "dark"
    trainer = small_trainer(stages=(cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all"),))
    run = trainer.fit(parts.train, (images[rows], labels[rows]), show=False)
    assert run.class_names == ("dark", "grey", "light")
    of_all = run.evaluate(parts.val.subset(np.flatnonzero(rows)))
    assert run.history[0]["val_accuracy"] == pytest.approx(float(of_all.accuracy))
    with pytest.raises(cc.DataError, match="expected no others than the training set has"):
        trainer.check((images[rows], labels[rows]), parts.val)


def test_nothing_frozen_moves_in_a_stage(small_trainer, parts):
    trainer = small_trainer()
    model, blocks, layers = trainer._build(parts.train.image_shape, 3)
    freeze(layers, blocks, cc.Stage(epochs=1, learning_rate=0.1, unfreeze=1))
    moving = {v.path for v in moving_variables(model)}
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    before = {v.path: v.numpy().copy() for v in model.variables}
    model.fit(parts.train.images.astype("float32"), parts.train.labels, epochs=1, batch_size=16, verbose=0)
    moved = {v.path for v in model.variables if not np.array_equal(before[v.path], v.numpy())}
    assert moved <= moving
    assert any("head" in path for path in moved)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and not any(v.path in moved for layer in norms for v in layer.variables)
    assert any(v.path in moved for layer in blocks[-1] for v in layer.variables)
    assert not any(v.path in moved for layer in blocks[0] for v in layer.variables)


def test_enlarging_inside_the_model(small_trainer, parts):
    trainer = small_trainer(image_size=40, stages=(cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all"),))
    run = trainer.fit(parts.train, parts.val)
    assert run.input_shape == (32, 32, 3)
    assert not any(isinstance(layer, keras.Model) for layer in run.model.layers)
    assert run.predict_proba(parts.val).shape == (len(parts.val), 3)


def test_a_loss_that_is_no_number_stops_with_advice(small_trainer, parts):
    wild = small_trainer(optimizer="sgd", stages=(cc.Stage(epochs=3, learning_rate=2e9, unfreeze="all"),))
    with pytest.raises(cc.TrainingError, match="lower learning_rate"):
        wild.fit(parts.train, parts.val)
