"""Crowds of copies: of a class that was evened out one of each is kept, a placeholder is removed whole."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.smooth import brighter, jpeg
from numpy.typing import NDArray

from cellclf import DataError, Dedup, ImageSet, make_cells
from cellclf.cleaning.dedup.hashes import turned_image

SIDE = 40


@pytest.fixture(scope="module")
def cells() -> ImageSet:
    return make_cells(160, size=SIDE, seed=3)


def with_crowds(cells: ImageSet, crowds: list[NDArray[np.uint8]], under: str) -> ImageSet:
    assert cells.labels is not None
    label = cells.class_names.index(under)
    images = np.concatenate([cells.images, *crowds])
    labels = np.concatenate([cells.labels, np.full(len(images) - len(cells), label)])
    return ImageSet(images, labels, class_names=cells.class_names)


def of_class(cells: ImageSet, name: str, count: int) -> NDArray[np.intp]:
    assert cells.labels is not None
    return np.flatnonzero(cells.labels == cells.class_names.index(name))[:count]


@pytest.mark.parametrize(("times", "few"), [(11, 6), (16, 1), (16, 3), (40, 2), (200, 1)])
@pytest.mark.parametrize("name", ["basophil", "platelet"])
def test_one_of_each_is_kept_of_a_class_that_was_evened_out(cells: ImageSet, name: str, times: int, few: int) -> None:
    assert cells.labels is not None
    rare = of_class(cells, name, few)
    others = np.flatnonzero(cells.labels != cells.labels[rare[0]])
    rows = np.concatenate([others, np.repeat(rare, times)])
    even = ImageSet(cells.images[rows], cells.labels[rows], class_names=cells.class_names)
    found = Dedup().find(even)
    if not found.keep[len(others) :].any():  # a single image with which no other of its class can be compared
        assert few == 1 and f"class {name} loses {times} of {times} images" in found.summary()
        with pytest.raises(DataError, match=f"class {name} loses"):
            found.apply(even)
        return
    assert found.apply(even).counts()[name] == few
    assert {group.decision for group in found.groups} == {"one kept"}
    assert f"class {name} loses {few * times - few} of {few * times} images: copies" in found.summary()


def test_copies_of_any_kind_are_one_image(cells: ImageSet) -> None:
    some = cells.images[of_class(cells, "basophil", 3)]
    crowds = [
        np.stack([brighter(jpeg(turned_image(one, k % 8), 80), 0.95 + 0.01 * k) for k in range(14)]) for one in some
    ]
    both = with_crowds(cells, crowds, "basophil")
    found = Dedup(similarity=0.97).find(both)
    assert found.apply(both).counts()["basophil"] == cells.counts()["basophil"]


def foreign(kind: str) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    made = {
        "white": np.full((SIDE, SIDE, 3), 255),
        "black": np.zeros((SIDE, SIDE, 3)),
        "noise": rng.integers(0, 256, (SIDE, SIDE, 3)),
        "stripes": np.broadcast_to(np.arange(SIDE)[:, None, None] // 3 % 2 * 255, (SIDE, SIDE, 3)),
        "blue": np.broadcast_to([20, 60, 220], (SIDE, SIDE, 3)),
    }
    if kind in made:
        return np.asarray(made[kind], np.uint8)
    dirty = make_cells(4, size=SIDE, seed=9, foreign_copies=12)
    return dirty.images[np.char.startswith(dirty.ids, "foreign-crowd")][0]


@pytest.mark.parametrize("kind", ["white", "black", "noise", "stripes", "blue", "planted"])
@pytest.mark.parametrize("under", ["neutrophil", "platelet"])
def test_a_placeholder_under_one_label_is_removed_whole(cells: ImageSet, kind: str, under: str) -> None:
    both = with_crowds(cells, [np.stack([foreign(kind)] * 14)], under)
    found = Dedup().find(both)
    assert not found.keep[len(cells) :].any()
    assert found.reasons[-1].startswith("too many copies: one of 14, more than max_copies=10, and unlike other images")
    assert found.apply(both).counts() == cells.counts()  # one image of the class, however often it was copied


def test_a_class_of_nothing_but_copies_of_one_image_is_not_eaten(cells: ImageSet) -> None:
    images = np.concatenate([cells.images, np.full((30, SIDE, SIDE, 3), 255, np.uint8)])
    both = ImageSet(images, [0] * len(cells) + [1] * 30, class_names=["cell", "blank"])
    found = Dedup().find(both)
    assert not found.keep[len(cells) :].any()
    assert "class blank loses 30 of 30 images" in found.summary()
    with pytest.raises(DataError, match="class blank loses 30 of 30 images"):
        found.apply(both)
    # among other blank fields it is one of them
    fields = np.random.default_rng(1).normal(235, 3, (8, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    images = np.concatenate([cells.images, fields, np.repeat(fields[:2], 20, 0)])
    both = ImageSet(images, [0] * len(cells) + [1] * 48, class_names=["cell", "blank"])
    assert Dedup().apply(both).counts() == {"cell": len(cells), "blank": 8}


def test_without_labels_a_crowd_is_removed_as_before(cells: ImageSet) -> None:
    images = np.concatenate([cells.images, np.repeat(cells.images[:1], 12, 0)])
    found = Dedup().find(ImageSet(images))
    assert np.flatnonzero(~found.keep).tolist() == [0, *range(len(cells), len(images))]
    assert found.reasons[0] == "too many copies: one of 13, more than max_copies=10"
