"""The backends stand in one room, each offers the same, and the extras bring them."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import cellclf
from cellclf.backends.protocol import Backend
from cellclf.utils.backend import SUPPORTED

PACKAGE = Path(cellclf.__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


def imported(path):
    """Name what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_nothing_else_imports_a_backend():
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "backends"]
    found = {str(path.relative_to(PACKAGE)): set(imported(path)) & {*BACKENDS, "tf2onnx"} for path in files}
    assert len(files) > 250 and not {name for name, heavy in found.items() if heavy}
    assert set(imported(PACKAGE / "backends" / "tensorflow.py")) & set(BACKENDS) == {"tensorflow"}


def test_a_backend_imports_itself_only_when_it_is_used():
    for path in (PACKAGE / "backends").glob("*.py"):
        top = ast.parse(path.read_text("utf-8")).body
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        assert not names & {*BACKENDS, "keras"}, path


@pytest.mark.parametrize("name", BACKENDS)
def test_each_offers_what_the_protocol_lists(name):
    module = import_module(f"cellclf.backends.{name}")
    functions = {key: one for key, one in vars(Backend).items() if inspect.isfunction(one) and key[0] != "_"}
    assert len(functions) > 8 and module.TITLE and module.PACKAGES
    for key, described in functions.items():
        own = list(inspect.signature(getattr(module, key)).parameters.values())
        expected = list(inspect.signature(described).parameters.values())[1:]
        assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in expected], key
        assert inspect.getdoc(getattr(module, key)), key


def test_the_extras_bring_them():
    extras = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(SUPPORTED) == set(BACKENDS)
    for backend, names in SUPPORTED.items():
        for name in names:
            assert any(re.match(rf"{backend}\b", requirement) for requirement in extras[name]), name
