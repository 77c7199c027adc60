"""Recipes, settings, manifests and checkpoints with the names of version 0.1.0 are read, with a notice."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tomli_w

import cellclf as cc
from cellclf.pipeline.recipe import read_recipe
from cellclf.runs.folder import read_manifest
from cellclf.runs.renamed import RENAMED, setting_with_new_names, with_new_names
from cellclf.training import Cache, Compute

OLD = {
    "dedup": {"jobs": 2},
    "split": {"val": 0.25},
    "trainer": {
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "augmenter": {"preset": "light"},
        "views": 6,
        "shift": {"preset": "report"},
        "stages": [{"epochs": 1, "learning_rate": 1e-3, "monitor": "shifted_loss"}],
    },
}
NOTICE = (
    "uses names of an older version: dedup.jobs is now dedup.n_jobs; "
    "trainer.shift is now trainer.val_augmenter; trainer.views is now trainer.cache.views"
)


@pytest.mark.parametrize("form", ["data", "file", "run folder", "variant"])
def test_an_old_recipe_makes_the_same_pipeline(tmp_path, form):
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(OLD | {"variants": {"more": {"trainer": {"views": 9}}}}))
    path = tmp_path / "recipe.toml"
    given = {"data": OLD, "file": path, "run folder": tmp_path, "variant": f"{path}:more"}[form]
    with pytest.warns(cc.CellclfWarning, match=NOTICE) as caught:
        pipe = cc.Pipeline.from_recipe(given)
    assert len(caught) == 1
    assert pipe.dedup.n_jobs == 2 and pipe.trainer.cache.views == (9 if form == "variant" else 6)
    assert pipe.trainer.val_augmenter.to_dict() == cc.Augmenter.preset("report", seed=1).to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cc.Pipeline.from_recipe(pipe.to_dict()).to_dict() == pipe.to_dict()
    assert OLD["trainer"]["views"] == 6, "given data is not changed"


@pytest.mark.parametrize(
    ("setting", "keys", "value"),
    [
        ("trainer.views=6", ("trainer", "cache", "views"), 6),
        (" trainer.views = 6", ("trainer", "cache", "views"), 6),
        ("trainer.cached_views=6", ("trainer", "cache", "views"), 6),
        ("trainer.cache_limit=8GB", ("trainer", "cache", "limit"), "8GB"),
        ("trainer.cache_dir=a/b", ("trainer", "cache", "dir"), "a/b"),
        ("trainer.cache=disk", ("trainer", "cache", "mode"), "disk"),
        ("trainer.cache='auto'", ("trainer", "cache", "mode"), "auto"),
        ("trainer.precision=mixed_float16", ("trainer", "compute", "precision"), "mixed_float16"),
        ("trainer.jit_compile=false", ("trainer", "compute", "jit_compile"), False),
        ("trainer.devices=2", ("trainer", "compute", "devices"), 2),
        ("trainer.deterministic=true", ("trainer", "compute", "deterministic"), True),
        ("trainer.shift.preset=light", ("trainer", "val_augmenter", "preset"), "light"),
        ("trainer.shift={ preset = 'light' }", ("trainer", "val_augmenter"), {"preset": "light"}),
        ("dedup.jobs=3", ("dedup", "n_jobs"), 3),
    ],
)
def test_an_old_setting_sets_the_new_key(setting, keys, value):
    with pytest.warns(cc.CellclfWarning, match=rf"the setting .* is now {keys[0]}.{keys[1]}"):
        found = read_recipe("challenge", [setting])
    for key in keys:
        found = found[key]
    assert found == value


def test_an_old_setting_removes_the_new_key_also_of_an_old_recipe():
    with pytest.warns(cc.CellclfWarning):
        assert "val_augmenter" not in read_recipe("challenge", ["trainer.shift="])["trainer"]
    with pytest.warns(cc.CellclfWarning):
        assert read_recipe(OLD, ["trainer.cached_views=2"])["trainer"]["cache"] == {"views": 2}
    with pytest.warns(cc.CellclfWarning):
        assert read_recipe(OLD, ["trainer.cached_views="])["trainer"]["cache"] == {}


@pytest.mark.parametrize(
    "setting",
    [
        "views=6",
        "split.views=6",
        "trainer.mix.views=6",
        "trainer.seed=1",
        "seed",
        "trainer.cache.views=6",
        "trainer.cache={ views = 6 }",
        "trainer.cache=none",
        "trainer.cache=",
        "trainer.compute.devices=2",
    ],
)
def test_other_settings_are_not_changed(setting):
    assert setting_with_new_names(setting) == setting


def test_an_old_manifest_is_read_with_one_notice(tmp_path):
    old = {
        "status": "finished",
        "data": {"train": {"pictures": 7, "sha256": "a"}, "val": {"pictures": 2, "sha256": "b"}},
        "trainer": OLD["trainer"],
        "recipe": OLD,
        "source": {"made": {"n": 64, "shift": 0.5}},
        "members": [{"trainer": OLD["trainer"]}, {"trainer": {"cached_views": 2, "cache": "none"}}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    with pytest.warns(cc.CellclfWarning, match="uses names of an older version") as caught:
        manifest = read_manifest(tmp_path)
    assert len(caught) == 1 and str(tmp_path) in str(caught[0].message)
    assert manifest["data"]["train"] == {"images": 7, "sha256": "a"}
    assert manifest["source"]["made"] == {"n": 64, "severity": 0.5}
    for trainer in (manifest["trainer"], manifest["recipe"]["trainer"], manifest["members"][0]["trainer"]):
        assert trainer["cache"] == {"views": 6} and "views" not in trainer
        assert trainer["val_augmenter"] == {"preset": "report"} and "shift" not in trainer
    assert manifest["recipe"]["dedup"] == {"n_jobs": 2} and manifest["members"][1] == {
        "trainer": {"cache": {"mode": "none", "views": 2}}
    }


def test_flat_settings_of_machinery_are_read_into_their_groups():
    flat = {"cache": "disk", "cached_views": 3, "cache_limit": 99, "cache_dir": "c", "devices": 2, "precision": "none"}
    with pytest.warns(cc.CellclfWarning, match="trainer.cache is now trainer.cache.mode") as caught:
        pipe = cc.Pipeline.from_recipe({"trainer": {"backbone": "residual", **flat, "deterministic": True}})
    assert len(caught) == 1
    assert pipe.trainer.cache == Cache(mode="disk", views=3, limit=99, dir="c")
    assert pipe.trainer.compute == Compute(devices=2, deterministic=True)


def test_new_names_are_read_without_a_notice():
    new = {
        table: {key.partition(".")[0]: {} if "." in key else 1 for key in names.values()}
        for table, names in RENAMED.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_new_names(new, "the recipe") == new


class Interrupting:
    """A callback that ends the training after an epoch."""

    def __call__(self, row):
        raise LookupError("enough")


def with_old_names(path):
    """Write a checkpoint again as version 0.1.0 did."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    text = str(arrays.pop("meta"))
    meta = json.loads(text.replace('"early_stopping"', '"watch"').replace('"ema_steps"', '"averaged"'))
    assert "watch" in meta
    arrays = {name.replace("ema.", "average."): array for name, array in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, meta=np.asarray(json.dumps(meta)), **arrays)


def test_a_training_of_an_older_version_is_resumed(small_trainer, parts, tmp_path):
    trainer = small_trainer(stages=(cc.Stage(epochs=3, learning_rate=3e-3, unfreeze="all"),), ema=0.9)
    whole = trainer.fit(parts.train, parts.val)
    with pytest.raises(LookupError, match="enough"):
        trainer.fit(parts.train, parts.val, out=tmp_path, callbacks=[Interrupting()])
    for name in ("stage", "epoch"):
        with_old_names(tmp_path / "checkpoint" / f"{name}.npz")
    resumed = trainer.fit(parts.train, parts.val, out=tmp_path)
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, abs=1e-6
        )
    np.testing.assert_allclose(resumed.predict_proba(parts.val), whole.predict_proba(parts.val), atol=1e-6)
