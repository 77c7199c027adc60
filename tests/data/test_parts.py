"""``FILE:part`` names a part everywhere, and folders of parts, of patients, of other programs are recognized."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from helpers.images import image, pixels

import cellclf as cc
from cellclf.data.parts import are_parts, part_kind, parts_of, split_part
from cellclf.data.path_patterns import PathPattern
from cellclf.errors import DataError, OptionError, UnknownNameError


def tree(root, *names):
    """Write images at these places."""
    for k, name in enumerate(names):
        image(root / name, k % 200)
    return root


@pytest.fixture
def npz(tmp_path):
    images, labels = pixels(9, 8, 8, 3), np.arange(9) % 2
    np.savez(
        tmp_path / "blood.npz",
        train_images=images[:4], train_labels=labels[:4],
        val_images=images[4:6], val_labels=labels[4:6],
        test_images=images[6:], test_labels=labels[6:],
    )  # fmt: skip
    return tmp_path / "blood.npz"


def test_a_part_in_the_path_of_an_npz(npz, monkeypatch):
    assert [len(cc.load(f"{npz}:{part}")) for part in ("train", "val", "test")] == [4, 2, 3]
    assert len(cc.load(f"{npz}:training")) == 4 and len(cc.load(npz, part="testing")) == 3
    monkeypatch.chdir(npz.parent)
    assert len(cc.load("blood.npz:test")) == 3 and parts_of("blood.npz") == ["test", "train", "val"]
    with pytest.raises(UnknownNameError, match=r"'tset'; did you mean 'test'\?"):
        cc.load("blood.npz:tset")
    with pytest.raises(OptionError, match="name two parts"):
        cc.load("blood.npz:test", part="train")
    with pytest.raises(DataError, match=r"there is no 'gone.npz'"):
        cc.load("gone.npz:test")
    with pytest.raises(DataError, match=r"choose part='train' .*FILE:train"):
        cc.load("blood.npz")


@pytest.mark.skipif(os.name == "nt", reason="a colon is no part of a file name there")
def test_files_with_a_colon_and_windows_paths_stay_paths(npz, monkeypatch):
    monkeypatch.chdir(npz.parent)
    cells = cc.load("blood.npz:val")
    cells.save("blood.npz:test.npz")
    assert len(cc.load("blood.npz:test.npz")) == 2  # the file wins
    cells.save("C:\\data\\a.npz")
    assert len(cc.load("C:\\data\\a.npz")) == 2
    assert split_part(r"C:\other\a.npz") == (r"C:\other\a.npz", None)
    assert split_part(r"C:\other\a.npz:test") == (r"C:\other\a.npz", "test")
    assert split_part(r"C:\cells:val") == (r"C:\cells:val", None)  # no such folder
    assert split_part("cells/*.png:a") == ("cells/*.png:a", None) and split_part("a:b/c.png") == ("a:b/c.png", None)
    with pytest.raises(DataError, match="there is no 'C:"):
        cc.load(r"C:\other\cells")
    tree(npz.parent / "day 10:30", "a/1.png", "b/2.png")
    assert cc.load("day 10:30").num_classes == 2


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "val", "test"), True),
        (("Train", "TEST"), True),
        (("training", "validation", "testing"), True),
        (("train_set", "test_set"), True),
        (("01_train", "02_test"), True),
        (("TrainImages", "x"), False),
        (("train", "test", "docs"), True),
        (("dev", "train"), True),
        (("training-images", "valid"), True),
        (("test", "neutrophil"), False),
        (("contest", "trainee"), False),
    ],
)
def test_folders_that_are_parts_are_refused_and_named(tmp_path, folders, parts):
    tree(tmp_path, *(f"{folder}/{label}/{k}.png" for folder in folders for k, label in enumerate(("lobed", "round"))))
    assert are_parts(folders) == parts
    if not parts:
        assert len(cc.load(tmp_path)) == 4
        return
    train = next(folder for folder in folders if part_kind(folder) == "train")
    with pytest.raises(DataError, match=rf"parts, not classes; load one of them with part='{train}'"):
        cc.load(tmp_path)
    for src, options in ((tmp_path, {"part": "train"}), (f"{tmp_path}:train", {}), (tmp_path / train, {})):
        assert cc.load(src, **options).ids.tolist() == ["lobed/0.png", "round/1.png"]
    assert len(cc.load(tmp_path, labels=False)) == 2 * len(folders)  # to be predicted: all of them


def test_parts_below_the_classes(tmp_path):
    names = [f"{label}/{part}/{k}.png" for label in ("lobed", "round") for part in ("train", "test") for k in range(2)]
    tree(tmp_path, *names)
    with pytest.raises(DataError, match=r"each class folder of .* holds the folders test, train, which are parts"):
        cc.load(tmp_path)
    train, test = cc.load(tmp_path, part="train"), cc.load(f"{tmp_path}:test")
    assert train.counts() == test.counts() == {"lobed": 2, "round": 2}
    assert not {*train.ids.tolist()} & {*test.ids.tolist()}
    with pytest.raises(UnknownNameError, match="'val'"):
        cc.load(tmp_path, part="val")


def test_a_single_folder_above_the_classes_is_passed_through(tmp_path):
    tree(tmp_path, "cells/all/lobed/1.png", "cells/all/round/2.png", "__MACOSX/cells/all/lobed/._1.png")
    found = cc.load(tmp_path)
    assert found.counts() == {"lobed": 1, "round": 1} and found.ids[0] == "cells/all/lobed/1.png"
    assert found.notices == (
        "the folder 'cells/all' holds the class folders",
        f"ignored what other programs left in {tmp_path.name}: __MACOSX (1, a Mac's zip)",
    )
    tree(tmp_path / "p", "set/train/lobed/1.png", "set/test/lobed/1.png")
    with pytest.raises(DataError, match=r"parts, not classes"):
        cc.load(tmp_path / "p")
    one = tree(tmp_path / "q", "neutrophil/P1/1.png", "neutrophil/P2/2.png")
    assert cc.load(one).class_names == ("neutrophil",) and "--" not in cc.load(one).notices[0]
    assert cc.load(tree(tmp_path / "r", "neutrophil/1.png")).class_names == ("neutrophil",)


PATIENTS = [
    ("P01", "P02", "P03"),
    ("patient a", "patient b"),
    ("slide_7", "slide_8"),
    ("2024-01-03", "2024-01-04"),
    ("17", "4"),
]


@pytest.mark.parametrize("patients", PATIENTS)
def test_patients_above_classes_are_groups(tmp_path, patients):
    labels = ("lymphocyte", "neutrophil")
    tree(tmp_path, *(f"{p}/{label}/{k}.png" for p, label, k in itertools.product(patients, labels, range(2))))
    found = cc.load(tmp_path)
    assert found.class_names == labels and {*found.groups.tolist()} == {*patients}
    assert "look like patients or slides" in found.notices[0]
    named = cc.load(tmp_path, group_from="{group}/{label}/*")
    assert named.counts() == found.counts() and sorted(named.groups.tolist()) == sorted(found.groups.tolist())
    assert {*cc.load(tmp_path, group_from="{label}/**").class_names} == {*patients}  # if they are the classes


@pytest.mark.parametrize("patients", PATIENTS)
def test_patients_below_classes_are_asked_about(tmp_path, patients):
    labels = ("lymphocyte", "neutrophil")
    tree(tmp_path, *(f"{label}/{p}/{k}.png" for p, label, k in itertools.product(patients, labels, range(2))))
    found = cc.load(tmp_path)
    assert found.class_names == labels and found.groups is None
    assert "group_from='{label}/{group}/**'" in found.notices[0]
    named = cc.load(tmp_path, group_from="{label}/{group}/*")
    assert named.class_names == labels and {*named.groups.tolist()} == {*patients} and named.notices == ()


def test_folders_of_which_nothing_says_what_they_are(tmp_path):
    tree(tmp_path, *(f"{one}/{two}/1.png" for one in ("anna", "berta") for two in ("x", "y")))
    found = cc.load(tmp_path)
    assert found.class_names == ("anna", "berta") and "if these are the classes" in found.notices[0]
    tree(tmp_path / "c", "lobed/left/1.png", "lobed/right/2.png", "round/1.png")
    assert cc.load(tmp_path / "c").notices == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir"),
        (".@__thumb/1.png", ".@__thumb"),
        ("__MACOSX/lobed/._1.png", "__MACOSX"),
        ("._1.png", "._*"),
        (".DS_Store", ".DS_Store"),
        ("Thumbs.db", "Thumbs.db"),
        ("thumbs.DB", "thumbs.DB"),
        ("desktop.ini", "desktop.ini"),
        ("#recycle/old.png", "#recycle"),
        ("$RECYCLE.BIN/old.png", "$RECYCLE.BIN"),
        ("System Volume Information/x.png", "System Volume Information"),
    ],
)
@pytest.mark.parametrize("place", ["", "lobed/"])
def test_what_other_programs_leave_is_ignored_and_reported(tmp_path, name, text, place):
    tree(tmp_path, "lobed/1.png", "round/2.png")
    odd = tmp_path / place / name
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes((tmp_path / "lobed" / "1.png").read_bytes())
    for options in ({}, {"labels": False}, {"group_from": "{label}/*"}):
        found = cc.load(tmp_path, **options)
        assert found.ids.tolist() == ["lobed/1.png", "round/2.png"] and found.skipped == ()
        assert f"{text} (1, " in found.notices[0] and "ignored what other programs left" in found.notices[0]
    assert len(cc.load(str(tmp_path / "**" / "*.png"))) == 2


def test_without_labels_a_folder_is_read_at_any_depth(tmp_path):
    names = ["1.png", "patient 3/2.png", "patient 3/deep/er/3.png", "train/4.png", "lobed/5.png"]
    tree(tmp_path, *names)
    found = cc.load(tmp_path, labels=False)
    assert sorted(found.ids.tolist()) == sorted(names) and found.labels is None and found.skipped == ()
    npz = cc.load((pixels(2, 8, 8, 3), ["a", "b"]), labels=False).save(tmp_path / "a.npz")
    assert cc.load(npz).labels is None and cc.load((pixels(2, 8, 8, 3), [0, 1]), labels=False).labels is None


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("{label}/{group}/*", "a/p1/x.png", ("a", "p1")),
        ("{group}/{label}/*", "p1/a/x.png", ("a", "p1")),
        ("{label}/{group}_*", "a/s7_12_b.png", ("a", "s7")),
        ("{label}/*-{group}.png", "a/12-p1.png", ("a", "p1")),
        ("**/{group}/*", "a/b/c/p1/x.png", (None, "p1")),
        ("**/{group}/*", "p1/x.png", (None, "p1")),
        ("{label}/**", "a/b/c/x.png", ("a", None)),
        ("{group}/**/{label}/?.png", "p1/u/v/a/x.png", ("a", "p1")),
        ("{label}\\{group}\\*", "a\\p1\\x.png", ("a", "p1")),
        ("{label}.{group}.(*).png", "a.p1.(3).png", ("a", "p1")),
        ("{label}/{group}/*", "a/x.png", None),
        ("{label}/{group}/*", "a/p1/q/x.png", None),
    ],
)
def test_patterns(pattern, path, found):
    matched = PathPattern(pattern).match(path)
    assert (matched and matched[:2]) == found


@pytest.mark.parametrize("pattern", ["*/*", "{patient}/*", "{group}/{group}/*", "", "{}/*", 3])
def test_patterns_that_are_refused(tmp_path, pattern):
    tree(tmp_path, "a/p1/x.png")
    with pytest.raises(OptionError, match=r"expected a pattern with \{group\}, \{label\}, \{domain\}, each once"):
        cc.load(tmp_path, group_from=pattern)


def test_patterns_and_files_that_do_not_match(tmp_path):
    tree(tmp_path, "a/p1/1.png", "b/p2/2.png", "c/3.png")
    found = cc.load(tmp_path, group_from="{label}/{group}/*")
    assert found.ids.tolist() == ["a/p1/1.png", "b/p2/2.png"]
    assert [s.id for s in found.skipped] == ["c/3.png"] and "1 path does not match" in found.notices[0]
    with pytest.raises(DataError, match=r"3 paths do not match .*the first: 'a/p1/1.png'"):
        cc.load(tmp_path, group_from="{label}/{group}/*/*/*")
    files = sorted(tmp_path.glob("*/p*/*.png"))
    assert cc.load(files, group_from="{group}/*").groups.tolist() == ["p1", "p2"]
    assert cc.load(str(tmp_path / "*/p*/*.png"), group_from="{label}/{group}/*").class_names == ("a", "b")
    npz = cc.load(tmp_path).save(tmp_path / "a.npz")
    with pytest.raises(DataError, match="does not match"):
        cc.load(npz, group_from="{label}/{group}/*")
    assert cc.load(cc.load(npz)[:2], group_from="{group}/*").groups.tolist() == ["p1", "p2"]


class Endless:
    """Goes round for ever, as the iterators of Keras' ImageDataGenerator do."""

    def __init__(self, batches, **known):
        self.batches = batches
        self.__dict__ |= known

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return itertools.cycle(self.batches)


