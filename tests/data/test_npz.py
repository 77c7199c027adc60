"""Npz and npy files of every spelling are read, large ones mapped; damage and Python objects are refused."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from helpers.images import pixels

import cellclf as cc
from cellclf.errors import DataError, UnknownNameError


@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 1]), np.array([[0], [1], [1]], np.uint8), np.array([0, 1, 1], np.uint64)]
)
@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_every_spelling(tmp_path, labels, names, save):
    images = pixels(3, 8, 8, 3)
    save(tmp_path / "a.npz", **{names[0]: images, names[1]: labels})
    cells = cc.load(tmp_path / "a.npz", class_names=["round", "lobed"])
    assert np.array_equal(cells.images, images) and cells.counts() == {"round": 1, "lobed": 2}


def mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_stored_npz_is_mapped(tmp_path, order):
    images = np.asarray(pixels(60, 80, 80, 3), order=order)
    np.savez(tmp_path / "a.npz", labels=np.arange(60), images=images)
    cells = cc.load(tmp_path / "a.npz")
    assert mapped(cells.images) and mapped(cells[10:20].images)
    assert np.array_equal(cells.images, images)
    np.savez_compressed(tmp_path / "b.npz", labels=np.arange(60), images=images)
    other = cc.load(tmp_path / "b.npz")
    assert not mapped(other.images) and other.fingerprint() == cells.fingerprint()


def test_parts_of_an_npz(tmp_path):
    parts = {"train_images": pixels(3, 8, 8), "train_labels": np.zeros((3, 1), int), "val_images": pixels(2, 8, 8)}
    np.savez(tmp_path / "medmnist.npz", **parts, val_labels=np.ones((2, 1), int))
    with pytest.raises(DataError, match=r"choose part='train' \(there are: train, val\)"):
        cc.load(tmp_path / "medmnist.npz")
    cells = cc.load(tmp_path / "medmnist.npz", part="val")
    assert cells.labels.tolist() == [1, 1] and cells.notices == ("grey was repeated over the three channels",)
    with pytest.raises(UnknownNameError, match=r"'tran'; did you mean 'train'\?"):
        cc.load(tmp_path / "medmnist.npz", part="tran")
    np.savez(tmp_path / "keras.npz", x_train=pixels(3, 8, 8, 3), y_train=[0, 1, 0], x_test=pixels(1, 8, 8, 3))
    assert cc.load(tmp_path / "keras.npz", part="train").labels.tolist() == [0, 1, 0]
    assert cc.load(tmp_path / "keras.npz", part="test").labels is None


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_objects_are_never_unpickled(tmp_path):
    bombs = np.empty(2, object)
    bombs[:] = [Bomb(), Bomb()]
    images = pixels(2, 8, 8, 3)
    np.savez(tmp_path / "a.npz", images=bombs)
    with pytest.raises(DataError, match=r"'images' holds Python objects.*never unpickled"):
        cc.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=images, labels=bombs)
    with pytest.raises(DataError, match="'labels' holds Python objects"):
        cc.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", images=images, extra=bombs)
    assert cc.load(tmp_path / "c.npz").notices == (f"arrays of {tmp_path / 'c.npz'} that were not used: extra",)
    np.save(tmp_path / "d.npy", bombs)
    (tmp_path / "e.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("d.npy", "e.npz"):
        with pytest.raises(DataError, match="not a readable"):
            cc.load(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("keep", [0, 100, 50_000, -30])
def test_truncated_npz(tmp_path, save, keep):
    save(tmp_path / "a.npz", images=pixels(6, 80, 80, 3))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"a\.npz: not a readable npz file.*copy it again"):
        cc.load(tmp_path / "a.npz")


def test_an_npz_with_a_damaged_inside(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=pixels(6, 80, 80, 3))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[2000:2100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"'images' is damaged|'images' cannot be read"):
        cc.load(tmp_path / "a.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 9, 9, 3)})
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(2_000_000))
    with pytest.raises(DataError, match="does not fit into"):
        cc.load(tmp_path / "b.npz")


@pytest.mark.parametrize(("place", "value", "why"), [(6, 1, "encrypted"), (8, 9, "compression")])
def test_an_npz_that_another_program_packed(tmp_path, place, value, why):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=pixels(2, 80, 80, 3))
    packed = bytearray(path.read_bytes())
    directory = packed.index(b"PK\x01\x02")
    packed[place] = packed[directory + place + 2] = value  # in the file's own header and in the directory
    path.write_bytes(packed)
    with pytest.raises(DataError, match=rf"'images' cannot be unpacked \(.*{why}.*\); save it with np\.savez"):
        cc.load(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scans": pixels(2, 8, 8, 3)}, "has no 'images' or 'x' but scans; name them"),
        ({"images": pixels(2, 8, 8, 3) / 255.0}, r"a\.npz: images are float64 within 0-1.*multiply by 255"),
        ({"images": pixels(2, 8, 8, 3), "labels": [0, 1, 2]}, r"a\.npz: 3 labels for 2 images"),
        ({"images": pixels(2, 8, 8, 3), "labels": np.eye(2)}, "argmax"),
        ({"images": pixels(2, 3, 8, 8)}, "transpose"),
        ({"images": pixels(2, 8, 8, 3), "ids": ["a", "a"]}, "'a' occurs 2 times"),
    ],
)
def test_npz_content_that_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        cc.load(tmp_path / "a.npz")


def test_npy_is_mapped(tmp_path):
    images = pixels(2, 8, 8, 3)
    np.save(tmp_path / "a.npy", images)
    cells = cc.load(tmp_path / "a.npy", [1, 0], groups=["p", "q"])
    assert mapped(cells.images) and cells.labels.tolist() == [1, 0] and cells.groups.tolist() == ["p", "q"]
