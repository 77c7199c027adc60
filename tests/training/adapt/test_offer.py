"""What labels would bring: no cell is predicted by a model that saw its label, or a copy of the cell."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.training.adapt import offer as offers
from cellclf.training.adapt.offer import Sheet, check_counts, draw, halves, predicted

NAMES = ("dark", "grey", "light")


def a_sheet(n=120, shift=0.6, seed=0):
    """Three classes along one direction; the run has their borders in the wrong place."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    place = labels - 1 + shift + rng.normal(0, 0.2, n)
    features = np.concatenate([place[:, None], rng.normal(0, 0.2, (n, 3))], 1)
    views = np.stack([features, features + rng.normal(0, 0.02, features.shape)]).astype(np.float32)
    logits = 6 * (views[..., :1] * np.array([-1, 0, 1]) - np.array([0.5, 0, 0.5]))
    given = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return Sheet((4,), {1.0: views}, {1.0: given.astype(np.float32)}), labels


def test_labels_move_the_borders():
    sheet, labels = a_sheet()
    half = halves(np.arange(120), [0])
    found = draw(sheet, labels, half, np.arange(120), 12, NAMES, seed=0)
    before = sheet.given[1.0][0].argmax(1)
    assert (before == labels).mean() < 0.7 and (found == labels).mean() > 0.9


def test_no_cell_is_predicted_by_a_model_that_saw_it_or_its_copy(monkeypatch):
    sheet, labels = a_sheet(60)
    copies = np.arange(60) // 2
    seen = []

    def watched(sheet, pool, picked, own, scored, seed):
        seen.append((pool, picked, own, scored))
        return np.zeros(len(scored), np.int64)

    monkeypatch.setattr(offers, "predicted", watched)
    half = halves(copies, [3])
    draw(sheet, labels, half, copies, 10, NAMES, seed=1)
    assert np.concatenate([one[3] for one in seen]).tolist() != [] and len(seen) == 2
    assert sorted(np.concatenate([one[3] for one in seen]).tolist()) == list(range(60)), "each cell once"
    for pool, picked, own, scored in seen:
        assert not set(copies[pool]) & set(copies[scored])
        assert set(picked) <= set(pool) and len(picked) == 10 == len(set(copies[picked]))
        assert own.tolist() == labels[picked].tolist()


def test_the_labels_of_scored_cells_change_nothing():
    sheet, labels = a_sheet(60)
    half = halves(np.arange(60), [0])
    first = draw(sheet, labels, half, np.arange(60), 12, NAMES, seed=0)
    pool, scored = np.flatnonzero(half), np.flatnonzero(~half)
    picked = pool[offers.suggested(sheet, pool, np.arange(60), 12, NAMES, 0)]
    dealt = np.random.default_rng(5).permutation(labels)
    dealt[picked] = labels[picked]
    np.testing.assert_array_equal(draw(sheet, dealt, half, np.arange(60), 12, NAMES, seed=0)[scored], first[scored])


def test_labels_of_one_class_leave_the_run_as_it_is():
    sheet, _ = a_sheet(30)
    pool, scored = np.arange(15), np.arange(15, 30)
    found = predicted(sheet, pool, pool[:6], np.zeros(6, np.int64), scored, 0)
    assert found.tolist() == sheet.given[1.0][0][scored].argmax(1).tolist()


@pytest.mark.parametrize("sizes", [[1] * 10, [5, 1, 1, 1, 1, 1], [4, 4, 1, 1], [3, 3, 3], [7]])
def test_halves_are_as_equal_as_units_allow(sizes):
    units = np.repeat(np.arange(len(sizes)), sizes)
    half = halves(units, [0])
    assert all(len(set(half[units == unit])) == 1 for unit in range(len(sizes)))
    assert abs(int(half.sum()) - int((~half).sum())) <= max(sizes)


class Shown:
    """A run whose network is not asked: ``read`` is replaced."""

    class_names = NAMES


def offered(monkeypatch, cells, labels, counts=(4,), sheet=None):
    """Ask for an offer and record how the cells were cut."""
    cut = []
    monkeypatch.setattr(offers, "read", lambda run, some, show: sheet or a_sheet(len(some))[0])

    def drawn(sheet, truth, half, copies, count, names, seed):
        cut.append((half, copies, count))
        return truth

    monkeypatch.setattr(offers, "draw", drawn)
    return offers.offer(Shown(), cells, labels, counts=counts), cut


def noise(n, **more):
    return ImageSet(np.random.default_rng(1).integers(0, 256, (n, 24, 24, 3), dtype=np.uint8), **more)


def test_copies_and_groups_are_kept_apart(monkeypatch):
    images = noise(40).images.copy()
    images[1], images[3] = images[0], images[2][::-1]  # a copy, and one that is turned
    cells = ImageSet(images, groups=[f"slide {k // 4}" for k in range(40)])
    found, cut = offered(monkeypatch, cells, np.arange(40) % 3)
    for half, copies, _ in cut:
        assert copies[0] == copies[1] and copies[2] == copies[3] and len(set(copies)) == 38
        assert all(len(set(half[4 * k : 4 * k + 4])) == 1 for k in range(10))
    assert found.halves.shape == (2, 40) and found.after[4].shape == (2, 40) and not found.notes


def test_one_group_is_cut_with_a_note(monkeypatch):
    found, cut = offered(monkeypatch, noise(40, groups=["a"] * 40), np.arange(40) % 3)
    assert all(half.sum() == 20 for half, _, _ in cut) and "one group in both halves" in found.notes[0]


def test_too_few_cells_are_not_tried(monkeypatch):
    found, _ = offered(monkeypatch, noise(40), np.arange(40) % 3, counts=(10, 11))
    assert list(found.after) == [10]
    assert found.notes == (
        "11 labels were not tried: half of these cells are 20; expected 22 or more, to suggest 11 of.",
    )


def test_of_many_cells_some_are_used(monkeypatch):
    monkeypatch.setattr(offers, "MOST", 30)
    labels = np.arange(90) % 3
    found, _ = offered(monkeypatch, noise(90), labels)
    assert (
        len(found.rows) == 30 == len(set(found.rows)) and found.after[4].tolist() == [labels[found.rows].tolist()] * 2
    )


@pytest.mark.parametrize(("given", "expected"), [((50, 25, 25), (25, 50)), ((), ()), ([np.int64(30)], (30,))])
def test_counts_are_sorted(given, expected):
    assert check_counts(given) == expected


@pytest.mark.parametrize("bad", [2, 2.5, "25", True, None])
def test_counts_are_numbers(bad):
    with pytest.raises(OptionError, match="expected whole numbers of 4 or more"):
        check_counts((25, bad))
