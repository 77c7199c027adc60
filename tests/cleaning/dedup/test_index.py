"""The index gives what one search over all images gives, however the images came."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.smooth import jpeg, pasted, smooth

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.dedup.hashes import turned_image
from cellclf.cleaning.dedup.index import Index
from cellclf.data.generated import make_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError


def cells() -> ImageSet:
    base = smooth(60)
    made = [base[0], jpeg(base[1]), turned_image(base[2], 6), pasted(base[3], base[30])]
    images = np.concatenate([base, made])
    order = np.random.default_rng(1).permutation(len(images))
    return ImageSet(images[order], np.arange(64) % 3, ids=[f"p{k}" for k in range(64)], class_names=["a", "b", "c"])


@pytest.mark.parametrize("dedup", [Dedup(), Dedup(foreground=True), Dedup(method="content"), Dedup(keep="sharpest")])
def test_ten_batches_are_one(dedup: Dedup, tmp_path: Path) -> None:
    all_ = cells()
    one, many = Index(dedup), Index(dedup)
    one.append(all_)
    for places in np.array_split(np.arange(64), 10):
        many.append(all_.subset(places))
    expected = dedup.find(all_)
    assert one.find() == expected
    assert many.find() == expected
    assert len(expected.groups) >= 1
    read = Index.load(many.save(tmp_path / "index.npz"))
    assert read.find() == expected
    assert repr(read) == repr(many)
    assert read.find().apply(all_).ids.tolist() == all_.ids[expected.keep].tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "index.npz"]


def test_the_calibration_of_the_first_batch_is_kept() -> None:
    index = Index()
    index.append(cells()[:20])
    assert index.cut is not None
    before = index.cut.copy()
    index.append(cells()[20:])
    assert np.array_equal(index.cut, before)
    other = Index(cut=before)
    other.append(cells())
    assert other.find() == index.find()


def test_ids_come_once_and_a_failed_append_changes_nothing() -> None:
    index = Index()
    index.append(cells()[:20])
    with pytest.raises(DataError, match="'p10'"):
        index.append(cells()[10:30])
    assert len(index) == 20 == len(index.prints)


def test_what_an_index_cannot_do(tmp_path: Path) -> None:
    for wrong in (Dedup(method="phash"), Dedup(background=True), Dedup(foreground=True, offset=1)):
        with pytest.raises(OptionError, match="no images"):
            Index(wrong)
    assert len(Index().find()) == 0
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an index"):
        Index.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros(1))
    with pytest.raises(DataError, match="version"):
        Index.load(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError):
        Index.load(tmp_path / "c.npz")


def changed(**columns: object) -> Callable[[bytes, dict[str, Any]], bytes]:
    """Give a function that writes an index with other columns; None leaves one out."""

    def write(_: bytes, held: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        np.savez(file, **{name: value for name, value in (held | columns).items() if value is not None})
        return file.getvalue()

    return write


def flipped(data: bytes, held: dict[str, Any]) -> bytes:
    place = data.find(b"blocks.npy") + 300
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data, _: data[: len(data) // 2], "not an index that can be read"),
        (lambda data, _: b"", "not an index that can be read"),
        (lambda data, _: b"hello", "not an index that can be read"),
        (lambda data, _: data[:-30], "not an index that can be read"),
        (lambda data, _: data.replace(b"'descr': '<f2'", b"'descr': '<f9'"), "'blocks'"),
        (lambda data, _: data.replace(b"(8, 16, 16)", b"(8, 16, 99)"), "does not fit into"),
        (flipped, "CRC"),
        (changed(ids=None), "lacks ids"),
        (changed(digests=None), "lacks digests"),
        (changed(version=np.array("one")), "version 1"),
        (changed(version=np.array([1])), "version 1"),
        (changed(version=np.array(2)), "version 1"),
        (changed(ids=np.arange(8)), "'ids' holds int64 (8,)"),
        (changed(ids=np.array(["a"])), "'names' holds"),
        (changed(sizes=np.zeros((8, 3), int)), "'sizes' holds int64 (8, 3)"),
        (changed(blocks=np.zeros((8, 12, 12), np.float16)), "'blocks' holds float16 (8, 12, 12)"),
        (changed(cut=np.zeros(3, np.float32)), "'cut' holds float32 (3,)"),
        (changed(dedup_method=np.array("sha")), "not an index of this version"),
        (changed(dedup_speed=np.array(3)), "not an index of this version"),
        (changed(dedup_method=np.array(["dct", "content"])), "not an index of this version"),
        (changed(ids=np.array([{}] * 8, object)), "never unpickled"),
        (changed(dedup_foreground=np.array(True), centres=None), "'centres' holds nothing"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(damage: Any, words: str, tmp_path: Path) -> None:
    index = Index()
    index.append(make_cells(8, size=16))
    path = index.save(tmp_path / "i.npz")
    with np.load(path) as held:
        path.write_bytes(damage(path.read_bytes(), dict(held)))
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        Index.load(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert "allow_pickle" not in str(caught.value)
