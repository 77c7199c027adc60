"""Tables hold no formula, and come back as they were written."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cellclf as cc
from cellclf.errors import MissingPackageError, OptionError, RunFolderError
from cellclf.utils.csv_tables import check_table_path, csv_text, write_table
from cellclf.utils.spreadsheet import disarmed, guard, restored

FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://evil","open")',
    "+1",
    "-1+1",
    "-",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "=cmd|'/c calc'!A1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(1)",
    "'=1+1",
    "''",
    '=a,b;c\td"e',
)
HARMLESS = ("a", "007", "12", "1=1", "a-b", "BA_007.png", " x", "", "73928e05", "ü", "a|b", "x'")


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_begins_as_a_formula_and_each_comes_back(text):
    written = csv_text(["id", text], [{"id": text, text: 1}])
    (_, name), (cell, _) = csv.reader(io.StringIO(written, newline=""))
    assert cell[0] == name[0] == "'"
    assert restored(cell) == restored(name) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_written_as_they_are(text):
    ((_,), (cell,)) = csv.reader(io.StringIO(csv_text(["id"], [{"id": text}]), newline=""))
    assert cell == disarmed(text) == text and restored(cell) == text


@given(st.text())
def test_every_text_comes_back_from_either_way_of_writing(text):
    assert restored(disarmed(text)) == text
    assert restored(guard(text)) == text


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=4))
def test_every_table_is_read_by_the_usual_reader(rows):
    written = csv_text(["a", "b"], [{"a": one, "b": other} for one, other in rows])
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert [[restored(cell) for cell in row] for row in read[1:]] == rows


def test_numbers_keep_their_sign_and_missing_cells_are_empty():
    rows = [{"a": -1.5, "b": None}, {"a": np.float64(-2), "b": True}, {"b": float("nan")}]
    assert csv_text(["a", "b"], rows) == "a,b\n-1.5,\n-2.0,True\n,nan\n"
    with pytest.raises(ValueError, match="a row has c; expected the columns a, b"):
        csv_text(["a", "b"], [{"c": 1}])


@pytest.mark.parametrize("name", ["=1+1.png", "@SUM(1).png", "-1.png", "'=a.png", "+ü.png"])
def test_a_table_of_files_with_such_names_is_read_back(tmp_path, name):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    rows = [{"path": name, "label": "=lymphocyte", "group": "-7"}]
    write_table(tmp_path / "cells.csv", {"path": "text", "label": "text", "group": "text"}, rows)
    cells = cc.load(tmp_path / "cells.csv")
    assert cells.ids.tolist() == [name] and cells.class_names == ("=lymphocyte",) and cells.groups.tolist() == ["-7"]


def test_a_table_that_cannot_be_written_is_refused_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file; choose another name"):
        check_table_path(tmp_path / "file" / "a.csv")
    with pytest.raises(OptionError, match=r"expected a name ending in \.csv or \.parquet"):
        check_table_path(tmp_path / "a.xlsx")
    for missing in ("pyarrow", "pyarrow.parquet", "openpyxl"):
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingPackageError, match=r"a\.parquet needs pyarrow"):
        check_table_path(tmp_path / "a.parquet")
    with pytest.raises(MissingPackageError, match=r"a\.xlsx needs openpyxl: pip install openpyxl, or write \.csv"):
        check_table_path(tmp_path / "a.xlsx", endings=(".csv", ".xlsx"))


KINDS = {"id": "text", "n": "whole", "p": "number", "set": "texts"}
ROWS = [
    {"id": "=1+1", "n": 7, "p": 0.25, "set": ["a", "b"]},
    {"id": "007", "n": None, "p": 1e-7, "set": None},
    {"id": "1E5", "n": 3, "p": None, "set": []},
]


def test_json_lines_are_one_object_a_line(tmp_path):
    path = write_table(tmp_path / "a.jsonl", KINDS, ROWS, endings=(".jsonl",))
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == ROWS
    assert write_table(tmp_path / "b.jsonl", KINDS, [], endings=(".jsonl",)).read_bytes() == b""


def test_a_workbook_holds_texts_as_texts(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    path = write_table(tmp_path / "a.xlsx", KINDS, ROWS, endings=(".xlsx",))
    sheet = openpyxl.load_workbook(path).active
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["id", "n", "p", "set"],
        ["=1+1", 7, 0.25, "a|b"],
        ["007", None, 1e-7, None],
        ["1E5", 3, None, None],
    ]
    assert sheet["A2"].data_type == "s", "a formula would be run"


def test_a_missing_package_is_noticed_before_a_run_is_loaded(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['pyarrow.parquet'] = None\n"
        "from cellclf.cli import main; main(['predict', 'nowhere', 'nothing', '--out', 'a.parquet'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "needs pyarrow" in done.stderr
