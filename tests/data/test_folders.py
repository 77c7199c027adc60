"""Folders, lists, patterns and single files: what is a class, what is not an image, and what is reported of both."""

from __future__ import annotations

import os
import pickle

import pytest
from helpers.images import image

import cellclf as cc
from cellclf.data import folders, listing
from cellclf.errors import DataError, OptionError

# Folders


def test_a_folder_gives_classes_ids_and_images(folder):
    cells = cc.load(folder)
    assert cells.class_names == ("lobed", "round") and cells.labels.tolist() == [0, 0, 1, 1]
    assert cells.ids.tolist() == ["lobed/a.png", "lobed/b.PNG", "round/a.png", "round/deep/er/c.bmp"]
    assert cells.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert cells.notices == () and cells.skipped == ()
    assert cc.load(str(folder)).fingerprint() == cells.fingerprint()
    assert pickle.loads(pickle.dumps(cells)).fingerprint() == cells.fingerprint()


def test_a_folder_and_the_npz_made_of_it_have_one_fingerprint(folder, tmp_path):
    cells = cc.load(folder)
    assert cc.load(cells.save(tmp_path / "cells.npz")).fingerprint() == cells.fingerprint()
    assert cc.load((cells.images, cells.labels)).fingerprint() != cells.fingerprint()  # ids are part of it


def test_folders_that_are_numbers_are_ordered_by_value(tmp_path):
    for name in ("10", "9", "1"):
        image(tmp_path / name / "a.png")
    cells = cc.load(tmp_path)
    assert cells.class_names == ("1", "9", "10")
    names = [f"class {k}" for k in range(11)]
    assert cc.load(tmp_path, class_names=names).labels.tolist() == [1, 9, 10]


def test_what_is_no_image_is_listed(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "round" / "Thumbs.db").write_text("x")
    (folder / "round" / "bad.jpg").write_text("no image")
    (folder / "round" / "empty.png").write_bytes(b"")
    (folder / "round" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    image(folder / ".hidden" / "a.png")
    image(folder / "round" / ".ipynb_checkpoints" / "a-checkpoint.png")
    image(folder / "round" / "._a.png")
    image(folder / "loose.png")
    cells = cc.load(folder)
    assert len(cells) == 4 and cells.class_names == ("lobed", "round")
    reasons = {skipped.id: skipped.reason for skipped in cells.skipped}
    assert reasons.keys() == {
        "notes.txt",
        "round/bad.jpg",
        "round/empty.png",
        "round/gone.png",
        "loose.png",
    }
    assert "no such file" in reasons["round/gone.png"] and "class folders" in reasons["loose.png"]
    assert cells.notices == (
        "the folder 'empty' holds no image and is not a class",
        "ignored what other programs left in cells: ._* (1, a Mac), .ipynb_checkpoints (1, Jupyter), Thumbs.db (1, "
        "Windows' thumbnails)",
        "ignored as hidden, because their names begin with a dot: .hidden; rename what belongs to the set",
    )
    assert "skipped: 5" in cells.summary()


def test_links_are_followed_and_never_in_a_circle(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "round").symlink_to(folder / "round")
    (links / "lobed").mkdir()
    for path in (folder / "lobed").iterdir():
        (links / "lobed" / path.name).symlink_to(path)
    (links / "lobed" / "again").symlink_to(links / "lobed")
    assert cc.load(links).fingerprint() == cc.load(folder).fingerprint()


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path):
    found = listing.Listing([], [])
    assert folders._Walk(tmp_path, found).below(str(tmp_path / "round" / "deep")) == []
    assert [(s.id, s.reason) for s in found.skipped] == [
        ("round/deep", "the folder cannot be listed: No such file or directory")
    ]


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_odd_file_names(tmp_path):
    names = ["käse 細胞.png", "a b\tc.png", "50% $x$.png", "new\nline.png", "-rf.png"]
    for name in names:
        image(tmp_path / "lympho\u00adcyte é" / name)
    raw = os.fsencode(tmp_path / "lympho\u00adcyte é") + b"/\xe9\xff.png"
    os.link(tmp_path / "lympho\u00adcyte é" / "-rf.png", raw)
    cells = cc.load(tmp_path)
    assert len(cells) == 6 and cells.images.shape == (6, 8, 8, 3)
    assert r"\xe9\xff.png" in cells.ids[-1]
    "\n".join(cells.ids.tolist()).encode()  # printable everywhere
    assert cc.load(cells.save(tmp_path / "x.npz")).fingerprint() == cells.fingerprint()


