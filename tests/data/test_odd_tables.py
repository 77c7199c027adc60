"""Tables and numbers that are read, and mean something else: parts, labels, numbers, boxes; asked about or reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cellclf import DataError, ImageSet, load, make_cells
from cellclf.data import load_parts

IMAGES = make_cells(12, size=16, seed=1).images
Read = Callable[..., ImageSet]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    for k, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{k}.png")

    def read(head: str, row: Callable[[int], object], **options: Any) -> ImageSet:
        (tmp_path / "t.csv").write_text(f"{head}\n" + "".join(f"{k}.png,{row(k)}\n" for k in range(12)), "utf-8")
        return load(tmp_path / "t.csv", **options)

    return read


@pytest.mark.parametrize("head", ["path,label,phase", "path,label,set", "path,label,Data Set", "path,label,usage"])
def test_parts_are_known_by_what_stands_in_a_column(read: Read, head: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds the parts test, train; choose one with part='train'"):
        read(head, lambda k: f"{'ab'[k % 2]},{('train', 'test')[k // 6]}")
    assert [len(part) for part in (load_parts(tmp_path / "t.csv").train, load_parts(tmp_path / "t.csv").test)] == [6, 6]
    assert len(load(tmp_path / "t.csv", columns={"part": None})) == 12


def test_parts_in_other_words_are_asked_about(read: Read) -> None:
    with pytest.raises(DataError, match=r"'Usage' of t\.csv holds 'PrivateTest', 'PublicTest', 'Training'"):
        read("path,label,Usage", lambda k: f"{'ab'[k % 2]},{('Training', 'PublicTest', 'PrivateTest')[k % 3]}")


def test_parts_are_known_by_the_folders_of_paths(tmp_path: Path) -> None:
    for k, image in enumerate(IMAGES):
        (tmp_path / "cells" / ("train", "val")[k // 8]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "cells" / ("train", "val")[k // 8] / f"{k}.png")
    rows = "".join(f"cells/{('train', 'val')[k // 8]}/{k}.png,{'ab'[k % 2]}\n" for k in range(12))
    (tmp_path / "t.csv").write_text("path,label\n" + rows)
    with pytest.raises(DataError, match="holds the parts train, val"):
        load(tmp_path / "t.csv")
    assert len(load(tmp_path / "t.csv", part="train")) == 8 == len(load_parts(tmp_path / "t.csv").train)
    assert len(load(tmp_path / "t.csv", columns={"part": None})) == 12


def test_several_classes_in_one_label(read: Read) -> None:
    with pytest.raises(DataError, match=r"the label 'a\|b' of t\.csv names several classes"):
        read("path,label", lambda k: ("a", "b", "a|b")[k % 3])
    assert read("path,label", lambda k: ("CD4+", "CD4-", "CD4+/CD8+")[k % 3]).num_classes == 3


def test_what_has_no_label_is_reported(read: Read) -> None:
    (notice,) = read("path,label", lambda k: ("a", "b", "unsure", "?", "-1", "unknown")[k % 6]).notices
    assert "'-1' (2), '?' (2), 'unsure' (2) sound like images without a label" in notice and "unknown" not in notice


def test_zeros_before_numbers(read: Read) -> None:
    found = read("path,label,patient", lambda k: f"{'ab'[k % 2]},{('007', '7', '008')[k % 3]}")
    assert sorted({*found.groups.tolist()}) == ["007", "008"], "one patient, who must not be in two parts"
    assert "differ only in zeros before the number and are one" in found.notices[0]
    found = read("path,label", lambda k: ("01", "1", "2")[k % 3])
    assert found.num_classes == 3 and "write them in one way" in found.notices[0]


def test_rows_for_one_file_and_rows_without_a_class(read: Read, tmp_path: Path) -> None:
    rows = "".join(f"{k % 2}.png,{'ab'[k % 2]}\n" for k in range(12))
    (tmp_path / "t.csv").write_text("path,label\n" + rows)
    assert "10 of 12 rows of t.csv name a file of an earlier row" in load(tmp_path / "t.csv").notices[0]
    with pytest.raises(DataError, match=r"mel, nv of t\.csv hold one class each \(one-hot\)"):
        read("image,mel,nv", lambda k: f"{int(k % 2 and k > 1)},{int(not k % 2)}")  # one row has none


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([1, 2, 3], "no image has the label 0: if labels count from 1, pass labels - 1"),
        ([0, 1, 255], "no image has the label 2, 3, 4, 5 and 249 more: if 255 stands for no label"),
        ([0, 3, 1], "no image has the label 2: if 3 stands for no label"),
    ],
)
def test_numbers_that_no_label_has(tmp_path: Path, labels: list[int], text: str) -> None:
    column = np.asarray(labels * 4)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=column)
    for found in (load(tmp_path / "a.npz"), load((IMAGES, column)), load(IMAGES, column)):
        assert any(notice.startswith(text) for notice in found.notices), found.notices
    names = [f"c{k}" for k in range(256)]
    assert not load((IMAGES, column), class_names=names).subset([0]).notices[1:]
    assert not load((IMAGES, [0, 1, 2] * 4)).notices


def test_paths_in_the_index_of_a_frame(read: Read, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    read("path,label", lambda k: "ab"[k % 2])
    frame = pandas.DataFrame({"label": ["a", "b"] * 6}, index=[str(tmp_path / f"{k}.png") for k in range(12)])
    assert load(frame).counts() == {"a": 6, "b": 6}


def coco(folder: Path, boxes: list[list[float]], name: str = "f.png") -> Path:
    Image.fromarray(np.full((100, 120, 3), 200, np.uint8)).save(folder / "f.png")
    found = {
        "images": [{"id": 1, "file_name": name, "height": 100, "width": 120}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": k, "image_id": 1, "category_id": 1, "bbox": box} for k, box in enumerate(boxes)],
    }
    (folder / "c.json").write_text(json.dumps(found))
    return folder / "c.json"


@pytest.mark.parametrize(
    "name", ["F.PNG", "images/3f2ab1c0-f.png", "%66.png", "https://example.org/a/f.png", r"x\f.png"]
)
def test_fields_of_boxes_in_another_spelling(tmp_path: Path, name: str) -> None:
    assert len(load(coco(tmp_path, [[10, 10, 30, 30]], name))) == 1


def test_boxes_in_another_order_or_as_fractions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"look like two corners .* 1 of 2 reach beyond their image"):
        load(coco(tmp_path, [[10, 10, 42, 42], [60, 50, 92, 82]]))
    found = load(coco(tmp_path, [[0.1, 0.1, 0.25, 0.3]]), margin=0)
    assert found.sizes.tolist() == [[30, 30]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0.png": "a"}, "labels by name: save them as a table"),
        ([{"image": "0.png", "label": "a"}], r"a list of records with image, label: pass load\(pandas\.DataFrame"),
        ([{"id": 1, "annotations": []}], "tasks of Label Studio: export them as CSV or JSON-MIN"),
        ({"shapes": [], "imagePath": "0.png"}, "of LabelMe or VIA: export it as COCO"),
    ],
)
def test_json_of_other_programs(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "t.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8"])
def test_strokes_between_cells_and_utf_16_without_its_mark(read: Read, tmp_path: Path, encoding: str) -> None:
    read("path,label", lambda k: "ab"[k % 2])
    text = (tmp_path / "t.csv").read_text("utf-8").replace(",", "|")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert load(tmp_path / "t.csv").counts() == {"a": 6, "b": 6}


def test_parts_in_a_table_without_a_head(read: Read, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("".join(f"{k}.png,{'ab'[k % 2]},{('train', 'test')[k // 6]}\n" for k in range(12)))
    with pytest.raises(DataError, match="holds the parts test, train"):
        load(tmp_path / "t.csv")
    found = load(tmp_path / "t.csv", part="test")
    assert len(found) == 6 and found.groups is None


def test_masked_pixels_are_refused() -> None:
    with pytest.raises(DataError, match=r"768 pixels are masked; .*: pass images\.filled\(255\)"):
        load(np.ma.masked_array(IMAGES, mask=np.arange(12)[:, None, None, None] == np.zeros_like(IMAGES)))
