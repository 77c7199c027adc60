"""The whole job on whatever backend Keras runs on: train, cache, resume, explain, report, predict, check labels."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib

import keras
import numpy as np
import pytest
import tomli_w

import cellclf as cc
from cellclf.backends import current
from cellclf.pipeline import Pipeline
from cellclf.training import Cache
from cellclf.training.checkpoint import Checkpoint, values
from cellclf.training.loop import Loop

pytestmark = pytest.mark.backend

RECIPE = {
    "seed": 1,
    "split": {"val": 0.25},
    "trainer": {
        "batch_size": 16,
        "optimizer": "adamw",
        "ema": 0.9,
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.1},
        "augmenter": {"preset": "light"},
        "cache": {"mode": "disk"},
        "stages": [
            {"epochs": 2, "learning_rate": 1e-2, "unfreeze": "all", "train_batch_norm": True},
            {"epochs": 2, "learning_rate": 1e-3, "schedule": "cosine"},
        ],
    },
}


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (64, 24, 24, 3)).clip(0, 255).astype(np.uint8)
    return cc.ImageSet(images, labels, class_names=["dark", "light"])


@pytest.fixture(scope="module")
def outcome(cells, tmp_path_factory):
    pipe = Pipeline.from_recipe(RECIPE)
    return pipe.run(cells, out=tmp_path_factory.mktemp("runs") / "a", show=False)


@pytest.fixture(scope="module")
def run(outcome):
    return outcome.run


def test_it_is_trained_cached_and_reported(run, outcome):
    names = {path.name for path in run.folder.iterdir()}
    assert {"model.keras", "confidence.npz", "manifest.json", "report.html", "report.json", "history.csv"} <= names
    assert run.manifest["chosen"]["backend"] == keras.config.backend()
    assert run.manifest["chosen"]["cache"] == [False, True], "the second stage trains on cached features"
    assert set(current().PACKAGES) & set(run.manifest["versions"])
    assert len(run.history) == 4 and run.history[-1]["val_macro_f1"] > 0.9
    assert "data:image" in (run.folder / "report.html").read_text("utf-8")


def test_it_predicts_and_explains(run, cells):
    loaded = cc.load_run(run.folder)
    expected = run.model.predict(cells.images, verbose=0)
    np.testing.assert_allclose(loaded.predict_proba(cells), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.predict_proba(cells[:5], tta=4), run.predict_proba(cells[:5], tta=4), atol=1e-6)
    for method in ("gradcam", "gradcam++", "occlusion"):
        heat = run.explain(cells[:5], method=method).heat
        assert heat.shape[0] == 5 and np.isfinite(heat).all() and heat.max() <= 1


def test_it_is_repeated_bit_for_bit(run, cells):
    again = cc.rerun(run.folder, cells=cells, show=False)
    assert again.exact and again.matches, str(again)


def test_its_labels_are_checked(cells, tmp_path):
    recipe = tomllib.loads(tomli_w.dumps(RECIPE))
    recipe["trainer"]["stages"] = recipe["trainer"]["stages"][:1]
    wrong = cells.labels.copy()
    wrong[3] = 1 - wrong[3]
    found = cc.check_labels(cells.replace(labels=wrong), recipe=recipe, folds=2, show=False)
    assert found.problems.order[0] == 3


@pytest.mark.parametrize("name", ["model", "model.onnx", "model.tflite"])
def test_what_only_tensorflow_can_write_names_the_way(run, name, tmp_path):
    if keras.config.backend() == "tensorflow":
        pytest.skip("TensorFlow writes them: tests/runs/test_export.py")
    with pytest.raises(cc.OptionError, match=f"writing {name} needs .* run folders .* KERAS_BACKEND=tensorflow"):
        run.export(tmp_path / name)
    assert not list(tmp_path.iterdir())
    other = cc.load_run(run.folder)
    other.runtime = "onnx"
    with pytest.raises(cc.OptionError, match="runtime='onnx' needs Keras on TensorFlow"):
        other.predict_proba(cc.make_cells(4, size=24))


# --- what is in the variables while a training goes on


def trainer(**changes):
    settings = {
        "backbone": cc.Backbone("residual", weights=None, params={"filters": [16, 16, 16]}),
        "head": cc.Head(units=(), dropout=0.2),
        "stages": (cc.Stage(epochs=4, learning_rate=1e-2, unfreeze="all", train_batch_norm=True),),
        "optimizer": "adamw",
        "batch_size": 16,
        "ema": 0.9,
        "cache": None,
        "seed": 3,
    }
    return cc.Trainer(**{**settings, **changes})


def test_interrupted_at_the_seventh_batch_the_checkpoint_is_what_is_in_memory(cells, tmp_path, monkeypatch):
    state = {}
    update = Loop._update_ema

    def asking(self, done):
        update(self, done)
        state["batches"] = state.get("batches", 0) + 1
        if state["batches"] == 7:
            self.interrupt.asked = True
            state["moving"] = values(self.model.variables)
            state["optimizer"] = values(self._input.model.optimizer.variables)
            state["averages"] = values(self._ema.averages)

    monkeypatch.setattr(Loop, "_update_ema", asking)
    with pytest.raises(KeyboardInterrupt, match="after 3 of 4 batches of epoch 2"):
        trainer().fit(cells[:56], cells[56:], out=tmp_path, show=False)
    _, saved = Checkpoint(tmp_path).load("epoch")
    for name, group in (("moving", "moving"), ("optimizer", "optimizer"), ("averages", "ema")):
        assert len(state[name]) == len(saved[group]) > 0
        assert all(np.array_equal(one, other) for one, other in zip(state[name], saved[group], strict=True)), name
    monkeypatch.setattr(Loop, "_update_ema", update)
    whole = trainer().fit(cells[:56], cells[56:], show=False)
    resumed = trainer().fit(cells[:56], cells[56:], out=tmp_path, show=False)
    pairs = zip(values(whole.model.variables), values(resumed.model.variables), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


KILLED = """
import os, sys
import numpy as np
from cellclf.training import epoch_steps
sys.path.insert(0, sys.argv[1])
import test_job as job
import cellclf as cc

