"""Features that a run keeps of its own laboratory: what is stored, and what happens to files that do not fit."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import CellclfWarning, DataError, RunFolderError
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.stored import FEATURES, StoredFeatures, kept_rows, load_stored


@pytest.fixture(scope="module")
def run(small_trainer, parts, tmp_path_factory):
    stage = cc.Stage(epochs=2, learning_rate=3e-3, unfreeze="all", train_batch_norm=True)
    return small_trainer(stages=(stage,)).fit(parts.train, parts.val, out=tmp_path_factory.mktemp("runs") / "a")


def made(count=7, widths=(3, 2), scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return StoredFeatures(
        layers=tuple(f"block {k}" for k in range(len(widths))),
        widths=widths,
        features=(scale * rng.normal(size=(count, sum(widths)))).astype(np.float32),
        probabilities=rng.dirichlet(np.ones(2), count).astype(np.float32),
        labels=np.arange(count) % 2,
        class_names=("rund", "gezähnt"),
        ids=np.asarray([f"=1+{k} ü,\n" for k in range(count)]),
        part=np.asarray(["train"] * (count - 2) + ["val"] * 2),
        weights_sha256="ab" * 32,
    )


def test_a_training_stores_what_the_network_sees_in_its_own_images(run, parts):
    stored = cc.load_run(run.folder).stored_features
    assert repr(stored) == repr(run.stored_features)
    assert stored.layers == feature_layers(run.model, 3)
    assert (stored.part == "train").sum() == len(parts.train)
    assert stored.ids[stored.part == "val"].tolist() == parts.val.ids.tolist()
    for part, cells in (("train", parts.train), ("val", parts.val)):
        mine = stored.part == part
        features, given = FeatureReader(run.model, layers=stored.layers).read_views(cells)
        spread = np.abs(features[0]).max()
        np.testing.assert_allclose(stored.features[mine], features[0], atol=1e-3 * spread)
        np.testing.assert_allclose(stored.probabilities[mine], given[0], atol=1e-5)
        assert stored.labels[mine].tolist() == cells.labels.tolist()


def test_a_run_copied_by_save_keeps_them(run, tmp_path):
    again = cc.load_run(run.folder)
    again.save(tmp_path / "b")
    assert len(cc.load_run(tmp_path / "b").stored_features) == len(run.stored_features)


def test_calibrating_an_older_run_gives_it_features(run, parts, tmp_path):
    old = cc.load_run(run.folder)
    old.stored_features = None
    old.save(tmp_path / "old")
    assert not (tmp_path / "old" / FEATURES).exists()
    old = cc.load_run(tmp_path / "old")
    assert old.stored_features is None
    old.calibrate(parts.train, parts.val)
    found = cc.load_run(tmp_path / "old").stored_features
    np.testing.assert_array_equal(found.ids, run.stored_features.ids)


def test_an_ensemble_has_none_and_is_calibrated_all_the_same(run, parts):
    both = cc.ensemble([run, run])
    assert both.calibrate(parts.train, parts.val) is both.confidence
    assert both.stored_features is None


@pytest.mark.parametrize("widths", [(3, 2), (1,), (4, 1, 2)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_numbers_of_any_size_survive_the_file(widths, scale, tmp_path):
    stored = made(widths=widths, scale=scale)
    again = StoredFeatures.load(stored.save(tmp_path / FEATURES))
    np.testing.assert_allclose(again.features, stored.features, rtol=1e-3, atol=1e-3 * scale)
    for name in ("layers", "widths", "class_names", "weights_sha256"):
        assert getattr(again, name) == getattr(stored, name)
    for name in ("labels", "ids", "part", "probabilities"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stored, name))


def test_a_layer_that_is_silent_is_stored_as_zeros(tmp_path):
    silent = dataclasses.replace(made(), features=np.zeros((7, 5), np.float32))
    assert not StoredFeatures.load(silent.save(tmp_path / FEATURES)).features.any()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


def changed(**other):
    def change(path):
        with np.load(path) as found:
            arrays = dict(found) | other
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return change


DAMAGE = {
    "cut short": half,
    "a byte": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("id,label\n"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "pickled": lambda path: np.savez(path, features=np.asarray([{}], object)),
    "lacks labels": changed(labels=None),
    "fewer ids": changed(ids=np.asarray(["a"])),
    "labels of no class": changed(labels=np.full(7, 9)),
    "labels that are texts": changed(labels=np.asarray(["a"] * 7)),
    "another part": changed(part=np.asarray(["test"] * 7)),
    "negative widths": changed(widths=np.asarray([-3, 8])),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_left_out_with_a_line(damage, tmp_path):
    path = made().save(tmp_path / FEATURES)
    DAMAGE[damage](path)
    with pytest.warns(CellclfWarning, match=r"features\.npz is damaged .*pass home="):
        assert load_stored(path, "ab" * 32, ("rund", "gezähnt")) is None
    with pytest.raises(RunFolderError, match="is damaged"):
        StoredFeatures.load(path)


def test_features_of_another_network_are_left_out(run, tmp_path):
    path = made().save(tmp_path / FEATURES)
    for weights, names in (("cd" * 32, ("rund", "gezähnt")), ("ab" * 32, ("gezähnt", "rund"))):
        with pytest.warns(CellclfWarning, match="another network"):
            assert load_stored(path, weights, names) is None
    cc.load_run(run.folder).save(tmp_path / "b")
    made().save(tmp_path / "b" / FEATURES)
    with pytest.warns(CellclfWarning, match="another network"):
        again = cc.load_run(tmp_path / "b")
    assert again.stored_features is None and again.confidence is not None
    (tmp_path / "b" / FEATURES).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CellclfWarning)
        assert cc.load_run(tmp_path / "b").stored_features is None


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"probabilities of stored features have shape \(6, 2\); expected \(7, 2\)"):
        dataclasses.replace(made(), probabilities=made(6).probabilities)
    with pytest.raises(DataError, match="1 widths of 2 layers"):
        dataclasses.replace(made(), widths=(5,))


@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_kept_in_proportion_and_none_is_lost(seed):
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, 4], [700, 250, 49, 1]))
    rows = kept_rows(labels, 100, seed)
    counts = np.bincount(labels[rows], minlength=5)
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    assert abs(counts[0] - 70) <= 1 and abs(counts[1] - 25) <= 1 and counts[2] >= 4 and counts[4] == 1
    np.testing.assert_array_equal(rows, kept_rows(labels, 100, seed))
    assert (rows != kept_rows(labels, 100, seed + 1)).any()
    np.testing.assert_array_equal(kept_rows(labels, 1000, seed), np.arange(1000))
