"""Predictions fill a template: a challenge's column names, rows and order."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from cellclf.data.image_set import Skipped
from cellclf.errors import DataError
from cellclf.runs.predictions import Predictions

NAMES = ("basophil", "immature_granulocyte", "CD4+ T cell")
IDS = ("b/02.png", "a/01.png", "-1.png", "c.JPG")
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.3, 0.2]])


@pytest.fixture
def found() -> Predictions:
    return Predictions(
        np.asarray(IDS), NAMES, PROBABILITIES, skipped=(Skipped("cut.png", "truncated file"),), threshold=0.0
    )


def filled(found: Predictions, folder: Path, text: str) -> list[list[str]]:
    (folder / "sample.csv").write_text(text, encoding="utf-8")
    return list(csv.reader(io.StringIO(found.fill(folder / "sample.csv").to_csv())))


@pytest.mark.parametrize("head", ["image,label", "ID,Prediction", "file name,class", "whatever,target"])
def test_labels_in_the_rows_and_order_of_the_template(found: Predictions, tmp_path: Path, head: str) -> None:
    rows = filled(found, tmp_path, f"{head}\na/01.png,\n-1.png,\nb/02.png,\n")
    assert rows == [head.split(","), ["a/01.png", NAMES[1]], ["-1.png", NAMES[2]], ["b/02.png", NAMES[0]]]
    notices = found.fill(tmp_path / "sample.csv").notices
    assert notices == ("1 images are not in sample.csv and are left out",)


@pytest.mark.parametrize(
    "columns",
    ["basophil,CD4+ T cell,immature_granulocyte", "p_CD4+ T cell,P(Immature Granulocyte),prob_basophil", "2,0,1"],
)
def test_a_probability_for_each_class_in_the_order_of_the_template(
    found: Predictions, tmp_path: Path, columns: str
) -> None:
    rows = filled(found, tmp_path, f"{columns},id\n" + ",,,02\n" + ",,,01\n")
    assert rows[0] == [*columns.split(","), "id"] and [row[-1] for row in rows[1:]] == ["02", "01"]
    places = {"2,0,1": [2, 0, 1], "basophil,CD4+ T cell,immature_granulocyte": [0, 2, 1]}.get(columns, [2, 1, 0])
    np.testing.assert_allclose(np.asarray([row[:-1] for row in rows[1:]], float), PROBABILITIES[:2][:, places])


def test_labels_are_written_as_the_template_writes_them(found: Predictions, tmp_path: Path) -> None:
    rows = filled(found, tmp_path, "id,label\n01,Immature Granulocyte\n02,Immature Granulocyte\nc,\n")
    assert [row[1] for row in rows[1:]] == ["Immature Granulocyte", "basophil", "basophil"]
    rows = filled(found, tmp_path, "id,label\n01,0\n02,0\n")
    assert [row[1] for row in rows[1:]] == ["1", "0"]
    notices = found.fill(tmp_path / "sample.csv").notices
    assert (
        notices[0]
        == "the labels of the template are numbers: 0 is basophil, 1 is immature_granulocyte, 2 is CD4+ T cell"
    )
    rows = filled(found, tmp_path, "id,label\n01,BA\n")
    assert rows[1] == ["01", NAMES[1]]
    assert "the template's label 'BA' is no class of the run" in found.fill(tmp_path / "sample.csv").notices[0]


def test_a_head_alone_takes_all_images_in_their_order(found: Predictions, tmp_path: Path) -> None:
    rows = filled(found, tmp_path, "id;class\n")
    assert rows == [["id;class"], *([f"{id_};{NAMES[k]}"] for id_, k in zip(IDS, (0, 1, 2, 0), strict=True))]


def test_every_image_of_a_submission_has_a_class(tmp_path: Path) -> None:
    unsure = Predictions(
        np.asarray(IDS),
        NAMES,
        PROBABILITIES,
        ood_score=np.ones(4),
        out_of_distribution=np.arange(4) < 1,
        threshold=0.55,
    )
    rows = filled(unsure, tmp_path, "id,class\n")
    assert {row[1] for row in rows[1:]} <= set(NAMES)
    assert unsure.fill(tmp_path / "sample.csv").notices == (
        "2 images are out-of-distribution or below the threshold; the submission has their most probable class",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n01,\ncut.png,\nx1,\nx2,\nx3,\n", r"4 of 5 ids of sample\.csv have no prediction: cut\.png \(trunc"),
        ("id,label\nx1,\n", "1 of 1 ids .* have no prediction: x1; expected an image for each"),
        ("id,label\n01,\n01,\n", "lists the id '01' twice"),
        ("id,usage,label\n01,,\n", "the column 'usage' is neither an id, a label nor a class"),
        ("id,basophil,neutrophil\n01,,\n", "the column 'neutrophil' is neither"),
        ("id\n01\n", "has no column to fill"),
        ("label\n01\n", "has no column of ids"),
        ("id,basophil,p_basophil\n", "two columns of the class 'basophil'"),
        ("", "is empty"),
        ("id,label\n01,0\n02,3\n", "labels 0 to 3 are too many for 3 classes"),
        ("id,label\n01,4\n", "label 4 is no number of the run's 3 classes; expected 0 to 2, 1 to 3, or names"),
        ("id,class_2,class_3,class_4\n", "the column 'class_2' is neither"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_in_a_line(
    found: Predictions, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        filled(found, tmp_path, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_an_id_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    two = Predictions(np.asarray(["a/1.png", "b/1.png"]), NAMES, PROBABILITIES[:2])
    with pytest.raises(DataError, match=r"'1\.png' of sample\.csv fits 2 images \(a/1\.png, b/1\.png\)"):
        filled(two, tmp_path, "id,label\n1.png,\n")
    assert filled(two, tmp_path, "id,label\nb/1.png,\n")[1] == ["b/1.png", NAMES[1]]


def test_a_missing_class_is_noticed(found: Predictions, tmp_path: Path) -> None:
    assert len(filled(found, tmp_path, "id,basophil,immature_granulocyte\n")) == 5
    assert found.fill(tmp_path / "sample.csv").notices == (
        "sample.csv has no column for CD4+ T cell, so that its rows do not sum to 1",
    )


def test_it_is_written_in_every_format(found: Predictions, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("image,label,basophil\n", encoding="utf-8")
    found.save(tmp_path / "a.jsonl", template=tmp_path / "sample.csv")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[2] == {"image": "-1.png", "label": "CD4+ T cell", "basophil": 0.2} and len(rows) == 4
    found.save(tmp_path / "a.json", template=tmp_path / "sample.csv")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == rows
    made = found.fill(tmp_path / "sample.csv")
    assert str(made).startswith("4 rows: image, label, basophil") and len(made.to_dict()["rows"]) == 4
    parquet = pytest.importorskip("pyarrow.parquet")
    found.save(tmp_path / "a.parquet", template=tmp_path / "sample.csv")
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows


@pytest.mark.parametrize("first", [0, 1])
def test_challenges_count_classes_from_0_or_from_1(found: Predictions, tmp_path: Path, first: int) -> None:
    last = first + len(NAMES) - 1
    rows = filled(found, tmp_path, f"id,label\nb/02.png,{last}\na/01.png,{first}\n")
    assert rows[1:] == [["b/02.png", str(first)], ["a/01.png", str(first + 1)]]
    assert f"{first} is basophil" in found.fill(tmp_path / "sample.csv").notices[0]
    head = ",".join(f"class_{number}" for number in range(first, last + 1))
    rows = filled(found, tmp_path, f"id,{head}\na/01.png,0,0,0\n")
    assert [float(cell) for cell in rows[1][1:]] == [0.1, 0.8, 0.1]
    assert f"{last} is CD4+ T cell" in found.fill(tmp_path / "sample.csv").notices[0]
