"""What Dedup found is plain data, and the same table as CSV and as Parquet."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.smooth import jpeg, smooth

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError


def test_result_is_plain_data_a_table_and_a_figure(tmp_path: Path) -> None:
    base = smooth(4)
    cells = ImageSet(np.concatenate([base, base[2:3]]), [0, 1, 0, 1, 0], class_names=["a", "b"])
    found = Dedup().find(cells)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["groups"] == [
        {"members": ["2", "4"], "kinds": ["keeper", "identical"], "decision": "one kept", "labels": ["a"]}
    ]
    rows = list(csv.DictReader(found.save_pairs(tmp_path / "pairs.csv").read_text().splitlines()))
    assert rows[0]["first"] == "2" and rows[0]["kind"] == "identical" and rows[0]["second_label"] == "a"
    with pytest.raises(OptionError, match="csv"):
        found.save_pairs(tmp_path / "pairs.xls")
    assert len(found.plot().axes) == 2
    assert len(Dedup().find(cells[:4]).plot().axes) == 0


def as_written(columns: dict[str, list[object]]) -> list[dict[str, str]]:
    return [
        {name: str(value) for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


def test_parquet_holds_what_csv_holds(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'cellclf[test]'")
    base = smooth(6)
    images = np.concatenate([base, base[:2], base[2:3, ::-1], jpeg(base[3])[None]])
    cells = ImageSet(images, np.arange(10) % 3, class_names=["a,b", 'c"d', "é"], ids=[f"x/{k}\n" for k in range(10)])
    for name, found in (("one", Dedup().find(cells)), ("two", Dedup().find(cells[:6], against=cells[6:]))):
        written = found.save_pairs(tmp_path / f"{name}.csv")
        table = parquet.read_table(found.save_pairs(tmp_path / f"{name}.parquet"))
        with written.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 4
        assert as_written(table.to_pydict()) == rows
    none = Dedup().find(cells[:6])
    empty = parquet.read_table(none.save_pairs(tmp_path / "none.parquet"))
    assert empty.schema == table.schema and empty.num_rows == 0


def test_parquet_without_pyarrow_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    code = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from cellclf.cli import main
main()
"""
    ImageSet(smooth(3)).save(tmp_path / "cells.npz")
    for words in (["dedup", "cells.npz"], ["leaks", "cells.npz", "nowhere.npz"]):
        command = [sys.executable, "-c", code, *words, "--pairs", "out.parquet"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == "cellclf: writing out.parquet needs pyarrow: pip install pyarrow, or write .csv\n"
        assert done.stdout == "", "nothing was searched before it was known"
    assert [file.name for file in tmp_path.iterdir()] == ["cells.npz"]
