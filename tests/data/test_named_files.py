"""Tables written on another computer or by another program: their files are found, or one line says why not."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cellclf import DataError, ImageSet, load, make_cells

IMAGES = make_cells(8, size=16, seed=1).images
Save = Callable[..., None]


def save(folder: Path, names: Callable[[int], str]) -> None:
    for k, image in enumerate(IMAGES):
        path = folder / names(k)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def table(folder: Path, head: str, row: Callable[[int], str]) -> ImageSet:
    text = head + "\n" + "".join(f"{row(k)},{'ab'[k % 2]}\n" for k in range(8))
    (folder / "t.csv").write_text(text, "utf-8")
    return load(folder / "t.csv", size=(16, 16))


def is_right(found: ImageSet) -> bool:
    """Whether each row has its own image: the rows are in the order of the images."""
    return found.counts() == {"a": 4, "b": 4} and bool((found.images == IMAGES).all())


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("c{k}.png", "/data/upload/1/3f2a{k}b1c-c{k}.png"),  # Label Studio
        ("upload/1/3f2a{k}b1c-c{k}.png", "/data/upload/1/3f2a{k}b1c-c{k}.png"),
        ("c{k}.png", "/data/upload/c{k}_mLPkNF{k}.png"),
        ("my cells/c{k}.png", "/data/local-files/?d=my%20cells/c{k}.png"),
        ("my cells/c{k}.png", "http://localhost:8080/data/local-files/?d=my%20cells/c{k}.png"),
        ("c{k}.png", "https://example.org/crops/c{k}.png?download=1"),
        ("crops/c{k}.png", "s3://bucket/run 7/crops/c{k}.png"),
        ("c{k}.png", r"C:\Users\me\cells\c{k}.png"),
        ("cells/c{k}.png", r"C:\Users\me\Cells\c{k}.png"),
        ("cells/c{k}.png", r"\\nas\share\cells\c{k}.png"),
        ("{k}/c.png", "/content/drive/MyDrive/cells/{k}/c.png"),  # one name in every folder
    ],
)
def test_paths_of_other_computers(tmp_path: Path, stored: str, named: str) -> None:
    save(tmp_path, lambda k: stored.format(k=k))
    found = table(tmp_path, "path,label", lambda k: named.format(k=k))
    assert is_right(found) and not found.skipped
    (notice,) = found.notices
    assert notice.startswith("8 paths of t.csv are of another computer or program")


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("c{k}.PNG", "c{k}.png"),
        ("img_{k}.jpg.png", "IMG_{k}.JPG.png"),
        ("my cell {k}.png", "my%20cell%20{k}.png"),
        ("a&b {k}.png", "a&amp;b {k}.png"),
        (unicodedata.normalize("NFD", "zälle{k}.png"), unicodedata.normalize("NFC", "zälle{k}.png")),
        (unicodedata.normalize("NFC", "zälle{k}.png"), unicodedata.normalize("NFD", "zälle{k}.png")),
        ("{k:03d}.png", "{k}"),
        ("{k:03d}.png", "{k}.png"),
        ("{k}.png", "{k}.0"),
        ("{k}00000.png", "{k}E+05"),
        ("c{k}.png", "'c{k}.png'"),
        ("Sub Folder/c{k}.png", r"sub folder\c{k}.png"),
    ],
)
def test_names_in_another_spelling(tmp_path: Path, stored: str, named: str) -> None:
    save(tmp_path, lambda k: stored.format(k=k))
    found = table(tmp_path, "path,label", lambda k: named.format(k=k))
    assert is_right(found)
    (notice,) = found.notices
    assert "of t.csv are spelt otherwise on the disk" in notice and notice.isprintable()


@pytest.mark.parametrize(
    "address", ["file://{f}/a%20b/c{k}.png", "file://localhost{f}/a b/c{k}.png", "file:a b/c{k}.png"]
)
def test_addresses_of_files(tmp_path: Path, address: str) -> None:
    save(tmp_path, lambda k: f"a b/c{k}.png")
    found = table(tmp_path, "path,label", lambda k: address.format(f=tmp_path.as_posix(), k=k))
    assert is_right(found) and not found.notices


def test_addresses_are_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"https://example\.org/c0\.png \(an address, and nothing is fetched: download"):
        table(tmp_path, "path,label", lambda k: f"https://example.org/c{k}.png")


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("folder,filename,label", "s{k},c.png"),
        ("filename,directory,label", "c.png,s{k}"),
        ("Image_FileName_DNA,Image_PathName_DNA,label", "c.png,{f}/s{k}"),
        (r"Image_FileName_DNA,Image_PathName_DNA,label", r"c.png,D:\plates\s{k}"),
        ("path,filename,label", "s{k},c.png"),
    ],
)
def test_folder_and_name_in_two_columns(tmp_path: Path, head: str, row: str) -> None:
    save(tmp_path, lambda k: f"s{k}/c.png")
    assert is_right(table(tmp_path, head, lambda k: row.format(f=tmp_path.as_posix(), k=k)))


def test_a_folder_column_that_says_nothing_of_the_place(tmp_path: Path) -> None:
    save(tmp_path, lambda k: f"c{k}.png")
    assert is_right(table(tmp_path, "folder,filename,label", lambda k: f"run 7,c{k}.png"))


def test_files_in_several_folders_below(tmp_path: Path) -> None:
    save(tmp_path, lambda k: f"part_{k // 4 + 1}/ISIC_{k}.jpg")
    found = table(tmp_path, "image_id,label", lambda k: f"ISIC_{k}")
    assert found.counts() == {"a": 4, "b": 4} and len(found) == 8
    assert found.notices == ("8 files of t.csv were found by their names in the folders part_1 (4), part_2 (4)",)


def test_files_of_one_name_are_told_apart_by_the_label_or_not_at_all(tmp_path: Path) -> None:
    save(tmp_path, lambda k: f"{'ab'[k % 2]}/c{k // 2}.png")
    assert is_right(table(tmp_path, "filename,label", lambda k: f"c{k // 2}.png"))
    text = "path\n" + "".join(f"/other/{side}/c{k}.png\n" for side in "xy" for k in range(4))
    (tmp_path / "u.csv").write_text(text)
    for k in range(4):
        os.replace(tmp_path / "a" / f"c{k}.png", tmp_path / f"c{k}.png")
    with pytest.raises(DataError, match="no such file"):  # two paths would be one file
        load(tmp_path / "u.csv")


def test_other_endings_are_named(tmp_path: Path) -> None:
    save(tmp_path, lambda k: f"c{k}.png")
    with pytest.raises(DataError, match=r"the first is 'c0\.jpg', and there is 'c0\.png': correct the endings"):
        table(tmp_path, "path,label", lambda k: f"c{k}.jpg")
