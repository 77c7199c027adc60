"""A table of images is read however it is spelled; rows that cannot be used are listed, the rest refused."""

from __future__ import annotations

import pytest

import cellclf as cc
from cellclf.errors import DataError


def table(folder, text, encoding="utf-8", name="cells.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


CSV = "path,label,group\nlobed/a.png,lobed,p1\nround/a.png,round,p2\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CSV, "utf-8"),
        (CSV, "utf-8-sig"),
        (CSV.replace("\n", "\r\n"), "utf-8"),
        (CSV.replace(",", ";"), "utf-8"),
        (CSV.replace(",", "\t"), "utf-8"),
        (CSV.replace("lobed/a.png", "lobed\\a.png"), "utf-8"),
        (CSV.partition("\n")[2], "utf-8"),
        (CSV.replace("path,label,group", "Patient , Filename, CLASS").replace("\n\n", "\n"), "utf-8"),
        (CSV + "\n,,\n", "utf-8"),
    ],
    ids=["plain", "bom", "crlf", "semicolon", "tab", "backslash", "no head", "other head", "blank rows"],
)
def test_csv_of_every_spelling(folder, text, encoding):
    if "Patient" in text:
        text = "Patient , Filename, CLASS\np1,lobed/a.png,lobed\np2,round/a.png,round\n"
    cells = cc.load(table(folder, text, encoding))
    assert cells.counts() == {"lobed": 1, "round": 1} and cells.groups.tolist() == ["p1", "p2"]
    assert cells.images[:, 0, 0, 0].tolist() == [0, 2] and cells.skipped == ()


def test_csv_rows_that_cannot_be_used_are_listed(folder):
    text = (
        "path,label,group,note\nlobed/a.png,lobed,p1,x\n./lobed/a.png,lobed,p1,\nround/a.png,round,p2\n"
        "lobed/b.PNG,,p1,\ngone.png,round,p3,\n,round,p4,\nlobed/a.png,Lobed,p1\n"
    )
    cells = cc.load(table(folder, text))
    assert cells.ids.tolist() == ["lobed/a.png", "round/a.png"] and cells.groups.tolist() == ["p1", "p2"]
    assert [(s.id, s.reason) for s in cells.skipped] == [
        ("./lobed/a.png", "listed in an earlier row"),
        ("lobed/b.PNG", "no label"),
        (",round,p4,", "the row names no file"),
        ("lobed/a.png", "listed in an earlier row"),
        ("gone.png", "no such file"),
    ]
    assert cells.notices == (
        "columns of cells.csv that were not used: note",
        "1 of 7 rows of cells.csv have no label (empty, NA) and are left out; the first: lobed/b.PNG",
    )


def test_csv_of_paths_only_and_absolute_paths(folder, tmp_path):
    cells = cc.load(table(tmp_path, f"{folder / 'lobed' / 'a.png'}\n"))
    assert cells.labels is None and cells.groups is None and len(cells) == 1


def test_csv_labels_that_are_numbers_are_places_in_class_names(folder):
    path = table(folder, "path,label\nlobed/a.png,3\nround/a.png,1\n")
    assert cc.load(path).class_names == ("1", "3")
    assert cc.load(path, class_names=["a", "b", "c", "d"]).labels.tolist() == [3, 1]
    with pytest.raises(DataError, match="label 3 but only 2 class names"):
        cc.load(path, class_names=["a", "b"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"path,label\n", "has no rows below path, label"),
        (b"name,kind\nx,y\n", "has the columns name, kind; expected path, label"),
        (b'path,label\n"a.png' + b"x" * 200_000, "is no CSV"),
        (b"PK\x03\x04 a workbook", "is a workbook"),
        (b"path,label\na.png,\x00\n", "zero bytes"),
        (b"path,label\na.png,round,p1\n", "row 2 of cells.csv has 3 cells"),
        (b"a.png,round,p1,40,20\n", "5 columns and no line that names them"),
        (b"path,label\ngone.png,round\n", r"the first: gone\.png \(no such file\)"),
    ],
)
def test_csv_that_is_refused(tmp_path, data, message):
    (tmp_path / "cells.csv").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        cc.load(tmp_path / "cells.csv")
    assert "\n" not in str(caught.value)