class EndlessIterator(Endless):
    def __iter__(self):
        self.source = itertools.cycle(self.batches)
        return self

    def __next__(self):
        return next(self.source)


@pytest.mark.parametrize("kind", [Endless, EndlessIterator])
@pytest.mark.parametrize("known", [{}, {"class_indices": {"b": 1, "a": 0, "c": 2}}, {"class_names": ["a", "b", "c"]}])
def test_iterators_that_never_end_but_have_a_length_are_read_once(kind, known):
    batches = [(pixels(3, 8, 8, 3), np.array([0, 1, 0])), (pixels(2, 8, 8, 3), np.array([1, 1]))]
    found = cc.load(kind(batches, **known))
    assert len(found) == 5 and found.labels.tolist() == [0, 1, 0, 1, 1]
    assert found.class_names == (("a", "b", "c") if known else ("0", "1"))


def test_iterators_and_series_of_paths(tmp_path):
    tree(tmp_path, "a/1.png", "a/2.png")
    names = [str(path) for path in sorted(tmp_path.glob("a/*.png"))]
    for src in (
        tmp_path.glob("a/*.png"),
        iter(names),
        np.array(names),
        np.array(names, object),
        {*names},
        tuple(names),
    ):
        assert cc.load(src).ids.tolist() == names
    assert cc.load((np.array(names), ["x", "y"])).class_names == ("x", "y")
    with pytest.raises(DataError, match="a column of paths holds None"):
        cc.load(np.array([names[0], None], object))
