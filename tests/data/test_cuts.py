"""A cut that a source gives: an npz with parts, folders, a table, a dict, a DataFrame; and what is no cut."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.images import image, pixels

import cellclf as cc
from cellclf.data import Parts, load_parts
from cellclf.data.cuts import given_names, given_parts, whole

SIZES = {"train": 6, "val": 2, "test": 4}


def arrays(**sizes):
    found = {}
    for name, count in (sizes or SIZES).items():
        found[f"{name}_images"] = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        found[f"{name}_labels"] = (np.arange(count) % 2)[:, None]  # a column, as in MedMNIST
    return found


def tree(root, *, names=("train", "val", "test"), above=""):
    for name, count in zip(names, SIZES.values(), strict=False):
        for k in range(count):
            image(root / above / name / ("lobed", "round")[k % 2] / f"{k}.png", 20 * k)
    return root


def table(root, head="split", names=("train", "val", "test")):
    rows = [f"path,label,{head}"]
    for name, count in zip(names, SIZES.values(), strict=True):
        for k in range(count):
            image(root / f"{name}{k}.png", 20 * k)
            rows.append(f"{name}{k}.png,{('lobed', 'round')[k % 2]},{name}")
    (root / "t.csv").write_text("\n".join(rows))
    return root / "t.csv"


def sizes(parts):
    return {name: len(getattr(parts, name)) for name in SIZES}


def test_an_npz_as_medmnist_has_it(tmp_path):
    np.savez(tmp_path / "blood.npz", **arrays())
    parts = load_parts(tmp_path / "blood.npz")
    assert sizes(parts) == SIZES and parts.train.class_names == parts.test.class_names == ("0", "1")
    assert parts.val.ids.tolist() == ["val/0", "val/1"] and len({*whole(parts).ids.tolist()}) == 12
    np.testing.assert_array_equal(parts.test.images, arrays()["test_images"])
    named = load_parts(tmp_path / "blood.npz", class_names=["lobed", "round"])
    assert named.train.class_names == named.val.class_names == ("lobed", "round")
    assert sizes(load_parts(arrays())) == SIZES


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST"), ("01_train", "02_dev")])
@pytest.mark.parametrize("above", ["", "blood/all"])
def test_folders(tmp_path, names, above):
    parts = load_parts(tree(tmp_path, names=names, above=above))
    assert sizes(parts) == {**SIZES, **({} if len(names) > 2 else {"test": 0})}
    assert parts.train.class_names == ("lobed", "round")
    assert {*parts.train.ids.tolist()}.isdisjoint(parts.val.ids.tolist())


def test_parts_below_the_classes(tmp_path):
    for label in ("lobed", "round"):
        for name in ("train", "test"):
            for k in range(2):
                image(tmp_path / label / name / f"{k}.png", k)
    parts = load_parts(tmp_path)
    assert sizes(parts) == {"train": 4, "val": 0, "test": 4} and parts.test.class_names == ("lobed", "round")


@pytest.mark.parametrize("head", ["split", "Subset", "partition"])
def test_a_column_of_a_table(tmp_path, head):
    path = table(tmp_path, head)
    assert sizes(load_parts(path)) == SIZES
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(path)
    frame["path"] = [str(tmp_path / name) for name in frame["path"]]
    assert sizes(load_parts(frame)) == SIZES


def test_a_column_of_another_name_and_rows_without_a_part(tmp_path):
    path = table(tmp_path, "which set")
    assert sizes(load_parts(path)) == SIZES  # by what stands in it
    columns = {"part": "which set"}
    assert sizes(load_parts(path, columns=columns)) == SIZES
    assert given_names(path, {"columns": {"part": None}}) == {}
    image(tmp_path / "more.png", 3)
    path.write_text(path.read_text() + "\nmore.png,lobed,")
    parts = load_parts(path, columns=columns)
    assert sizes(parts) == SIZES
    assert "1 of 13 rows of t.csv name no part and are left out" in " ".join(whole(parts).notices)


def test_what_gives_no_cut(tmp_path):
    images, labels = pixels(4, 8, 8, 3), [0, 1, 0, 1]
    np.savez(tmp_path / "plain.npz", images=images, labels=labels)
    np.savez(tmp_path / "both.npz", images=images, labels=labels, train_images=images, test_images=images)
    np.savez(tmp_path / "late.npz", val_images=images, test_images=images)
    tree(tmp_path / "a", names=("test", "val"))
    cells = cc.load(tmp_path / "plain.npz")
    for src in (tmp_path / "plain.npz", tmp_path / "both.npz", tmp_path / "late.npz", tmp_path / "a", cells, images):
        assert given_names(src) == {}, src
    np.savez(tmp_path / "blood.npz", **arrays())
    assert given_names(f"{tmp_path / 'blood.npz'}:train") == {} == given_names(tmp_path / "blood.npz", {"part": "val"})
    assert given_names(table(tmp_path), {"columns": {"part": None}}) == {}
    with pytest.raises(cc.DataError, match=r"plain.npz gives no cut; expected folders train and test"):
        load_parts(tmp_path / "plain.npz")


def test_two_parts_of_one_kind_are_asked_about(tmp_path):
    np.savez(tmp_path / "blood.npz", **arrays(train=4, val=2, dev=2))
    with pytest.raises(cc.DataError, match=r"two parts for val, 'dev' and 'val'; expected one"):
        load_parts(tmp_path / "blood.npz")


def test_classes_and_sizes_are_those_of_the_training_part():
    train = cc.ImageSet(pixels(4, 8, 8, 3), ["lobed", "round"] * 2)
    val = cc.ImageSet(pixels(2, 6, 6, 3), ["Round", "round "])
    parts = given_parts(train, cc.ImageSet(val.images, [0, 0], class_names=["Round"]))
    assert parts.val.image_shape == (8, 8, 3) and parts.val.labels.tolist() == [1, 1]
    assert "images of 6x6 pixels are resized to the 8x8 of the training part" in parts.val.notices
    assert parts.val.class_names == train.class_names and parts.val.ids.tolist() == ["val/0", "val/1"]
    other = cc.ImageSet(pixels(2, 8, 8, 3), ["lobed", "blast"], ids=["a", "b"])
    with pytest.raises(cc.DataError, match=r"the test part has a class that the training part lacks: .*'blast'"):
        given_parts(train, None, other)
    numbered = given_parts(train, cc.ImageSet(pixels(2, 8, 8, 3), [1, 0], ids=["a", "b"]))
    assert numbered.val.labels.tolist() == [1, 0] and numbered.val.ids.tolist() == ["a", "b"]


def test_parts_without_labels():
    train = cc.ImageSet(pixels(4, 8, 8, 3), [0, 1, 0, 1])
    bare = cc.ImageSet(pixels(3, 8, 8, 3))
    with pytest.raises(cc.DataError, match="the val part has no labels"):
        given_parts(train, bare)
    parts = given_parts(train, None, bare)
    assert not len(parts.test) and "the 3 images of the test part have no labels" in parts.train.notices[0]


def test_a_patient_in_two_parts_is_one_patient():
    train = cc.ImageSet(pixels(4, 8, 8, 3), [0, 1, 0, 1], groups=list("ppqq"))
    test = cc.ImageSet(pixels(2, 8, 8, 3), [0, 1], groups=list("pr"))
    parts = given_parts(train, None, test)
    assert parts.test.groups.tolist() == ["p", "r"] and whole(parts).groups.tolist() == list("ppqqpr")
    assert isinstance(parts, Parts) and whole(train) is train
