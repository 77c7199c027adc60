"""Tables chain: what a set writes as CSV, Parquet or DataFrame, ``load`` reads, with paths relative to the table."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from helpers.images import image, pixels

import cellclf as cc
from cellclf.errors import DataError, MissingPackageError, OptionError

FRAMES = [name for name in ("pandas", "polars", "pyarrow") if importlib.util.find_spec(name)]
needs_pandas = pytest.mark.skipif("pandas" not in FRAMES, reason="pandas is not installed")


@pytest.fixture
def cells(folder):
    return cc.load(folder).replace(groups=["p1", "007", "=1+1", "Mar 1"], clusters=[4, 4, 2, 0])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("place", [".", "tables", "tables/deep", "cells"])
def test_a_table_holds_what_is_known_and_is_read_again(cells, tmp_path, place, ending):
    path = cells.save(tmp_path / place / f"t.{ending}")
    again = cc.load(path)
    assert again.fingerprint() == cells.fingerprint()
    assert again.groups.tolist() == cells.groups.tolist() and again.notices == () and again.skipped == ()
    assert again.clusters.tolist() == [0, 0, 1, 2]
    second = again[1:].save(tmp_path / f"second.{ending}")  # the next step of a chain
    assert cc.load(second).fingerprint() == cells[1:].fingerprint()


def test_paths_are_relative_so_that_the_folder_can_move(cells, tmp_path):
    cells.save(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text("utf-8")
    assert text.splitlines()[:2] == ["path,label,group,dedup_cluster,id", "cells/lobed/a.png,lobed,p1,4,lobed/a.png"]
    assert str(tmp_path) not in text
    fingerprint = cells.fingerprint()
    (tmp_path / "there").mkdir()
    os.rename(tmp_path / "cells", tmp_path / "there" / "cells")
    os.rename(tmp_path / "t.csv", tmp_path / "there" / "t.csv")
    assert cc.load(tmp_path / "there" / "t.csv").fingerprint() == fingerprint


@pytest.mark.skipif(os.name == "nt", reason="these names are not allowed there")
@pytest.mark.parametrize(
    "name",
    [
        "a b.png",
        "a,b.png",
        'a"b.png',
        "a;b.png",
        "=a.png",
        "'a.png",
        "käse 細胞.png",
        "+a.png",
        "007.png",
        "sep=;.png",
        " a.png",
    ],
)
def test_odd_file_names_survive(tmp_path, name):
    image(tmp_path / "lobed" / name, 1)
    image(tmp_path / "round" / "b.png", 2)
    image(tmp_path / name, 3)
    cells = cc.load(tmp_path, labels=False)
    for ending in ("csv", "parquet"):
        again = cc.load(cells.save(tmp_path / f"t.{ending}"))
        assert again.images.tobytes() == cells.images.tobytes()
        assert [x.strip() for x in again.ids] == [x.strip() for x in cells.ids]


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_name_that_is_no_text_fits_in_no_table(tmp_path):
    image(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xe9\xff.png")
    with pytest.raises(DataError, match=r"xe9.*rename the file"):
        cc.load(tmp_path).save(tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_images_that_are_no_files_fit_in_no_table(tmp_path, name):
    with pytest.raises(
        OptionError, match=r"in an array, and a table only names files; expected a name that ends in .npz"
    ):
        cc.load((pixels(2, 8, 8, 3), [0, 1])).save(tmp_path / name)
    with pytest.raises(OptionError, match=r"expected a name that ends in .npz, .csv or .parquet"):
        cc.load((pixels(2, 8, 8, 3), [0, 1])).save(tmp_path / "t.xlsx")


def test_a_parquet_file_that_is_none(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        cc.load(tmp_path / "t.parquet")


def frame_of(kind, columns):
    if kind == "pyarrow":
        import pyarrow

        return pyarrow.table(columns)
    return importlib.import_module(kind).DataFrame(columns)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_read_like_tables(folder, kind, monkeypatch):
    monkeypatch.chdir(folder)
    columns = {
        "Image": ["lobed/a.png", "lobed/b.PNG", "round/a.png", "round/deep/er/c.bmp"],
        "Cell Type": ["lobed", "lobed", "round", None],
        "PatientID": [1, 2, 3, 4],
    }
    cells = cc.load(frame_of(kind, columns))
    assert cells.counts() == {"lobed": 2, "round": 1} and cells.groups.tolist() == ["1", "2", "3"]
    assert [s.reason for s in cells.skipped] == ["no label"]
    assert len(cc.load(frame_of(kind, columns), labels=False)) == 4
    named = cc.load(frame_of(kind, columns), columns={"label": "PatientID", "group": None})
    assert named.class_names == ("1", "2", "3", "4") and named.groups is None
    del columns["Image"]
    with pytest.raises(DataError, match="the DataFrame has the columns Cell Type, PatientID; expected path"):
        cc.load(frame_of(kind, columns))
    with pytest.raises(OptionError, match="cannot be given beside a DataFrame"):
        cc.load(frame_of(kind, columns), [0, 1, 2, 3])


@needs_pandas
def test_a_frame_with_missing_values_and_an_index_of_paths(folder):
    import pandas

    files = [str(folder / name) for name in ("lobed/a.png", "round/a.png", "lobed/b.PNG")]
    frame = pandas.DataFrame({"label": pandas.array([3, 1, None], "Int64")}, index=pandas.Index(files, name="path"))
    cells = cc.load(frame)
    assert cells.class_names == ("1", "3") and cells.ids.tolist() == files[:2]
    frame = pandas.DataFrame({"path": files, "label": [3.0, 1.0, float("nan")], "patient": ["a", pandas.NA, "b"]})
    with pytest.raises(DataError, match="1 of 2 images of the DataFrame have no group"):
        cc.load(frame)
    assert cc.load(frame, columns={"group": None}).class_names == ("1", "3")
    images = pandas.DataFrame({"image": list(pixels(2, 8, 8, 3)), "label": [0, 1]})
    with pytest.raises(DataError, match=r"holds ndarray values; expected texts and numbers: pass images as load"):
        cc.load(images)


@needs_pandas
def test_series_of_paths_and_labels(folder):
    import pandas

    files = pandas.Series([str(folder / name) for name in ("lobed/a.png", "round/a.png")], index=[7, 9])
    labels = pandas.Series(["x", "y"], dtype="category", index=[7, 9])
    assert cc.load(files).labels is None
    for cells in (cc.load(files, labels), cc.load((files, labels)), cc.load(files, labels, groups=labels)):
        assert cells.class_names == ("x", "y")
    for missing in (pandas.NA, None, float("nan"), "NA"):
        column = pandas.Series(["x", missing], dtype=object)
        with pytest.raises(DataError, match="1 of 2 labels are missing"):
            cc.load(files, column)
    with pytest.raises(DataError, match="a column of paths holds"):
        cc.load(pandas.Series(["a.png", None]))


@needs_pandas
def test_to_frame_and_back(cells, folder):
    frame = cells.to_frame()
    assert list(frame.columns) == ["id", "path", "label", "group", "dedup_cluster", "height", "width"]
    assert frame["label"].tolist() == ["lobed", "lobed", "round", "round"] and frame["height"].tolist() == [8] * 4
    again = cc.load(frame[frame["label"] == "round"])
    assert again.ids.tolist() == ["round/a.png", "round/deep/er/c.bmp"] and again.notices == ()
    assert np.array_equal(again.images, cells[2:].images)
    array = cc.load((pixels(2, 8, 8, 3), ["a", "b"])).to_frame()
    assert list(array.columns) == ["id", "label", "height", "width"]


@pytest.mark.skipif("pandas" in FRAMES, reason="pandas is installed")
def test_without_pandas_to_frame_says_so(cells):
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        cells.to_frame()
