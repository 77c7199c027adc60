from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split, components, sample
from cellclf.errors import OptionError


def make(labels, groups=None, clusters=None):
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    return ImageSet(images, labels, class_names=["a", "b", "c"], groups=groups, clusters=clusters)


@st.composite
def sets(draw):
    count = draw(st.integers(1, 60))
    labels = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    groups = draw(st.none() | st.lists(st.integers(0, 20), min_size=count, max_size=count))
    clusters = draw(st.none() | st.lists(st.integers(0, 40), min_size=count, max_size=count))
    return make(labels, groups, clusters)


@given(cells=sets(), val=st.floats(0, 0.5), test=st.floats(0, 0.4), seed=st.integers(0, 9))
def test_parts_are_a_partition_that_tears_no_group_and_no_cluster(cells, val, test, seed):
    split = Split(val=val, test=test, seed=seed)
    parts = split.apply(cells)
    ids = [set(part.ids.tolist()) for part in (parts.train, parts.val, parts.test)]
    assert sorted(x for part in ids for x in part) == sorted(cells.ids.tolist())
    for name in ("groups", "clusters"):
        if getattr(cells, name) is not None:
            seen = [set(getattr(part, name).tolist()) for part in (parts.train, parts.val, parts.test)]
            assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    again = split.apply(cells)
    assert again.train.ids.tolist() == parts.train.ids.tolist()
    assert again.val.ids.tolist() == parts.val.ids.tolist()


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=80), val=st.floats(0, 0.9))
def test_without_groups_the_fractions_are_exact_to_one_image_a_class(labels, val):
    parts = Split(val=val).apply(make(labels))
    for label in range(3):
        assert abs((parts.val.labels == label).sum() - val * labels.count(label)) < 1


def test_a_class_with_one_image_is_trained_on():
    parts = Split(val=0.2).apply(make([0] * 20 + [1]))
    assert parts.train.counts()["b"] == 1


@given(cells=sets(), count=st.integers(2, 6))
def test_folds_validate_each_image_once(cells, count):
    if count > max(2, len(cells)):
        with pytest.raises(OptionError, match="folds"):
            Split().folds(cells, count)
        return
    folds = Split(seed=3).folds(cells, count)
    assert len(folds) == count
    assert sorted(x for fold in folds for x in fold.val.ids.tolist()) == sorted(cells.ids.tolist())
    assert all(len(fold.train) + len(fold.val) == len(cells) for fold in folds)


@settings(max_examples=30)
@given(cells=sets())
def test_components_equal_a_slow_union_find(cells):
    parent = list(range(len(cells)))

    def root(k):
        while parent[k] != k:
            k = parent[k]
        return k

    for column in (cells.groups, cells.clusters):
        first: dict = {}
        for k, value in enumerate([] if column is None else column.tolist()):
            parent[root(k)] = root(first.setdefault(value, k))
    slow = [root(k) for k in range(len(cells))]
    fast = components(cells)
    for i in range(len(cells)):
        for j in range(i):
            assert (slow[i] == slow[j]) == (fast[i] == fast[j])


def test_large_groups_leave_both_parts_near_their_fraction():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    groups = rng.integers(0, 40, 600)
    parts = Split(val=0.25, seed=1).apply(make(labels, groups))
    for label in range(3):
        fraction = (parts.val.labels == label).sum() / (labels == label).sum()
        assert 0.15 < fraction < 0.35


@pytest.mark.parametrize(("val", "test"), [(1.0, 0), (-0.1, 0), (0.5, 0.5)])
def test_unusable_fractions_are_refused(val, test):
    with pytest.raises(OptionError, match="expected"):
        Split(val=val, test=test).apply(make([0, 1]))


def test_a_sample_keeps_the_fractions_of_the_classes_and_the_order():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    cells = ImageSet(np.zeros((100, 8, 8, 3), np.uint8), labels)
    some = sample(cells, 33, seed=1)
    assert len(some) == 33 and list(some.counts().values()) in ([17, 10, 6], [16, 10, 7])
    assert np.all(np.diff(some.ids.astype(int)) > 0)
    assert np.array_equal(sample(cells, 33, seed=1).ids, some.ids)
    assert not np.array_equal(sample(cells, 33, seed=2).ids, some.ids)
    assert sample(cells, 100) is cells and len(sample(ImageSet(cells.images), 7)) == 7
    with pytest.raises(OptionError, match="expected 1 image or more"):
        sample(cells, 0)
