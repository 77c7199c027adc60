"""``Run.features``: the right numbers, by name, averaged over views, the same however the images come."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import CellclfWarning, DataError, OptionError, UnknownNameError
from cellclf.runs.features import pooled, recent
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.tta import VIEWS


@pytest.fixture(scope="module")
def run(small_trainer, parts):
    stage = cc.Stage(epochs=1, learning_rate=3e-3, unfreeze="all", train_batch_norm=True)
    return small_trainer(stages=(stage,)).fit(parts.train, parts.val)


def by_hand(run, name, images):
    """Read a layer as anybody would."""
    maps = keras.Model(run.model.inputs, run.model.get_layer(name).output).predict(images, verbose=0)
    return maps.mean((1, 2)) if maps.ndim == 4 else maps


def test_maps_are_averaged_over_their_pixels_and_rows_taken_as_they_are(run, parts):
    images = parts.val.images
    names = ["probabilities", "block1_out"]
    found = run.features(parts.val, layers=names)
    assert found.dtype == np.float32 and found.shape == (len(images), 3 + 16)
    np.testing.assert_allclose(found, np.hstack([by_hand(run, name, images) for name in names]), atol=1e-5)
    np.testing.assert_allclose(run.features(images, layers="block1_out"), found[:, 3:], atol=1e-6)


def test_without_names_they_are_those_that_an_adaptation_reads(run, parts):
    names = feature_layers(run.model, 3)
    expected = np.hstack([by_hand(run, name, parts.val.images) for name in names])
    np.testing.assert_allclose(run.features(parts.val), expected, atol=1e-5)
    np.testing.assert_allclose(run.stored_features.features[-len(parts.val) :], expected, atol=1e-5)
    columns = pooled.columns_of(pooled.reader_of(run.model, None))
    assert len(columns) == expected.shape[1] and columns[0] == f"{names[0]}_0"


@pytest.mark.parametrize("tta", [4, 8, ["flip"], ["as_is", "turn_90"]])
def test_views_are_averaged(run, parts, tta):
    images = parts.val.images[:5]
    views = tta if isinstance(tta, list) else list(VIEWS)[:tta]
    each = [run.features(np.ascontiguousarray(VIEWS[name](images))) for name in views]
    np.testing.assert_allclose(run.features(images, tta=tta), np.mean(each, axis=0), atol=1e-5)


def test_the_same_question_is_read_once(run, parts, monkeypatch):
    read, whole = [], pooled._averaged

    def counting(reader, cells, *rest):
        read.append(len(cells))
        return whole(reader, cells, *rest)

    monkeypatch.setattr(pooled, "_averaged", counting)
    monkeypatch.setattr(recent, "_kept", type(recent._kept)())
    cells = cc.ImageSet(parts.val.images, ids=[f"c{k}" for k in range(len(parts.val))])
    first = run.features(cells)
    first[:] = 0  # what a user does with it is the user's own
    again = run.features(parts.val.images)
    assert read == [len(cells)] and again.any()
    run.features(cells[1:])
    run.features(cells, tta=4)
    run.features(cells, layers="probabilities")
    assert len(read) == 4
    monkeypatch.setattr(recent, "_MOST", 10)
    run.features(cells[2:])
    run.features(cells[2:])
    assert len(read) == 6, "what is too large is not kept"


def test_changed_pixels_are_read_again(run, parts):
    images = parts.val.images.copy()
    before = run.features(images)
    images[0] = 255 - images[0]
    after = run.features(images)
    assert np.abs(after[0] - before[0]).max() > 1e-3
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)


def test_an_ensemble_gives_what_the_heads_of_its_members_take(run, parts):
    both = cc.ensemble([run, run])
    one = run.features(parts.val, layers="head_pool")
    np.testing.assert_allclose(both.features(parts.val), np.hstack([one, one]), rtol=1e-4, atol=1e-5)
    assert pooled.columns_of(pooled.reader_of(both.model, None))[:2] == ["features_0", "features_1"]


def test_no_images_and_one_image(run, parts):
    width = run.features(parts.val).shape[1]
    assert run.features(parts.val[:0]).shape == (0, width)
    np.testing.assert_allclose(run.features(parts.val[:1]), run.features(parts.val)[:1], atol=1e-5)


def test_images_of_another_size_come_to_that_of_the_run(run):
    with pytest.warns(CellclfWarning, match="resized to the 32x32 of the run"):
        assert len(run.features(np.zeros((2, 20, 24, 3), np.uint8))) == 2


def test_wrong_names_are_refused_with_the_nearest(run, parts):
    with pytest.raises(UnknownNameError, match="no layer of the run 'block1_ou'; did you mean 'block1_out'"):
        run.features(parts.val, layers=["block1_ou"])
    with pytest.raises(OptionError, match="layers is empty"):
        run.features(parts.val, layers=[])
    with pytest.raises(OptionError, match="tta=3"):
        run.features(parts.val, tta=3)
    with pytest.raises(DataError):
        run.features(None)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_a_table_holds_them(ending, tmp_path):
    ids = np.asarray(["=1+1", "a b.png", "Zelle ü,1", "007"])
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    path = pooled.write_features(tmp_path / f"f.{ending}", ids, features, ["last_0", "last_1", "last_2"])
    if ending == "npz":
        with np.load(path) as found:
            assert found["ids"].tolist() == ids.tolist() and found["columns"].tolist() == ["last_0", "last_1", "last_2"]
            np.testing.assert_array_equal(found["features"], features)
        return
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(path, dtype={"id": str}) if ending == "csv" else pandas.read_parquet(path)
    assert table.columns.tolist() == ["id", "last_0", "last_1", "last_2"]
    assert table["id"].str.lstrip("'").tolist() == ids.tolist()
    np.testing.assert_array_equal(table.iloc[:, 1:].to_numpy(np.float32), features)
    with pytest.raises(OptionError, match=r"expected a name ending in \.csv, \.npz, \.parquet"):
        pooled.write_features(tmp_path / "f.xlsx", ids, features, ["a", "b", "c"])
