"""Runs that users have on disk go on giving what they gave: values written down by version 0.1.0."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import cellclf
from cellclf.runs import Predictions

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4


@pytest.fixture(params=["run-0.1.0", "challenge"])
def saved(request, tmp_path):
    """Give a run of version 0.1.0, its image size, and what that version gave for 64 generated cells."""
    if request.param == "run-0.1.0":
        folder, size = GOLDEN / "run-0.1.0", 40
    else:
        folder, size = request.getfixturevalue("real_data") / "runs" / "challenge_mobilenet075_96", 96
    shutil.copytree(folder, tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = cellclf.load_run(tmp_path / "run")
    return run, cellclf.make_cells(64, size=size, seed=1), dict(np.load(GOLDEN / f"{request.param}.npz"))


@pytest.mark.backend
def test_predictions_are_what_they_were(saved):
    run, cells, golden = saved
    found = run.report_predictions(cells)
    assert isinstance(found, Predictions)
    np.testing.assert_allclose(run.predict_proba(cells), golden["probabilities"], atol=TOLERANCE)
    np.testing.assert_allclose(found.probabilities, golden["calibrated"], atol=TOLERANCE)
    np.testing.assert_allclose(found.ood_score, golden["ood_score"], atol=TOLERANCE, rtol=1e-3)
    rows = list(found.rows())
    assert [[name in row["set"] for name in run.class_names] for row in rows] == golden["sets"].tolist()


@pytest.mark.backend
def test_features_are_what_they_were(saved):
    from cellclf.runs.features.reader import FeatureReader

    run, cells, golden = saved
    features, _ = FeatureReader(run.model).read(cells)
    np.testing.assert_allclose(features, golden["features"], atol=TOLERANCE, rtol=1e-4)


def test_everything_that_a_run_does_works_on_an_old_one(saved, tmp_path):
    run, cells, _ = saved
    report = run.evaluate(cells)
    assert 0 < report.macro_f1 <= 1
    assert run.external(cells, min_count=2).summary()
    assert len(run.explain(cells[:2]).heat) == 2
    run.save(tmp_path / "again")
    again = cellclf.load_run(tmp_path / "again")
    run.runtime = again.runtime = "keras"  # one of them may have been converted before
    np.testing.assert_allclose(again.predict_proba(cells), run.predict_proba(cells), atol=1e-6)
    both = cellclf.ensemble([run, again])
    np.testing.assert_allclose(both.predict_proba(cells), run.predict_proba(cells), atol=1e-5)


def test_what_it_was_trained_on_is_still_marked_as_seen(saved, request):
    run, cells, _ = saved
    found = run.robustness(cells[:16])
    seen = {row.family for row in found.corruptions if row.seen}
    assert seen == set(json.loads((GOLDEN / "seen.json").read_text("utf-8"))[request.node.callspec.params["saved"]])
