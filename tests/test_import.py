from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import cellclf

HEAVY = ("numpy", "keras", "tensorflow", "sklearn", "scipy", "PIL", "matplotlib", "joblib", "imagehash")


def loaded_by(code):
    code = f"{code}\nimport json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import cellclf; dir(cellclf); cellclf.__version__; cellclf.DataError") == []


def test_loading_and_looking_at_arrays_needs_no_keras():
    code = (
        "import cellclf, numpy; c = cellclf.load((numpy.zeros((4, 8, 8, 3), 'uint8'), [0, 1, 0, 1]))\n"
        "c.summary(); c.fingerprint(); cellclf.Split(val=.5)"
    )
    assert set(loaded_by(code)) <= {"numpy"}


@pytest.mark.parametrize("name", cellclf.__all__)
def test_every_public_name_resolves_and_says_what_it_is(name):
    value = getattr(cellclf, name)
    assert name in dir(cellclf)
    if callable(value):
        assert value.__doc__
        assert value.__module__.startswith("cellclf.") or value.__module__.startswith("pluggy")


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="cellclf attribute Dedupe"):
        cellclf.Dedupe  # noqa: B018  # looking it up is the test
    with pytest.raises(ImportError):
        importlib.import_module("cellclf.Dedupe")
