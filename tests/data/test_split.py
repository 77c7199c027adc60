"""A cut keeps patients and duplicates together, training has every class, and what cannot be cut is refused."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split, components, sample
from cellclf.errors import CellclfWarning, DataError, OptionError

pytestmark = pytest.mark.filterwarnings(
    "ignore:val has no image:cellclf.CellclfWarning", "ignore:test has no image:cellclf.CellclfWarning"
)


def make(labels, groups=None, clusters=None, names=("a", "b", "c")):
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    return ImageSet(images, labels, class_names=names, groups=groups, clusters=clusters)


@st.composite
def sets(draw):
    count = draw(st.integers(1, 60))
    labels = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    groups = draw(st.none() | st.lists(st.integers(0, 20), min_size=count, max_size=count))
    clusters = draw(st.none() | st.lists(st.integers(0, 40), min_size=count, max_size=count))
    return make(labels, groups, clusters)


def a_cut_exists(cells, fractions):
    """Whether some assignment of the units gives training every class, and each part that is due an image one."""
    unit = components(cells)
    held = [np.unique(cells.labels[unit == k]) for k in range(unit.max() + 1)]
    due = {k for k, fraction in enumerate(fractions) if round(fraction * len(cells)) or k == 0}
    if len(held) > 8:
        return True
    for parts in itertools.product(range(3), repeat=len(held)):
        trained = {label for part, labels in zip(parts, held, strict=True) if part == 0 for label in labels.tolist()}
        if due <= {*parts} and trained == {*cells.labels.tolist()}:
            return True
    return False


@pytest.mark.filterwarnings("ignore:.* is empty")
@given(cells=sets(), val=st.floats(0, 0.5), test=st.floats(0, 0.4), seed=st.integers(0, 9))
def test_parts_are_a_partition_that_separates_no_group_and_no_cluster(cells, val, test, seed):
    split = Split(val=val, test=test, seed=seed)
    try:
        parts = split.apply(cells)
    except DataError as error:
        assert "one " in str(error) and not a_cut_exists(cells, [1, val, test])
        return
    assert {*parts.train.labels.tolist()} == {*cells.labels.tolist()}
    ids = [set(part.ids.tolist()) for part in (parts.train, parts.val, parts.test)]
    assert sorted(x for part in ids for x in part) == sorted(cells.ids.tolist())
    for name in ("groups", "clusters"):
        if getattr(cells, name) is not None:
            seen = [set(getattr(part, name).tolist()) for part in (parts.train, parts.val, parts.test)]
            assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    again = split.apply(cells)
    assert again.train.ids.tolist() == parts.train.ids.tolist()
    assert again.val.ids.tolist() == parts.val.ids.tolist()


@pytest.mark.filterwarnings("ignore:.* is empty")
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=80), val=st.floats(0, 0.9))
def test_without_groups_the_fractions_are_exact_to_one_image_a_class(labels, val):
    parts = Split(val=val).apply(make(labels))
    for label in range(3):
        assert abs((parts.val.labels == label).sum() - val * labels.count(label)) < 1


def test_many_small_classes_leave_no_part_nearly_empty():
    cells = make([k for k in range(30) for _ in range(2)], names=None)
    parts = Split(val=0.2, test=0.2, seed=1).apply(cells)
    assert [len(parts.train), len(parts.val), len(parts.test)] == [36, 12, 12]
    assert min(parts.train.counts().values()) == 1, "training has every class"
    assert {len(part.val) for part in Split(seed=1).folds(cells, 5)} <= {11, 12, 13}


def test_a_part_that_cannot_have_an_image_is_reported():
    with pytest.warns(CellclfWarning, match=r"val is empty: 0\.01 of 20 images is less than one"):
        Split(val=0.01).apply(make([0, 1] * 10))
    with pytest.warns(CellclfWarning, match="val is empty: each class has a single image"):
        Split(val=0.2).apply(make(range(20), names=None))


@pytest.mark.parametrize("val", [0.1, 0.2, 0.5, 0.9])
def test_a_class_with_one_image_is_trained_on(val):
    parts = Split(val=val).apply(make([0] * 20 + [1]))
    assert parts.train.counts()["b"] == 1


@given(cells=sets(), count=st.integers(2, 6))
def test_folds_validate_each_image_once(cells, count):
    if count > max(2, len(cells)):
        with pytest.raises(OptionError, match="folds"):
            Split().folds(cells, count)
        return
    unit = components(cells)
    if unit.max() + 1 < min(count, len(cells)):
        with pytest.raises(DataError, match=r"one (cluster|chain|group)"):
            Split().folds(cells, count)
        return
    folds = Split(seed=3).folds(cells, count)
    assert len(folds) == count
    for label in np.unique(cells.labels):
        if len(np.unique(unit[cells.labels == label])) > 1:
            assert all((fold.train.labels == label).any() for fold in folds)
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


def study(rng, holders):
    """Some patients with four common classes, some of them with a few cells of a rare one."""
    patients = int(rng.integers(6, 16))
    rare = {*rng.choice(patients, holders, replace=False).tolist()}
    labels, groups = [], []
    for p, size in enumerate(rng.integers(20, 300, patients)):
        one = rng.choice(4, size, p=rng.dirichlet([5, 3, 2, 1])).tolist() + [4] * (6 if p in rare else 0)
        labels += one
        groups += [p] * len(one)
    images = np.broadcast_to(np.zeros((1, 2, 2, 3), np.uint8), (len(labels), 2, 2, 3))
    return ImageSet(images, labels, groups=groups)


@pytest.mark.parametrize("holders", [1, 2, 3])
def test_a_rare_class_is_trained_on_and_folds_are_nearer_to_their_fractions_than_those_of_scikit_learn(holders):
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for draw in range(100):
        cells = study(rng, holders)
        counts = np.bincount(cells.labels)
        parts = Split(val=0.2, seed=draw).apply(cells)
        assert parts.train.counts()["4"] > 0
        assert (parts.val.counts()["4"] > 0) == (holders > 1)
        folds = Split(seed=draw).folds(cells, 5)
        assert holders == 1 or all(fold.train.counts()["4"] for fold in folds)
        found = np.array([list(fold.val.counts().values()) for fold in folds]) / counts
        ours.append(((found - 0.2) ** 2).mean())
        kind = StratifiedGroupKFold(5, shuffle=True, random_state=draw)
        held = [cells.labels[val] for _, val in kind.split(cells.ids, cells.labels, cells.groups)]
        found = np.array([np.bincount(labels, minlength=5) for labels in held]) / counts
        theirs.append(((found - 0.2) ** 2).mean())
    assert np.mean(ours) < np.mean(theirs)


def test_each_of_two_folds_has_every_class_where_that_is_possible():
    cells = make([1, 1, 0, 0, 2, 2], groups=list("xyyzzw"))
    for seed in range(10):
        for fold in Split(seed=seed).folds(cells, 2):
            assert min(fold.train.counts().values()) and min(fold.val.counts().values())


def test_a_class_that_validation_lacks_is_named():
    cells = make([0] * 30 + [1] * 10, groups=["p"] * 10 + ["q"] * 10 + ["r"] * 20)
    with pytest.warns(CellclfWarning, match=r"val has no image of 'b' \(10 images, all in one group"):
        parts = Split(val=0.25).apply(cells)
    assert parts.train.counts()["b"] == 10 and len(parts.val) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Split(val=0.2).apply(make([0] * 20 + [1] * 4 + [2]))  # one image of a class is no matter of patients


@pytest.mark.parametrize(
    ("groups", "clusters", "labels", "cause"),
    [
        (["p1"] * 6, None, [0, 1] * 3, r"no val can be cut off: all 6 images are of one group 'p1'"),
        (["p1"] * 6, range(6), [0, 1] * 3, r"one group 'p1'"),
        (None, [3] * 6, [0, 1] * 3, r"one cluster of duplicates"),
        (["p"] * 3 + ["q"] * 3, [0, 1, 2, 2, 3, 4], [0, 1] * 3, r"one chain of groups and duplicates"),
        (["p"] * 3 + ["q"] * 3, None, [0] * 3 + [1] * 3, r"the 6 images are 2 groups .* no cut gives every part"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_its_cause(groups, clusters, labels, cause):
    cells = make(labels, groups, clusters)
    with pytest.raises(DataError, match=cause):
        Split(val=0.3).apply(cells)
    if "2 groups" not in cause:
        with pytest.raises(DataError, match="no fold can be cut off"):
            Split().folds(cells, 3)
    assert len(Split(val=0).apply(cells).train) == 6  # nothing is asked for


def test_more_folds_than_patients_are_refused():
    with pytest.raises(DataError, match=r"count=4 folds of 3 groups \(6 images.*at most 3"):
        Split().folds(make([0, 1] * 3, groups=list("ppqqrr")), 4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"val": 1.0},
        {"val": -0.1},
        {"val": 0.5, "test": 0.5},
        {"val": float("nan")},
        {"val": "0.2"},
        {"test": None},
        {"val": True},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": "7"},
        {"seed": 2**40},
    ],
)
def test_unusable_arguments_are_refused(arguments):
    with pytest.raises(OptionError, match="expected"):
        Split(**arguments).apply(make([0, 1]))


def test_numbers_of_numpy_are_numbers():
    cells = make([0, 1] * 20)
    plain = Split(val=0.25, seed=3).apply(cells)
    assert np.array_equal(Split(val=np.float64(0.25), seed=np.int64(3)).apply(cells).val.ids, plain.val.ids)


def test_a_sample_keeps_the_fractions_of_the_classes_and_the_order():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    cells = ImageSet(np.zeros((100, 8, 8, 3), np.uint8), labels)
    some = sample(cells, 33, seed=1)
    assert len(some) == 33 and list(some.counts().values()) in ([17, 10, 6], [16, 10, 7])
    assert np.all(np.diff(some.ids.astype(int)) > 0)
    assert np.array_equal(sample(cells, 33, seed=1).ids, some.ids)
    assert not np.array_equal(sample(cells, 33, seed=2).ids, some.ids)
    assert sample(cells, 100) is cells and len(sample(ImageSet(cells.images), 7)) == 7
    with pytest.raises(OptionError, match="sample count=0; expected a whole number of 1 or more"):
        sample(cells, 0)


@pytest.mark.parametrize("count", [7, 20, 24])
def test_no_fold_is_empty_where_there_are_more_than_a_class_has_images(count):
    cells = ImageSet(np.zeros((24, 2, 2, 3), np.uint8), np.arange(24) % 4)
    found = Split(seed=3).folds(cells, count)
    assert all(len(parts.val) for parts in found) and len(found) == count
    assert sorted(id_ for parts in found for id_ in parts.val.ids.tolist()) == sorted(cells.ids.tolist())
    assert all(len(set(parts.train.labels.tolist())) == 4 for parts in found)
