"""Every example runs from its first line to its last, with few cells and one epoch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SLOW = {"hidden_test", "dask_cluster", "reproduce"}
TENSORFLOW = {
    "export": "files for other programs are written",
    "gpu": "the example compiles a step by it",
    "pieces": "the example augments a tf.data set",
}


def marks_of(path: Path) -> list[pytest.MarkDecorator]:
    reason = TENSORFLOW.get(path.stem)
    slow = [pytest.mark.slow] if path.stem in SLOW else []
    return [*slow, *([pytest.mark.tensorflow(reason)] if reason else [])]


@pytest.mark.parametrize("path", [pytest.param(path, marks=marks_of(path), id=path.stem) for path in EXAMPLES])
def test_an_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELLCLF_TINY", "1")
    code = path.read_text("utf-8")
    if "__main__" in code:  # it starts processes that import it
        subprocess.run([sys.executable, str(path)], check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        return
    exec(compile(code, path.name, "exec"), {"__name__": path.stem})
    assert capsys.readouterr().out.strip(), "an example shows something"


def test_every_example_has_its_guide_and_every_guide_its_example():
    page = (ROOT / "docs" / "examples.md").read_text("utf-8")
    rows = re.findall(r"^\| `(examples/\w+\.py)` \| \[.+?\]\((guides/[\w-]+\.md)\) \|$", page, re.M)
    assert {script for script, _ in rows} == {path.relative_to(ROOT).as_posix() for path in EXAMPLES}
    for script, guide in rows:
        assert f"Guide: docs/{guide}." in (ROOT / script).read_text("utf-8").partition("\n")[0]
        assert (ROOT / "docs" / guide).is_file()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_written_in_cells(path):
    assert path.read_text("utf-8").count("# %% ") >= 3
