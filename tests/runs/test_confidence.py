from __future__ import annotations

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

import cellclf as cc
from cellclf.data.image_set import Skipped
from cellclf.errors import CellclfWarning, DataError, OptionError, RunFolderError
from cellclf.runs.confidence import CONFIDENCE, fit_confidence
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.predictions import FOREIGN, Predictions


@pytest.fixture(scope="module")
def run(small_trainer, parts, tmp_path_factory):
    stage = cc.Stage(epochs=4, learning_rate=3e-3, unfreeze="all", train_batch_norm=True)
    return small_trainer(stages=(stage,)).fit(parts.train, parts.val, out=tmp_path_factory.mktemp("runs") / "a")


def test_a_training_ends_calibrated_and_the_folder_keeps_it(run, parts):
    again = cc.load_run(run.folder)
    assert run.confidence is not None and again.confidence is not None
    assert again.confidence.temperature == run.confidence.temperature
    first, second = run.report_predictions(parts.val), again.report_predictions(parts.val)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-6)
    np.testing.assert_allclose(first.ood_score, second.ood_score, rtol=1e-4)
    np.testing.assert_array_equal(first.sets, second.sets)


def test_features_are_pooled_and_probabilities_the_models(run, parts):
    features, shares = FeatureReader(run.model, batch_size=7).read(parts.val)
    np.testing.assert_allclose(shares, run.predict_proba(parts.val), atol=1e-6)
    maps = run.model.get_layer("head_pool").input
    assert features.shape == (len(parts.val), maps.shape[-1])


def test_an_ensemble_can_be_calibrated_too(run, parts):
    both = cc.ensemble([run, run])
    features, _ = FeatureReader(both.model).read(parts.val)
    one, _ = FeatureReader(run.model).read(parts.val)
    np.testing.assert_allclose(features, np.concatenate([one, one], 1), rtol=1e-4, atol=1e-5)
    known = both.calibrate(parts.train, parts.val)
    assert known.temperature == pytest.approx(run.confidence.temperature, rel=1e-3)
    assert both.report_predictions(parts.val).sets.any(1).all()


def test_calibrated_predictions_name_the_same_classes(run, parts):
    told = run.report_predictions(parts.val, error=0.2, refuse=0)
    np.testing.assert_array_equal(told.predicted, run.predict(parts.val))
    np.testing.assert_allclose(told.probabilities.sum(1), 1)
    assert told.sets.any(1).all() and not told.foreign.any()
    held = told.sets[np.arange(len(told)), parts.val.labels].mean()
    assert held >= 0.8  # its own calibration images


def test_a_strange_set_is_shifted_and_its_images_are_no_cells(run, parts):
    strange = np.random.default_rng(0).integers(0, 2, (40, 32, 32, 3), np.uint8) * 255
    told = run.report_predictions(cc.ImageSet(strange), refuse=0.05)
    assert told.domain_shift.shifted and told.foreign.mean() > 0.9
    assert run.domain_shift(cc.ImageSet(strange)).shifted and not run.domain_shift(parts.val).shifted
    row = next(row for row, odd in zip(told.rows(), told.foreign, strict=True) if odd)
    assert row["class"] == FOREIGN and row["probability"] is None and row["set"] == []
    assert sum(row[f"p_{name}"] for name in run.class_names) == pytest.approx(1, abs=1e-4)
    assert FOREIGN in told.summary() and "SHIFTED" in told.summary()


def test_every_format_holds_the_same(run, parts, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    lost = (Skipped("a\\nb.png", "cannot be decoded, truly"), Skipped("notes.txt", "no image"))
    told = dataclasses.replace(run.report_predictions(parts.val[:9], error=0.3), skipped=lost)
    assert "skipped, and why stands in their rows: 2" in told.summary() and len(told) == 9
    rows = list(told.rows())
    assert [(row["id"], row["class"], row["skipped"]) for row in rows[-2:]] == [
        (one.id, None, one.reason) for one in lost
    ]
    assert json.loads(told.save(tmp_path / "a.json").read_text("utf-8")) == rows
    assert pq.read_table(told.save(tmp_path / "a.parquet")).to_pylist() == rows
    text = told.save(tmp_path / "a.CSV").read_text("utf-8")
    assert text == told.to_csv()
    for row, line in zip(rows, csv.DictReader(io.StringIO(text)), strict=True):
        assert line["class"] == (row["class"] or "") and line["set"] == "|".join(row["set"] or ())
        assert line["skipped"] == (row["skipped"] or "") and list(line) == list(row)
    with pytest.raises(OptionError, match=r"expected a name ending in .csv, .json, .parquet"):
        told.save(tmp_path / "a.xlsx")


def test_a_run_without_calibration_predicts_and_says_so(run, parts):
    plain = cc.Run(run.model, run.class_names)
    with pytest.warns(CellclfWarning, match="never calibrated"):
        told = plain.report_predictions(parts.val)
    np.testing.assert_allclose(told.probabilities, run.predict_proba(parts.val), atol=1e-6)
    assert told.to_csv().startswith("id,class,probability,p_dark") and "never calibrated" in told.summary()
    assert plain.domain_shift(parts.val) is None


def test_no_images_give_no_rows(run, parts):
    told = run.report_predictions(parts.val[:0])
    assert len(told) == 0 and told.domain_shift is None and told.to_csv().count("\n") == 1
    assert isinstance(told, Predictions) and told.summary() == "0 images"


def test_what_cannot_be_is_refused(run, parts, tmp_path):
    with pytest.raises(OptionError, match="error=2"):
        run.report_predictions(parts.val, error=2)
    with pytest.raises(OptionError, match="refuse=1"):
        run.report_predictions(parts.val, refuse=1)
    with pytest.raises(DataError, match="no labels"):
        run.calibrate(parts.train, parts.val.replace(labels=None))
    with pytest.raises(DataError, match="two or more"):
        fit_confidence(run.model, parts.train, parts.val[:1])
    plain = cc.Run(run.model, run.class_names, manifest=run.manifest)
    plain.save(tmp_path / "b")
    assert cc.load_run(tmp_path / "b").confidence is None
    (tmp_path / "b" / CONFIDENCE).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(RunFolderError, match="damaged"):
        cc.load_run(tmp_path / "b")


def test_classes_are_matched_by_name_when_a_run_is_calibrated_anew(run, parts):
    turned = parts.val.align(("light", "grey", "dark"))
    plain = cc.Run(run.model, run.class_names)
    again = plain.calibrate(parts.train, turned)
    assert again.temperature == pytest.approx(run.confidence.temperature, rel=1e-3)
