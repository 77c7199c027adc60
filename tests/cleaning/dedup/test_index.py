"""The index gives what one search over all images gives, however the images came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.smooth import jpeg, pasted, smooth

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.dedup.hashes import turned_image
from cellclf.cleaning.dedup.index import Index
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
