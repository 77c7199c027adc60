"""Folders as people have them: masks, links, hidden files, copies of the set, and sources that are no folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from cellclf import DataError, load, make_cells

IMAGES = make_cells(12, size=16, seed=1).images


def tree(root: Path, *names: str, each: int = 2) -> Path:
    for k, name in enumerate(name for name in names for _ in range(each)):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[k]).save(root / name / f"{k}.png")
    return root


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[11]).save(path, format="PNG")


@pytest.mark.parametrize("name", [".c/1.png", "a/.c.png", ".c/d/1.png"])
def test_hidden_images_are_reported(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "a", "b")
    draw(tmp_path / name)
    (tmp_path / ".git").mkdir()
    found = load(tmp_path)
    assert found.counts() == {"a": 2, "b": 2}
    (notice,) = found.notices
    assert notice.startswith("ignored as hidden") and name.partition("/1.png")[0].removesuffix("/d") in notice
    with pytest.raises(DataError, match="ignored as hidden"):
        load(tree(tmp_path / "only", ".a", ".b"))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a/cell (1).png", "a/cell (1)_mask.png"),
        ("a/cell (1).jpg", "a/cell (1)_mask_1.png"),
        ("a/x.png", "a/x_cp_masks.png"),
        ("a/x.png", "a/x_seg.tif"),
        ("a/images/x.png", "a/masks/x.png"),
        ("a/imgs/x.png", "a/Labels/x.png"),
    ],
)
def test_masks_are_no_images_of_a_class(tmp_path: Path, image: str, mask: str) -> None:
    tree(tmp_path, "b")
    draw(tmp_path / image)
    draw(tmp_path / mask)
    found = load(tmp_path)
    assert found.counts() == {"a": 1, "b": 2}
    assert [(one.id, "a mask" in one.reason) for one in found.skipped] == [(mask, True)]
    os.remove(tmp_path / image)
    assert load(tmp_path).counts() == {"a": 1, "b": 2}, "without its image, it is no mask"


def test_images_beside_masks_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'images' and 'masks', which are images and their masks, not classes; load"):
        load(tree(tmp_path, "images", "masks"))
    assert len(load(tmp_path / "images")) == 2
    assert load(tree(tmp_path / "c", "masked", "images")).num_classes == 2


def test_a_link_to_a_class_is_reported_and_read_once(tmp_path: Path) -> None:
    tree(tmp_path, "b", "z")
    os.symlink(tmp_path / "z", tmp_path / "a")  # it comes first, and is still the link
    os.symlink(tmp_path / "nowhere", tmp_path / "gone")
    found = load(tmp_path)
    assert found.counts() == {"b": 2, "z": 2} and not found.notices
    assert {one.id: one.reason for one in found.skipped} == {
        "a": "a link to the folder 'z', which is read already",
        "gone": "a link that leads nowhere",
    }


def test_a_set_that_was_copied_into_itself(tmp_path: Path) -> None:
    tree(tmp_path, "monocyte", "neutrophil", "cells/monocyte", "cells/neutrophil")
    with pytest.raises(DataError, match=r"holds the folders 'monocyte', 'neutrophil', and the folder 'cells' has them"):
        load(tmp_path)
    found = load(tree(tmp_path / "twice", "monocyte", "monocyte/monocyte", "neutrophil"))
    assert "was unpacked twice" in found.notices[0]


def test_names_without_a_known_ending_are_read_by_their_content(tmp_path: Path) -> None:
    tree(tmp_path, "a", "b")
    for name in ("a/c", "a/cell.12", "b/c.png ", "b/d.png."):
        draw(tmp_path / name)
    (tmp_path / "a" / "README").write_text("no image")
    found = load(tmp_path)
    assert found.counts() == {"a": 4, "b": 4} and [one.id for one in found.skipped] == ["a/README"]
    assert len(load(tmp_path / "a" / "c")) == 1


def test_a_class_whose_files_are_of_another_kind_is_lost_and_named(tmp_path: Path) -> None:
    tree(tmp_path, "a", "b")
    (tmp_path / "c").mkdir()
    for k in range(3):
        Image.fromarray(IMAGES[k]).save(tmp_path / "c" / f"{k}.webp")
    (notice,) = load(tmp_path).notices
    assert notice.startswith("the class 'c' is lost: none of its files can be read (3, the first: a WebP image")
    with pytest.raises(
        DataError, match=r"holds no image .* 3 other files are there, the first: 0\.webp \(a WebP image"
    ):
        load(tmp_path / "c")


def test_classes_called_as_what_has_no_label_and_classes_of_one_image(tmp_path: Path) -> None:
    assert "'_unlabeled' (2) sounds like" in load(tree(tmp_path / "u", "a", "_unlabeled")).notices[0]
    found = load(tree(tmp_path / "c", *(f"cell_{k}" for k in range(6)), each=1))
    assert "each of the 6 classes has a single image" in found.notices[0]


def test_copies_of_roboflow_can_be_kept_together(tmp_path: Path) -> None:
    for k, image in enumerate(IMAGES):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "ab"[k % 2] / f"n{k // 4}_png.rf.{k:032x}.png")
    (notice,) = load(tmp_path).notices
    assert "12 images are 6 originals and their augmented copies" in notice and "'**/{group}.rf.*'" in notice
    found = load(tmp_path, group_from="**/{group}.rf.*")
    assert found.class_names == ("a", "b") and sorted({*found.groups.tolist()}) == ["n0_png", "n1_png", "n2_png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cells.zip", "an archive: unpack it"),
        ("cells.tar.gz", "an archive: unpack it"),
        ("cells.xlsx", "a workbook: save it as CSV UTF-8"),
        ("train.txt", "a text: save it as .csv"),
        ("metadata.jsonl", "JSON in lines: pass load"),
        ("cells.h5", r"a file of HDF5 or MATLAB: save its arrays with np\.savez"),
        ("cells.pkl", "a pickle, which could run code"),
        ("slide.svs", "a slide of Aperio, which is not read"),
        ("cells.zip:train", "an archive: unpack it"),
    ],
)
def test_files_of_other_kinds_say_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name.partition(":")[0]).write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match=message) as caught:
        load(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_sources_as_people_type_them(tmp_path: Path) -> None:
    root = tree(tmp_path / "my cells", "a", "b")
    for src in (root.as_uri(), f'"{root}"', os.fsencode(root), f"{root}//"):
        assert load(src).counts() == {"a": 2, "b": 2}
    for src, message in (
        (tmp_path / "my cell", "but there is '.*my cells'"),
        (tmp_path / "My Cells" / "c", "but there is '.*my cells'"),
        ("https://example.org/cells.npz", r"'https://example\.org/cells\.npz' is an address, and nothing is fetched"),
        ("$CELLS_NOWHERE/a", "the variable in it was not replaced"),
    ):
        with pytest.raises(DataError, match=message):
            load(src)
