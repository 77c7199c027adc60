"""What programs of annotation and export do to images and boxes, and what would then be lost or moved in silence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellclf import DataError, ImageSet, load, make_cells
from cellclf.data.transparency import IGNORED_ALPHA

SIDE = 24
CELLS = make_cells(12, size=SIDE, seed=1).images
FIELD = np.tile(np.concatenate(list(CELLS[:4]), axis=1), (2, 1, 1))  # 48 x 96


def put(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["png", "tif", "array"])
def test_an_alpha_channel_of_zeros_hides_no_cell(tmp_path: Path, kind: str) -> None:
    hidden = np.concatenate([CELLS[:4], np.zeros((4, SIDE, SIDE, 1), np.uint8)], axis=3)
    hidden[3, ..., :3] = 90  # shows nothing, whichever way it is read
    if kind == "array":
        cells = load(hidden)
    else:
        for k in range(4):
            put(tmp_path / "a" / f"{k}.{kind}", hidden[k])
        cells = load(tmp_path)
        assert any(IGNORED_ALPHA in notice for notice in cells.notices)
    np.testing.assert_array_equal(cells.images[:3], CELLS[:3])
    assert (cells.images[3] == 255).all()


def test_a_mask_in_the_alpha_channel_still_cuts_out(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE, 1), np.uint8)
    mask[8:16, 8:16] = 255
    put(tmp_path / "a" / "0.png", np.concatenate([CELLS[0], mask], axis=2))
    image = load(tmp_path).images[0]
    assert (image[0] == 255).all() and (image[8:16, 8:16] == CELLS[0][8:16, 8:16]).all()


@pytest.mark.parametrize("ending", ["jfif", "jpe", "JFIF"])
def test_other_endings_of_jpeg(tmp_path: Path, ending: str) -> None:
    put(tmp_path / "a" / f"0.{ending}", CELLS[0], format="JPEG")
    cells = load(tmp_path)
    assert len(cells) == 1 and not cells.skipped


def test_the_current_folder_may_change_before_images_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "x" / "a" / "0.png", CELLS[0])
    put(tmp_path / "f.png", FIELD)
    (tmp_path / "t.csv").write_text("path,label,xmin,ymin,xmax,ymax\nf.png,a,8,8,20,20\n")
    monkeypatch.chdir(tmp_path)
    for verify in (False, True):
        files, crops = load("x", verify=verify), load("t.csv", margin=0, verify=verify)
        monkeypatch.chdir(os.sep)
        np.testing.assert_array_equal(files.images[0], CELLS[0])
        np.testing.assert_array_equal(crops.images[0], FIELD[8:20, 8:20])
        monkeypatch.chdir(tmp_path)


def voc(path: Path, size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    path.write_text(
        f"<annotation><filename>f.png</filename><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"<object><name>a</name><bndbox>{edges}</bndbox></object></annotation>"
    )


@pytest.mark.parametrize("size", [(96, 192), (24, 48), (96, 48), (48, 95)])
def test_boxes_drawn_on_an_image_of_another_size_are_not_cut_out(tmp_path: Path, size: tuple[int, int]) -> None:
    put(tmp_path / "f.png", FIELD)
    text = f"drawn on an image of {size[0]}x{size[1]}, and the file has 48x96"
    voc(tmp_path / "f.xml", size, (4, 4, 20, 20))
    with pytest.raises(DataError, match=text):
        load(tmp_path)
    boxes = {
        "images": [{"id": 1, "file_name": "f.png", "height": size[0], "width": size[1]}],
        "annotations": [{"image_id": 1, "category_id": 0, "bbox": [4, 4, 16, 16]}],
        "categories": [{"id": 0, "name": "a"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    with pytest.raises(DataError, match=text):
        load(tmp_path / "boxes.json")
    table = tmp_path / "t.csv"
    table.write_text(f"filename,width,height,class,xmin,ymin,xmax,ymax\nf.png,{size[1]},{size[0]},a,4,4,20,20\n")
    with pytest.raises(DataError, match=text):
        load(table, margin=0)


def test_sizes_that_are_right_unknown_or_those_of_the_box_are_no_matter(tmp_path: Path) -> None:
    put(tmp_path / "f.png", FIELD)
    for size in ((48, 96), (0, 0)):
        voc(tmp_path / "f.xml", size, (4, 4, 20, 20))
        assert len(load(tmp_path)) == 1
    table = tmp_path / "t.csv"
    for high, wide in ((48, 96), (16, 16), (0, 0)):
        table.write_text(f"filename,width,height,class,xmin,ymin,xmax,ymax\nf.png,{wide},{high},a,4,4,20,20\n")
        assert len(load(table, margin=0)) == 1


def test_coco_numbers_may_be_texts(tmp_path: Path) -> None:
    put(tmp_path / "f.png", FIELD)
    boxes = {
        "images": [{"id": 1, "file_name": "f.png"}],
        "annotations": [{"image_id": "1", "category_id": "7", "bbox": [4, 4, 16, 16]}],
        "categories": [{"id": 7, "name": "a"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert load(tmp_path / "boxes.json").class_names == ("a",)


@pytest.mark.parametrize("images", ["images", "images/train", "train/images"])
def test_yolo_labels_are_named_and_images_is_no_class(tmp_path: Path, images: str) -> None:
    for k in range(3):
        put(tmp_path / images / f"{k}.png", CELLS[k])
        text = tmp_path / images.replace("images", "labels") / f"{k}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("0 0.5 0.5 0.25 0.25\n")
    with pytest.raises(DataError, match="holds YOLO labels"):
        load(tmp_path)
    assert len(load(tmp_path / images)) == 3


def test_texts_beside_the_images_of_classes_are_no_yolo_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name / "0.png", CELLS[0])
        (tmp_path / name / "0.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    assert load(tmp_path).class_names == ("a", "b")


def test_a_list_of_folders_says_what_to_do(tmp_path: Path) -> None:
    put(tmp_path / "x" / "a" / "0.png", CELLS[0])
    with pytest.raises(DataError, match=r"names folders, such as .*ImageSet.concat"):
        load([tmp_path / "x", tmp_path / "x"])


def test_a_masked_label_is_missing() -> None:
    with pytest.raises(DataError, match="1 of 4 labels are missing"):
        load((CELLS[:4], np.ma.masked_array([0, 1, 0, 1], [1, 0, 0, 0])))
    assert isinstance(load((CELLS[:4], np.ma.masked_array([0, 1, 0, 1]))), ImageSet)