def test_a_folder_of_images_only_has_no_labels(tmp_path):
    for k in range(3):
        image(tmp_path / f"{k}.png", k)
    cells = cc.load(tmp_path)
    assert cells.labels is None and cells.ids.tolist() == ["0.png", "1.png", "2.png"]
    assert "no labels" in repr(cells)


@pytest.mark.parametrize("inside", [None, "a.txt"])
def test_a_folder_without_a_image(tmp_path, inside):
    if inside:
        (tmp_path / inside).write_text("x")
    with pytest.raises(DataError, match="holds no image"):
        cc.load(tmp_path)


def test_a_class_whose_files_are_all_damaged_is_lost_with_a_notice(folder):
    (folder / "kidney").mkdir()
    (folder / "kidney" / "a.png").write_text("x")
    cells = cc.load(folder)
    assert cells.class_names == ("lobed", "round")
    assert cells.notices == ("the class 'kidney' is lost: none of its files can be read",)
    assert cc.load(folder, class_names=["kidney", "lobed", "round"]).labels.tolist() == [1, 1, 2, 2]


def test_nothing_readable(tmp_path):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(DataError, match=r"no readable image, of 1 files; the first: a\.png \(not a jpg"):
        cc.load(tmp_path)


def test_mixed_sizes_are_resized_with_notice_or_refused(tmp_path):
    for k, side in enumerate([(8, 8), (8, 8), (16, 8), (20, 20)]):
        image(tmp_path / "round" / f"{k}.png", k, side)
    cells = cc.load(tmp_path)
    assert cells.image_shape == (8, 8, 3)
    assert cells.sizes.tolist() == [[8, 8], [8, 8], [16, 8], [20, 20]]
    assert cells.notices == (
        "2 images: resized to 8x8, the median height and width (there are 8x8: 2, 20x20: 1, 16x8: 1); "
        "their proportions changed (fit=pad or fit=crop keeps them)",
    )
    assert "heights 8 to 20, widths 8 to 20" in cells.summary()
    with pytest.raises(DataError, match=r"3 sizes .*pass size=\(8, 8\), or fit='stretch'"):
        cc.load(tmp_path, fit="refuse")
    given = cc.load(tmp_path, size=[10, 12], fit="refuse")
    assert given.image_shape == (10, 12, 3) and "4 images: resized to 10x12 (" in given.notices[0]
    assert given.images.shape == (4, 10, 12, 3)


def test_conversions_are_counted(folder):
    image(folder / "round" / "grey1.png", 9, mode="L")
    image(folder / "round" / "grey2.png", 9, mode="L")
    image(folder / "round" / "clear.png", (1, 2, 3, 0), mode="RGBA")
    cells = cc.load(folder)
    assert cells.notices == (
        "2 images: grey repeated over the channels (the first: round/grey1.png)",
        "1 image: transparency blended with white (the first: round/clear.png)",
    )


def test_without_verify_damage_is_reported_when_it_is_read(folder):
    path = folder / "round" / "a.png"
    path.write_bytes(path.read_bytes()[:50])
    assert len(cc.load(folder).skipped) == 1
    cells = cc.load(folder, verify=False)
    assert len(cells) == 4
    with pytest.raises(DataError, match=r"a\.png: .*load the set again"):
        cells.images  # noqa: B018  # reading is the test


# Lists, patterns, single files


def test_lists_patterns_and_single_files(folder, monkeypatch):
    paths = sorted(folder.glob("*/a.png"))
    assert cc.load(paths).ids.tolist() == [str(path) for path in paths]
    for pattern in ("**/*.png", "**/**.png", "*/**.png"):
        assert cc.load(str(folder / pattern)).ids.tolist() == [str(path) for path in paths], pattern
    assert len(cc.load(paths[0])) == 1
    monkeypatch.chdir(folder)
    assert cc.load("lobed/*").ids.tolist() == ["lobed/a.png", "lobed/b.PNG"]
    assert cc.load(".").ids.tolist()[0] == "lobed/a.png"
    with pytest.raises(DataError, match="no image matches"):
        cc.load("*.jpg")


def test_labels_beside_a_list_follow_the_files_that_can_be_read(folder):
    (folder / "bad.png").write_text("x")
    paths = [folder / "lobed" / "a.png", folder / "bad.png", folder / "round" / "a.png"]
    cells = cc.load(paths, ["a", "b", "c"], groups=["p", "q", "r"], class_names=["a", "b", "c"])
    assert cells.labels.tolist() == [0, 2] and cells.groups.tolist() == ["p", "r"]
    with pytest.raises(DataError, match="2 labels for 3 files"):
        cc.load(paths, [0, 1])
    with pytest.raises(OptionError, match="labels cannot be given beside"):
        cc.load(folder, [0, 1, 2, 3])
