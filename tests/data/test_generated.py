"""Generated cells: the same bytes each time, the promised classes, and the truth of what was planted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import cellclf as cc
from cellclf.data.generated import planted
from cellclf.data.generated.non_cells import KINDS, draw_non_cell


@pytest.fixture(scope="module")
def planted_cells() -> cc.ImageSet:
    return cc.make_cells(
        60, size=48, seed=5, slides=4, duplicates=6, conflicts=4, near_duplicates=20, foreign=9, foreign_copies=3
    )


def image_of(cells: cc.ImageSet, name: str) -> NDArray[np.uint8]:
    return cells[int(np.flatnonzero(cells.ids == name)[0])]


def features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = images.reshape(len(images), -1, 3)[:, ::3].astype(float)
    levels = np.quantile(pixels, [0.02, 0.1, 0.25, 0.5, 0.75], axis=1).transpose(1, 0, 2).reshape(len(images), -1)
    grain = np.abs(np.diff(images.astype(float), axis=2)).mean((1, 2))
    return np.concatenate([levels, pixels.std(1), grain], 1)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    options = {"size": 32, "duplicates": 2, "near_duplicates": 3, "foreign": 4, "foreign_copies": 1}
    first, again = cc.make_cells(20, seed=3, **options), cc.make_cells(20, seed=3, **options)
    assert first.fingerprint() == again.fingerprint()
    other = cc.make_cells(20, seed=4, **options)
    assert not (first.images[:20] == other.images[:20]).all((1, 2, 3)).any()


@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 12),
    more=st.integers(0, 6),
    size=st.integers(16, 80),
    slides=st.one_of(st.none(), st.integers(1, 5)),
)
def test_a_shorter_set_is_the_beginning_of_a_longer_one(n: int, more: int, size: int, slides: int | None) -> None:
    short, long = (cc.make_cells(k, size=size, slides=slides, seed=9) for k in (n, n + more))
    assert short.image_shape == (size, size, 3)
    assert np.array_equal(short.images, long.images[:n])
    assert np.array_equal(short.labels, long.labels[:n])
    assert np.array_equal(short.ids, long.ids[:n])


def test_planting_changes_none_of_the_cells(planted_cells: cc.ImageSet) -> None:
    plain = cc.make_cells(60, size=48, seed=5, slides=4)
    assert np.array_equal(plain.images, planted_cells.images[:60])
    assert np.array_equal(plain.labels, planted_cells.labels[:60])


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_are_as_imbalanced_as_the_real_set(seed: int) -> None:
    cells = cc.make_cells(300, size=16, seed=seed)
    real = np.array([852, 2181, 1085, 2026, 849, 993, 2330, 1643]) * 300 / 11959
    assert list(cells.counts()) == list(cells.class_names)
    assert np.abs(np.array(list(cells.counts().values())) - real).max() <= 3
    even = cc.make_cells(80, size=16, seed=seed, balance="even").counts().values()
    assert max(even) - min(even) <= 3


def test_truth_counts_what_was_asked_for(planted_cells: cc.ImageSet) -> None:
    counts = planted(planted_cells).counts()
    assert len(planted_cells) == 60 + 6 + 4 + 20 + 9 + 3 * 9
    assert counts["cell"] == 60
    assert counts["copy"] == 6
    assert counts["relabelled"] == 4
    assert counts["foreign"] == 9 + 3 * 9
    assert sum(counts.values()) == len(planted_cells)
    assert sum(counts.get(k, 0) for k in ("jpeg", "turn90", "flip", "flip270", "darker")) == 10


def test_identical_images_are_exactly_those_that_the_truth_names(planted_cells: cc.ImageSet) -> None:
    seen: dict[bytes, str] = {}
    found = set()
    for name, image in zip(planted_cells.ids.tolist(), planted_cells.images, strict=True):
        first = seen.setdefault(image.tobytes(), name)
        if first != name:
            found.add((first, name))
    assert found == set(planted(planted_cells).pairs("copy", "relabelled", "foreign"))


def test_labels_of_copies_agree_or_conflict_as_planted(planted_cells: cc.ImageSet) -> None:
    assert planted_cells.labels is not None
    label = dict(zip(planted_cells.ids.tolist(), planted_cells.labels.tolist(), strict=True))
    truth = planted(planted_cells)
    for source, name in truth.pairs():
        if not source.startswith("foreign-everywhere"):
            assert (label[source] == label[name]) is (not name.endswith(":relabelled"))
    everywhere = [label[name] for name in label if name.startswith("foreign-everywhere")]
    assert everywhere == sorted(list(range(8)) * 3)
    crowd = {planted_cells.class_names[label[name]] for name in label if name.startswith("foreign-crowd")}
    assert crowd == {"monocyte"}


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("turn90", lambda image: np.rot90(image, -1)),
        ("turn180", lambda image: np.rot90(image, 2)),
        ("turn270", lambda image: np.rot90(image, 1)),
        ("flip", lambda image: image[:, ::-1]),
        ("flip90", lambda image: np.rot90(image, -1)[:, ::-1]),
        ("flip180", lambda image: image[::-1]),
        ("flip270", lambda image: np.rot90(image, 1)[:, ::-1]),
    ],
)
def test_turned_copies_turn_back_into_their_source(
    planted_cells: cc.ImageSet, change: str, undo: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    pairs = planted(planted_cells).pairs(change)
    assert len(pairs) == 2
    for source, name in pairs:
        assert np.array_equal(undo(image_of(planted_cells, name)), image_of(planted_cells, source))


def test_encoded_and_lit_copies_stay_close_to_their_source(planted_cells: cc.ImageSet) -> None:
    truth = planted(planted_cells)
    for change, direction in (("jpeg", 0), ("brighter", 1), ("darker", -1)):
        for source, name in truth.pairs(change):
            before, after = (image_of(planted_cells, k).astype(float) for k in (source, name))
            assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.93
            assert np.sign(round(after.mean() - before.mean())) == direction


def test_copies_lie_on_the_slide_of_their_source(planted_cells: cc.ImageSet) -> None:
    assert planted_cells.groups is not None
    group = dict(zip(planted_cells.ids.tolist(), planted_cells.groups.tolist(), strict=True))
    assert set(group.values()) == {"slide-000", "slide-001", "slide-002", "slide-003"}
    cells = [(a, b) for a, b in planted(planted_cells).pairs() if a.startswith("cell-")]
    assert all(group[a] == group[b] for a, b in cells)
    assert cc.make_cells(2, size=16).groups is None


def test_cells_of_one_slide_look_more_alike_than_those_of_two() -> None:
    cells = cc.make_cells(120, size=24, slides=6)
    assert cells.groups is not None
    paper = np.quantile(cells.images.reshape(120, -1, 3), 0.9, axis=1)
    within = np.mean([paper[cells.groups == g].std(0) for g in np.unique(cells.groups)])
    assert within < 0.7 * paper.std(0).mean()


def test_truth_survives_a_subset_and_refuses_other_sets(planted_cells: cc.ImageSet) -> None:
    part = planted(planted_cells.subset(np.arange(60, 70)))
    assert part.counts() == {"copy": 6, "relabelled": 4}
    with pytest.raises(cc.DataError, match="'0' is not one of a generated set"):
        planted(cc.ImageSet(np.zeros((1, 16, 16, 3), np.uint8)))


def test_severity_shows_the_same_cells_in_another_colour_and_focus() -> None:
    sets = [cc.make_cells(64, size=48, severity=severity) for severity in (0.0, 0.5, 1.0)]
    assert all(np.array_equal(sets[0].labels, other.labels) for other in sets)
    colour = np.array([cells.images.mean((0, 1, 2)) for cells in sets])
    assert (np.diff(colour[:, 0]) < -8).all()  # less red light comes through at each step
    contrast = [cells.images.astype(float).std((1, 2)).mean() for cells in sets]
    assert contrast[0] > contrast[1] > contrast[2]


def test_classes_can_be_learned_but_not_from_the_mean_colour_alone() -> None:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import balanced_accuracy_score

    cells = cc.make_cells(480, size=48, seed=2)
    assert cells.labels is not None
    train, test = np.arange(480) < 320, np.arange(480) >= 320
    scores = []
    for x in (cells.images.mean((1, 2)), features(cells.images)):
        forest = ExtraTreesClassifier(60, random_state=0).fit(x[train], cells.labels[train])
        scores.append(balanced_accuracy_score(cells.labels[test], forest.predict(x[test])))
    assert 0.3 < scores[0] < 0.75
    assert 0.7 < scores[1] < 0.97


def test_a_platelet_has_no_nucleus_and_a_lymphocyte_is_mostly_nucleus() -> None:
    cells = cc.make_cells(160, size=48, balance="even")
    dark = (cells.images.mean(-1) < 110).mean((1, 2))
    share = {name: dark[cells.labels == k].mean() for k, name in enumerate(cells.class_names)}
    assert share["platelet"] < 0.06 < share["erythroblast"] < share["lymphocyte"] < share["immature_granulocyte"]
    eosinophils = cells.images[cells.labels == cells.class_names.index("eosinophil")]
    neutrophils = cells.images[cells.labels == cells.class_names.index("neutrophil")]
    warm = [np.median(x[:, 12:36, 12:36, 0].astype(float) - x[:, 12:36, 12:36, 1]) for x in (eosinophils, neutrophils)]
    assert warm[0] > warm[1] + 8


@pytest.mark.parametrize("kind", KINDS)
def test_non_cell_images_differ_from_each_other(kind: str) -> None:
    one, two = (draw_non_cell(kind, 40, np.random.default_rng(k)) for k in (1, 2))
    assert one.shape == (40, 40, 3)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0; expected a whole number, 1 or more"),
        ({"n": 2.5}, "n is 2.5; expected a whole number"),
        ({"size": 8}, "size is 8; expected a whole number, 16 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"slides": 0}, "slides is 0; expected a whole number, 1 or more"),
        ({"foreign": -1}, "foreign is -1"),
        ({"severity": 1.5}, r"severity is 1.5; expected 0 \(the same laboratory\) to 1"),
        ({"n": 3, "duplicates": 2, "near_duplicates": 2}, "add up to 4, but there are only 3 cells"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(cc.OptionError, match=message):
        cc.make_cells(**options)


def test_a_wrong_balance_names_the_nearest_one() -> None:
    with pytest.raises(cc.UnknownNameError, match="did you mean 'even'"):
        cc.make_cells(1, balance="evan")
