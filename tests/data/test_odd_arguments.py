"""What people hand over beside the images: dicts, sets, Series in another order, patterns; in order, or one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellclf import DataError, load, make_cells

IMAGES = make_cells(6, size=16, seed=1).images
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "data [2]").mkdir()
    for k, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / "data [2]" / f"{k}.PNG")
    return [str(tmp_path / "data [2]" / f"{k}.PNG") for k in range(6)]


def test_class_names_in_a_dict_are_in_the_order_of_their_numbers() -> None:
    for names in ({"z": 2, "x": 0, "y": 1}, {2: "z", 0: "x", 1: "y"}, {"z": np.int64(2), "x": 0, "y": 1}):
        assert load((IMAGES, LABELS), class_names=names).class_names == ("x", "y", "z")
    for wrong in ({"x", "y", "z"}, "x,y,z", {"x": 1, "y": 2, "z": 3}, {"x": 0, "y": 0, "z": 1}):
        with pytest.raises(DataError, match="class_names"):
            load((IMAGES, LABELS), class_names=wrong)


def test_labels_that_are_no_list(files: list[str]) -> None:
    with pytest.raises(DataError, match=r"labels is a dict; .*: labels=\[labels\[path\] for path in paths\]"):
        load(files, labels=dict.fromkeys(files, "a"))
    with pytest.raises(DataError, match="labels is a single str; expected one for each image"):
        load((IMAGES, "neutrophil"))
    with pytest.raises(DataError, match="the list of files holds None; expected a file in every place"):
        load([files[0], None])


def test_series_in_another_order(files: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    paths, labels = pandas.Series(files), pandas.Series(list("aaabbb"))
    assert load(paths, labels=labels).labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(DataError, match=r"labels and the files have one index in another order; .*labels\.loc"):
        load(paths, labels=labels[::-1])
    assert load(paths, labels=labels[::-1].reset_index(drop=True)).labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_patterns_as_people_type_them(files: list[str]) -> None:
    folder = os.path.dirname(files[0])
    assert len(load(f"{folder}/*.PNG")) == 6  # the brackets are those of the folder
    with pytest.raises(DataError, match=r"in other capitals 6 do, such as '0\.PNG'"):
        load(f"{folder}/*.png")
    with pytest.raises(DataError, match="braces are for the shell"):
        load(f"{folder}/{{0,1}}*.PNG")


@pytest.mark.skipif(os.name == "nt", reason="a backslash separates folders there")
def test_files_of_other_computers_in_a_list(files: list[str]) -> None:
    for name, text in (
        (r"C:\cells\0.PNG", "a backslash separates folders on Windows only"),
        ("https://example.org/0.png", "an address, and nothing is fetched"),
    ):
        found = load([files[0], name], labels=["a", "b"])
        assert found.counts() == {"a": 1} and text in found.skipped[0].reason
