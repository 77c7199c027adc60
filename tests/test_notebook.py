"""The main job in a notebook: what a cell shows is short, figures are images, a training writes a line an epoch."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest

NEEDED = ("nbclient", "nbformat", "ipykernel")
pytestmark = pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason=f"needs {', '.join(NEEDED)}")

EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300).execute()
nbformat.write(notebook, sys.argv[1])
"""
"""In a process of its own: with a kernel's modules in it, this one would count as a notebook."""

CELLS = (
    "import cellclf as cc",
    "cells = cc.make_cells(64, size=32, seed=1, balance='even', duplicates=2)\ncells",
    "cells.plot()",
    "found = cc.Dedup().find(cells)\nfound",
    "found.plot()",
    "parts = cc.Split(val=0.25, seed=1).apply(found.apply(cells))\nparts",
    "stage = cc.Stage(epochs=2, learning_rate=3e-3, unfreeze='all', train_batch_norm=True)\n"
    "net = cc.Backbone('residual', params={'filters': [8, 8, 8]})\n"
    "trainer = cc.Trainer(backbone=net, head=cc.Head(units=()), stages=[stage], batch_size=16)\ntrainer",
    "run = trainer.fit(parts.train, parts.val)\nrun",
    "report = run.evaluate(parts.val)\nreport",
    "report.plot()",
    "pipe = cc.Pipeline(trainer=trainer)\npipe",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Execute the notebook, and give the outputs of each cell by its code."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**cell, "id": f"cell{k}", "source": code} for k, code in enumerate(CELLS)]
    path = tmp_path_factory.mktemp("notebook") / "job.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, path], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {code: one["outputs"] for code, one in zip(CELLS, shown, strict=True)}


def results(cell):
    return [one for one in cell if one["output_type"] in ("execute_result", "display_data")]


def test_a_figure_at_the_end_of_a_cell_is_shown_once_as_an_image(outputs):
    figures = [code for code in CELLS if "plot(" in code]
    assert len(figures) == 3
    for code in figures:
        shown = [one for one in results(outputs[code]) if "image/png" in one["data"]]
        assert len(shown) == 1 and len(results(outputs[code])) == 1, code


def test_what_is_shown_is_short(outputs):
    for code in CELLS[1:]:
        for one in results(outputs[code]):
            text = "".join(one["data"].get("text/plain", ""))
            assert len(text.splitlines()) < 15, f"{code}: {text}"
            assert " at 0x" not in text, f"{code}: {text}"


def test_a_training_writes_a_line_an_epoch(outputs):
    (code,) = (code for code in CELLS if ".fit(" in code)
    text = "".join("".join(one["text"]) for one in outputs[code] if one["output_type"] == "stream")
    assert re.findall(r"stage 1/1 epoch +(\d)/2", text) == ["1", "2"], text
    assert "val_macro_f1" in text
    assert "stage 1 epoch 1:" in text, "the bar"


def test_nothing_warns(outputs):
    for code, cell in outputs.items():
        text = "".join("".join(one["text"]) for one in cell if one["output_type"] == "stream")
        assert "Warning" not in text and "ipywidgets" not in text and "Traceback" not in text, f"{code}: {text}"
