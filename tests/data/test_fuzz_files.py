"""A sample of the inputs that benchmarks/fuzz_files.py generates: each has the outcome that is right."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz_files():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])  # a script imports what lies beside it
        yield importlib.import_module("fuzz_files")


@pytest.mark.parametrize(("kind", "count"), [("npz", 150), ("trees", 25), ("csv", 40), ("runs", 25), ("recipes", 60)])
def test_no_outcome_is_wrong(fuzz_files, kind, count, capsys):
    wrong = fuzz_files.fuzz(kind, count, seed=0)
    assert not wrong, capsys.readouterr().out
