"""A sample of the inputs that benchmarks/fuzz_files.py generates: each has the outcome that is right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz_files.py"


@pytest.fixture(scope="module")
def fuzz_files():
    spec = importlib.util.spec_from_file_location("fuzz_files", FUZZ)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_files"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_files"]


@pytest.mark.parametrize(("kind", "count"), [("npz", 150), ("trees", 25), ("csv", 40), ("runs", 25), ("recipes", 60)])
def test_no_outcome_is_wrong(fuzz_files, kind, count, capsys):
    wrong = fuzz_files.fuzz(kind, count, seed=0)
    assert not wrong, capsys.readouterr().out
