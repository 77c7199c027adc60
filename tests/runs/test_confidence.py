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
from cellclf.runs.predictions import UNKNOWN, Predictions


@pytest.fixture(scope="module")
def run(small_trainer, parts, tmp_path_factory):
    stage = cc.Stage(epochs=4, learning_rate=3e-3, unfreeze="all", train_batch_norm=True)
    return small_trainer(stages=(stage,)).fit(parts.train, parts.val, out=tmp_path_factory.mktemp("runs") / "a")


def test_a_training_ends_calibrated_and_the_folder_stores_it(run, parts):
    again = cc.load_run(run.folder)
    assert run.confidence is not None and again.confidence is not None
    assert again.confidence.temperature == run.confidence.temperature
    first, second = run.report_predictions(parts.val), again.report_predictions(parts.val)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-6)
    np.testing.assert_allclose(first.ood_score, second.ood_score, rtol=1e-4)
    np.testing.assert_array_equal(first.sets, second.sets)


def test_features_are_pooled_and_probabilities_the_models(run, parts):
    features, found = FeatureReader(run.model, batch_size=7).read(parts.val)
    np.testing.assert_allclose(found, run.predict_proba(parts.val), atol=1e-6)
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
    predictions = run.report_predictions(parts.val, error=0.2, refuse=0)
    np.testing.assert_array_equal(predictions.predicted, run.predict(parts.val))
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1)
    assert predictions.sets.any(1).all() and not predictions.out_of_distribution.any()
    held = predictions.sets[np.arange(len(predictions)), parts.val.labels].mean()
    assert held >= 0.8  # its own calibration images


def test_a_set_of_noise_is_shifted_and_its_images_are_unknown(run, parts):
    noise = np.random.default_rng(0).integers(0, 2, (40, 32, 32, 3), np.uint8) * 255
    predictions = run.report_predictions(cc.ImageSet(noise), refuse=0.05)
    assert predictions.domain_shift.shifted and predictions.out_of_distribution.mean() > 0.9
    assert run.domain_shift(cc.ImageSet(noise)).shifted and not run.domain_shift(parts.val).shifted
    row = next(row for row, unknown in zip(predictions.rows(), predictions.out_of_distribution, strict=True) if unknown)
    assert row["class"] == UNKNOWN and row["probability"] is None and row["set"] == []
    assert sum(row[f"p_{name}"] for name in run.class_names) == pytest.approx(1, abs=1e-4)
    assert UNKNOWN in predictions.summary() and "SHIFTED" in predictions.summary()


def test_every_format_holds_the_same(run, parts, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    skipped = (Skipped("a\\nb.png", "cannot be decoded, truly"), Skipped("notes.txt", "no image"))
    predictions = dataclasses.replace(run.report_predictions(parts.val[:9], error=0.3), skipped=skipped)
    assert "skipped (the table gives the reasons): 2" in predictions.summary() and len(predictions) == 9
    rows = list(predictions.rows())
    assert [(row["id"], row["class"], row["skipped"]) for row in rows[-2:]] == [
        (one.id, None, one.reason) for one in skipped
    ]
    assert json.loads(predictions.save(tmp_path / "a.json").read_text("utf-8")) == rows
    assert pq.read_table(predictions.save(tmp_path / "a.parquet")).to_pylist() == rows
    text = predictions.save(tmp_path / "a.CSV").read_text("utf-8")
    assert text == predictions.to_csv()
    for row, line in zip(rows, csv.DictReader(io.StringIO(text)), strict=True):
        assert line["class"] == (row["class"] or "") and line["set"] == "|".join(row["set"] or ())
        assert line["skipped"] == (row["skipped"] or "") and list(line) == list(row)
    lines = predictions.save(tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    with pytest.raises(OptionError, match=r"expected a name ending in \.csv, \.json, \.jsonl, \.parquet or \.xlsx"):
        predictions.save(tmp_path / "a.txt")


def test_a_run_without_calibration_predicts_and_says_so(run, parts):
    plain = cc.Run(run.model, run.class_names)
    with pytest.warns(CellclfWarning, match="is not calibrated"):
        predictions = plain.report_predictions(parts.val)
    np.testing.assert_allclose(predictions.probabilities, run.predict_proba(parts.val), atol=1e-6)
    assert (
        predictions.to_csv().startswith("id,class,probability,p_dark") and "is not calibrated" in predictions.summary()
    )
    assert plain.domain_shift(parts.val) is None


def test_no_images_give_no_rows(run, parts):
    predictions = run.report_predictions(parts.val[:0])
    assert len(predictions) == 0 and predictions.domain_shift is None and predictions.to_csv().count("\n") == 1
    assert isinstance(predictions, Predictions) and predictions.summary() == "0 images"


def test_wrong_arguments_are_refused(run, parts, tmp_path):
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


def test_classes_are_matched_by_name_when_a_run_is_calibrated_again(run, parts):
    other_order = parts.val.align(("light", "grey", "dark"))
    plain = cc.Run(run.model, run.class_names)
    again = plain.calibrate(parts.train, other_order)
    assert again.temperature == pytest.approx(run.confidence.temperature, rel=1e-3)
