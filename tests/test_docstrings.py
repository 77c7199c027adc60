"""The examples in docstrings run, and stand where the reference shows them as code."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import cellclf

ROOT = Path(cellclf.__file__).parent
MODULES = sorted(
    ".".join(("cellclf", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text("utf-8") and path.stem != "__init__"
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried and not failed


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_stand_under_their_heading(path):
    assert not re.search(r"^ +Example:$", path.read_text("utf-8"), re.M), (
        "`Examples:` is what the reference shows as code"
    )