epoch_steps.SAVE_EVERY = 0.0
with np.load(sys.argv[2]) as given:
    cells = cc.ImageSet(given["images"], given["labels"], class_names=["dark", "light"])
after = job.Loop._update_ema

def dying(self, done):
    after(self, done)
    if len(self.history) == 2 and done % 4 == 2:
        os._exit(9)  # as kill -9: nothing is written any more

job.Loop._update_ema = dying
job.trainer(augmenter=cc.Augmenter.preset("light", seed=2)).fit(cells[:56], cells[56:], out=sys.argv[3], show=False)
"""


def test_killed_and_started_again_it_ends_as_the_one_that_was_not(cells, tmp_path):
    np.savez(tmp_path / "cells.npz", images=cells.images, labels=cells.labels)
    places = [__file__.rpartition("/")[0], str(tmp_path / "cells.npz"), str(tmp_path / "killed")]
    done = subprocess.run([sys.executable, "-c", KILLED, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr[-2000:]
    meta = json.loads((tmp_path / "killed" / "manifest.json").read_text("utf-8"))
    assert meta["status"] == "training"
    again = trainer(augmenter=cc.Augmenter.preset("light", seed=2))
    killed = again.fit(cells[:56], cells[56:], out=tmp_path / "killed", show=False)
    whole = again.fit(cells[:56], cells[56:], show=False)
    assert killed.manifest["end_sha256"] == whole.manifest["end_sha256"]


def test_batch_norm_learns_its_moments_where_it_is_trained_and_nowhere_else(cells):
    stages = (
        cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", train_batch_norm=True),
        cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all"),
        cc.Stage(epochs=1, learning_rate=1e-3, unfreeze=1, train_batch_norm=True),
    )
    before, after = [], []

    def moments(model):
        return {variable.path: variable.numpy() for variable in model.variables if "moving" in variable.path}

    class Looking(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            before.append(moments(self.model))

        def on_epoch_end(self, epoch, logs=None):
            after.append(moments(self.model))

    trainer(stages=stages, ema=None).fit(cells[:56], cells[56:], show=False, callbacks=[Looking()])
    changed = [
        [not np.array_equal(one[path], other[path]) for path in one] for one, other in zip(before, after, strict=True)
    ]
    assert all(changed[0]) and not any(changed[1]) and any(changed[2]) and not all(changed[2])


def test_accumulated_batches_make_one_step(cells, monkeypatch):
    weights = []
    monkeypatch.setattr(
        Loop, "_update_ema", lambda self, done: weights.append(self.model.trainable_variables[-1].numpy())
    )
    stages = (cc.Stage(epochs=1, learning_rate=1e-2),)
    trainer(accumulate=2, ema=None, stages=stages).fit(cells[:56], cells[56:], show=False)
    moved = [not np.array_equal(one, other) for one, other in itertools.pairwise(weights)]
    assert moved == [True, False, True]


def test_a_cache_gives_what_the_images_give(cells):
    stages = (cc.Stage(epochs=3, learning_rate=1e-2),)
    head = cc.Head(units=(), dropout=0.0)
    without = trainer(stages=stages, head=head).fit(cells[:56], cells[56:], show=False)
    cached = trainer(stages=stages, head=head, cache=Cache(mode="disk")).fit(cells[:56], cells[56:], show=False)
    for one, other in zip(without.history, cached.history, strict=True):
        np.testing.assert_allclose(one["val_loss"], other["val_loss"], rtol=1e-4)
