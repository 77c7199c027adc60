"""The main job in a notebook: what a cell shows is short, figures are images, a training writes a line an epoch."""

from __future__ import annotations

import importlib.util
import re

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
if importlib.util.find_spec("ipykernel") is None:  # not imported here: this process is no notebook
    pytest.skip("needs ipykernel", allow_module_level=True)

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
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    place = str(tmp_path_factory.mktemp("notebook"))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": place}}).execute()
    return {cell.source: cell.outputs for cell in notebook.cells}


def results(cell):
    return [one for one in cell if one.output_type in ("execute_result", "display_data")]


def test_a_figure_at_the_end_of_a_cell_is_shown_once_as_an_image(outputs):
    figures = [code for code in CELLS if "plot(" in code]
    assert len(figures) == 3
    for code in figures:
        shown = [one for one in results(outputs[code]) if "image/png" in one.data]
        assert len(shown) == 1 and len(results(outputs[code])) == 1, code


def test_what_is_shown_is_short(outputs):
    for code in CELLS[1:]:
        for one in results(outputs[code]):
            text = one.data.get("text/plain", "")
            assert len(text.splitlines()) < 15, f"{code}: {text}"
            assert " at 0x" not in text, f"{code}: {text}"


def test_a_training_writes_a_line_an_epoch(outputs):
    (code,) = (code for code in CELLS if ".fit(" in code)
    text = "".join(one.text for one in outputs[code] if one.output_type == "stream")
    assert re.findall(r"stage 1/1 epoch +(\d)/2", text) == ["1", "2"], text
    assert "val_macro_f1" in text
    assert "stage 1 epoch 1:" in text, "the bar"


def test_nothing_warns(outputs):
    for code, cell in outputs.items():
        text = "".join(one.text for one in cell if one.output_type == "stream")
        assert "Warning" not in text and "ipywidgets" not in text and "Traceback" not in text, f"{code}: {text}"
