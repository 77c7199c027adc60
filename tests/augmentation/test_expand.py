"""`Augmenter.expand`: copies that no split can tear from their originals."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.augmentation.augmenter import Augmenter
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import DataError, OptionError

REPORT = Augmenter.preset("report", seed=7)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 12, 16, 3), dtype=np.uint8)
LABELS = np.asarray([0] * 18 + [1] * 9 + [2] * 3)
CELLS = ImageSet(IMAGES, LABELS, class_names=["a", "b", "c"], ids=[f"c{i}" for i in range(30)])


def test_originals_stay_and_copies_follow():
    more = REPORT.expand(CELLS, strengths=[0.5, 1.0])
    assert len(more) == 90 and more.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(more.images[:30], IMAGES)
    assert more.ids[30:34].tolist() == ["c0@aug1", "c0@aug2", "c1@aug1", "c1@aug2"]
    np.testing.assert_array_equal(more.labels[30:], np.repeat(LABELS, 2))
    weak = REPORT.replace(strength=0.5)(IMAGES, [f"c{i}@aug1" for i in range(30)])
    np.testing.assert_array_equal(more.images[30::2], weak)


def test_expanding_twice_is_the_same():
    one, two = (REPORT.expand(CELLS, copies=1) for _ in range(2))
    assert one.fingerprint() == two.fingerprint()


def test_no_split_tears_copies_from_originals():
    parts = Split(val=0.3, seed=1).apply(REPORT.expand(CELLS, copies=3))
    origin = [{i.split("@")[0] for i in part.ids} for part in (parts.train, parts.val)]
    assert not origin[0] & origin[1] and origin[1]


def test_clusters_and_groups_are_inherited():
    cells = CELLS.replace(clusters=np.arange(30) // 2, groups=[f"p{i % 4}" for i in range(30)])
    more = REPORT.expand(cells, copies=2)
    np.testing.assert_array_equal(more.clusters[30:], np.repeat(np.arange(30) // 2, 2))
    assert more.groups[30:34].tolist() == ["p0", "p0", "p1", "p1"]


@pytest.mark.parametrize(("per_class", "counts"), [("max", [18, 18, 18]), (20, [20, 20, 20]), (5, [18, 9, 5])])
def test_classes_are_filled_up(per_class, counts):
    more = REPORT.expand(CELLS, per_class=per_class)
    assert list(more.counts().values()) == counts
    # spread evenly over the originals
    copies = np.char.partition(more.ids[30:], "@")[:, 0]
    for label in range(3):
        names = CELLS.ids[label == LABELS]
        each = [int((copies == name).sum()) for name in names]
        assert max(each) - min(each) <= 1


def test_mistakes_are_reported():
    with pytest.raises(OptionError, match="expected one of them"):
        REPORT.expand(CELLS, copies=1, per_class=3)
    with pytest.raises(OptionError, match="strengths"):
        REPORT.expand(CELLS, strengths=[])
    with pytest.raises(OptionError, match="expand per_class=0; expected"):
        REPORT.expand(CELLS, per_class=0)
    with pytest.raises(DataError, match="needs labels"):
        REPORT.expand(ImageSet(IMAGES), per_class=3)
