"""A run that was trained on one backend predicts on every other; runs of TensorFlow: tests/runs/test_saved_runs.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import cellclf as cc

GOLDEN = Path(__file__).parent / "golden"

pytestmark = pytest.mark.backend


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_run_of_another_backend_predicts_the_same(backend, tmp_path):
    shutil.copytree(GOLDEN / backend, tmp_path / "run")
    run = cc.load_run(tmp_path / "run")
    assert run.manifest["chosen"]["backend"] == backend and backend in run.manifest["versions"]
    with np.load(GOLDEN / f"{backend}.npz") as golden:
        expected = golden["probabilities"]
    found = run.predict_proba(cc.make_cells(64, size=32, seed=3, balance="even"))
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)
