"""``cellclf suggest`` and ``cellclf features``: from files to the page, and to a table of numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.command import run

import cellclf as cc
from cellclf.data.decisions import Decisions


def data_of(page):
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', text, re.S)[1])


def test_a_page_is_written_and_the_next_step_named(finished, folder, tmp_path):
    out, _ = finished
    page = tmp_path / "my label.html"
    done = run("suggest", out, folder, "--count", 6, "--classes", "blast, Neutrophil", "--out", page)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "6 of 65 cells to label"
    assert lines[-3] == f"written: {page}" and lines[-2].startswith("next: open the page in a browser")
    assert lines[-1] == f"then: cellclf adapt {out} {folder} --labels labelled.csv --out NEW_RUN"
    assert "truncated.png" in done.stderr, "what could not be read is named"
    data = data_of(page)
    assert data["classes"][-1] == "blast" and data["classes"].count("neutrophil") == 1 and len(data["classes"]) == 9
    assert all("/" in id_ for id_ in data["ids"]) and not data["show_ids"]
    assert data_of(page)["size"] == [40, 40]
    shown = run("suggest", out, folder, "--count", 6, "--show-ids", "--out", page)
    assert shown.exit_code == 0 and data_of(page)["show_ids"]


def test_rounds_by_tables(finished, folder, tmp_path):
    out, _ = finished
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    done = run("suggest", out, folder, "--count", 5, "--out", one)
    assert done.exit_code == 0 and f"fill in the columns decision and label of {one.name}" in done.stdout
    table = cc.load_decisions(one)
    assert len(table.unanswered) == 5
    Decisions([row._replace(decision="unsure" if k < 3 else "") for k, row in enumerate(table)]).save(one)
    done = run("suggest", out, folder, "--count", 5, "--labelled", one, "--out", two)
    assert done.exit_code == 0, done.output
    assert not set(cc.load_decisions(one).unsure) & set(cc.load_decisions(two).ids)
    assert len(cc.load_decisions(one).unsure) == 3
    again = run("suggest", out, folder, "--count", 5, "--labelled", one, "--labelled", two, "--out", tmp_path / "3.csv")
    assert again.exit_code == 0


def test_mistakes_are_one_line(finished, folder, npz, tmp_path):
    out, _ = finished
    table = tmp_path / "labelled.csv"
    table.write_text("id,label\nnobody,monocyte\n", encoding="utf-8")
    done = run("suggest", out, folder, "--labelled", table, "--out", tmp_path / "a.html")
    assert done.exit_code == 1 and "'nobody' is not in the set" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "a.html").exists()
    for words in (
        ("--count", 0),
        ("--out", tmp_path / "a.pdf"),
        ("--labelled", tmp_path / "nowhere.csv"),
        ("--classes", "blast", "--out", tmp_path / "a.csv"),
    ):
        assert run("suggest", out, npz, *words).exit_code == 2
    assert "needs no server" not in run("suggest", "--help").stdout
    assert "25 labelled cells are enough" in run("suggest", "--help").stdout


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_features_are_written(ending, finished, folder, tmp_path):
    out, _ = finished
    path = tmp_path / f"features.{ending}"
    done = run("features", out, folder, "--out", path)
    assert done.exit_code == 4, done.output
    assert re.fullmatch(rf"65 images, \d+ features each: {re.escape(str(path))}\n", done.stdout)
    assert run("features", out, folder, "--out", path, "--skip-ok").exit_code == 0
    if ending == "npz":
        trained = cc.load_run(out)
        with np.load(path) as found:
            cells = cc.load(folder, False)
            assert found["ids"].tolist() == cells.ids.tolist()
            np.testing.assert_allclose(found["features"], trained.features(cells), atol=1e-5)
            assert len(found["columns"]) == found["features"].shape[1]


def test_layers_are_named_and_views_averaged(finished, npz, tmp_path):
    out, _ = finished
    path = tmp_path / "f.npz"
    done = run("features", out, npz, "--layer", "conv1", "--layer", "probabilities", "--tta", 8, "--out", path)
    assert done.exit_code == 0, done.output
    with np.load(path) as found:
        assert found["columns"][[0, -1]].tolist() == ["conv1_0", "probabilities_7"]
    wrong = run("features", out, npz, "--layer", "conv9", "--out", path)
    assert wrong.exit_code == 1 and "there is no layer of the run 'conv9'; did you mean 'conv" in wrong.stderr
    assert run("features", out, npz, "--out", tmp_path / "f.xlsx").exit_code == 2
