"""Which cells are suggested: all kinds at a cold start, no copies, few odd ones, the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellclf.errors import DataError, OptionError
from cellclf.runs.suggest import choose

NAMES = ("a", "b", "c", "d")


def blobs(sizes, *, seed=0, spread=0.3, far=8.0):
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return far * np.eye(len(sizes))[which] + rng.normal(0, spread, (len(which), len(sizes))), which


def even(count, classes=4):
    return np.full((count, classes), 1 / classes)


@pytest.mark.parametrize("seed", range(10))
def test_five_far_blobs_give_one_cell_each_at_every_seed(seed):
    features, which = blobs([100, 30, 10, 5, 3])
    found = choose(features, even(148), NAMES, 5, seed=seed)
    assert sorted(which[found.rows]) == [0, 1, 2, 3, 4]


def test_the_order_of_the_pool_changes_nothing():
    features, _ = blobs([40, 30, 30])
    rng = np.random.default_rng(3)
    given_ = rng.dirichlet(np.ones(4), 100)
    ids = np.asarray([f"cell {k}" for k in range(100)])
    first = choose(features, given_, NAMES, 12, ids=ids, seed=1)
    order = rng.permutation(100)
    again = choose(features[order], given_[order], NAMES, 12, ids=ids[order], seed=1)
    assert set(ids[first.rows]) == set(ids[order][again.rows])


def test_copies_are_never_asked_twice():
    features, _ = blobs([20, 20])
    tripled, clusters = np.repeat(features, 3, axis=0), np.repeat(np.arange(40), 3)
    found = choose(tripled, even(120), NAMES, 25, clusters=clusters)
    assert len(found.rows) == 25
    assert len(set(clusters[found.rows])) == 25


def test_copies_of_labelled_cells_are_not_asked():
    features, _ = blobs([20, 20])
    clusters = np.repeat(np.arange(20), 2)
    found = choose(features, even(40), NAMES, 30, clusters=clusters, labelled=np.arange(0, 10, 2))
    assert len(found.rows) == 15
    assert not set(clusters[found.rows]) & set(clusters[:10:2])
    assert found.asked == 30
    assert found.excluded["labelled already, or copies of such"] == 10


def test_no_more_than_one_in_twenty_five_is_doubtful():
    features, _ = blobs([100, 100])
    odd = np.zeros(200, bool)
    odd[::10] = True
    given_ = even(200)
    given_[~odd] = [0.97, 0.01, 0.01, 0.01]  # the doubtful ones are what the run is least sure of
    found = choose(features, given_, NAMES, 25, doubtful=odd)
    assert odd[found.rows].sum() <= 1
    assert found.excluded["blurred, out-of-distribution or non-cell"] >= 19


def test_every_predicted_class_gets_a_turn():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 5))
    called = np.r_[np.zeros(388, int), np.repeat([1, 2, 3], 4)]
    given_ = 0.85 * np.eye(4)[called] + 0.15 / 4
    found = choose(features, given_, NAMES, 25)
    assert set(called[found.rows]) == {0, 1, 2, 3}


def test_every_large_group_gets_its_share():
    features, _ = blobs([200], spread=1.0)
    groups = np.repeat(["slide 1", "slide 2", "slide 3"], [150, 25, 25])
    found = choose(features, even(200), NAMES, 25, groups=groups)
    assert set(groups[found.rows]) == {"slide 1", "slide 2", "slide 3"}


def test_rounds_ask_nothing_twice():
    features, _ = blobs([50, 50, 50])
    labelled = np.empty(0, np.int64)
    for _ in range(4):
        found = choose(features, even(150), NAMES, 10, labelled=labelled)
        assert len(found.rows) == 10
        assert not set(found.rows) & set(labelled)
        labelled = np.r_[labelled, found.rows]


@settings(max_examples=25, deadline=None)
@given(
    cells=st.integers(1, 40),
    count=st.integers(1, 50),
    copies=st.integers(1, 3),
    taken=st.integers(0, 10),
    odd=st.integers(0, 5),
    seed=st.integers(0, 5),
)
def test_always_as_many_as_there_are(cells, count, copies, taken, odd, seed):
    rng = np.random.default_rng(seed)
    features = np.repeat(rng.normal(size=(cells, 3)), copies, axis=0)
    clusters = np.repeat(np.arange(cells), copies)
    labelled = np.arange(min(taken, len(features)))
    doubtful = np.arange(len(features)) >= len(features) - odd
    free = sorted(set(clusters) - set(clusters[labelled]))
    plain = [k for k in free if (~doubtful[clusters == k]).any()]
    given_ = rng.dirichlet(np.ones(4), len(features))
    if not free:
        with pytest.raises(DataError, match="none of the"):
            choose(features, given_, NAMES, count, clusters=clusters, labelled=labelled, doubtful=doubtful, seed=seed)
        return
    found = choose(features, given_, NAMES, count, clusters=clusters, labelled=labelled, doubtful=doubtful, seed=seed)
    assert min(count, len(plain)) <= len(found.rows) <= min(count, len(free))
    assert len(found.reasons) == len(found.rows)
    assert len(set(clusters[found.rows])) == len(found.rows)
    assert not set(clusters[found.rows]) & set(clusters[labelled])


def test_identical_features_are_no_obstacle():
    found = choose(np.zeros((30, 4)), even(30), NAMES, 10)
    assert len(set(found.rows)) == 10


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_that_asks_for_nothing_is_refused(count):
    with pytest.raises(OptionError, match="expected 1 or more"):
        choose(np.zeros((3, 2)), even(3), NAMES, count)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"expected \(N, D\) and \(N, 4\)"):
        choose(np.zeros((3, 2)), even(4), NAMES, 2)
