"""A rare class is no outlier, a narrow set loses nothing, and non-cell images are found all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cellclf import ImageSet, OutlierFilter, make_cells
from cellclf.cleaning.outliers.by_class import ClassScorer
from cellclf.cleaning.outliers.descriptors import NAMES, TOLERANCES

SIDE = 40


@pytest.fixture(scope="module")
def cells() -> ImageSet:
    return make_cells(1600, size=SIDE, seed=21)


def drawn(cells: ImageSet, counts: dict[str, int]) -> ImageSet:
    assert cells.labels is not None
    rows = [np.flatnonzero(cells.labels == cells.class_names.index(name))[:n] for name, n in counts.items()]
    return cells.subset(np.concatenate(rows))


COUNTS: list[dict[str, int]] = [
    {"neutrophil": 150, "platelet": 12},
    {"neutrophil": 150, "basophil": 5},
    {"lymphocyte": 100, "erythroblast": 3},
    {"eosinophil": 100, "platelet": 2},
    {"platelet": 100, "monocyte": 30},
    {"neutrophil": 160, "eosinophil": 60, "platelet": 20, "lymphocyte": 8, "basophil": 4},
    {"neutrophil": 150},
    {"platelet": 60},
    {"basophil": 25},
    {"monocyte": 40, "lymphocyte": 1},
]


@pytest.mark.parametrize("counts", COUNTS, ids=lambda counts: "+".join(map(str, counts.values())))
def test_no_class_loses_cells(cells: ImageSet, counts: dict[str, int]) -> None:
    some = drawn(cells, counts)
    found = OutlierFilter(seed=7).find(some)
    assert {loss.name: loss.removed for loss in found.losses or () if loss.removed} in ({}, {"lymphocyte": 1})
    assert found.removed <= (counts.get("lymphocyte") == 1), found.summary()


@pytest.mark.parametrize("under", ["neutrophil", "platelet"])
def test_non_cell_images_are_found_whatever_they_are_called(cells: ImageSet, under: str) -> None:
    some = drawn(cells, {"neutrophil": 150, "platelet": 14})
    dirty = make_cells(8, size=SIDE, seed=4, foreign=3)
    other = dirty.images[np.char.startswith(dirty.ids, "foreign")]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, SIDE, SIDE, 3))
    added = np.concatenate([other, noise, np.full((1, SIDE, SIDE, 3), 255)]).astype(np.uint8)
    assert some.labels is not None
    labels = np.concatenate([some.labels, np.full(len(added), some.class_names.index(under))])
    both = ImageSet(np.concatenate([some.images, added]), labels, class_names=some.class_names)
    found = OutlierFilter(seed=7, max_loss=None).find(both)
    assert found.keep[: len(some)].all()
    assert (~found.keep[len(some) :]).sum() >= len(added) - 1, found.scores[len(some) :]


def test_a_class_of_other_things_is_a_class(cells: ImageSet) -> None:
    some = drawn(cells, {"neutrophil": 150})
    ground = np.random.default_rng(1).normal(225, 2, (12, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    images = np.concatenate([some.images, ground])
    labelled = ImageSet(images, [0] * 150 + [1] * 12, class_names=["neutrophil", "empty field"])
    found = OutlierFilter(seed=7).fit(labelled)
    assert found.find(labelled).keep.all()
    # known from the fit, it is known in a set without labels too; without it, it is not
    assert found.find(ImageSet(images)).keep.all()
    assert not OutlierFilter(seed=7).find(ImageSet(images)).keep[150:].any()


@pytest.mark.parametrize("tint", [(1, 0, 0), (0, 0, 1), (1, 1, 1), (-1, 0, 0), (2, 0, -1)])
def test_what_nobody_can_see_is_no_outlier(tint: tuple[int, int, int]) -> None:
    one = make_cells(1, size=SIDE, seed=5).images[0].astype(int)
    rng = np.random.default_rng(0)
    images = np.stack([one] * 60) + rng.integers(0, 2, (60, 1, 1, 3))
    images[:, 0, 0] = np.arange(60)[:, None]  # no two are identical
    images[7] += tint
    found = OutlierFilter(seed=1).find(ImageSet(images.clip(0, 255).astype(np.uint8)))
    assert found.removed == 0, found.reasons[~found.keep]


@pytest.mark.parametrize("level", [0, 4, 5, 6, 128, 249, 250, 251, 255])
def test_flat_images_of_nearly_one_colour(level: int) -> None:
    images = np.full((40, SIDE, SIDE, 3), level, int)
    images[:, 0, :40] += np.eye(40, dtype=int)[..., None] * (3 if level < 128 else -3)
    images[11] += 1 if level < 255 else -1
    found = OutlierFilter(seed=1).find(ImageSet(images.clip(0, 255).astype(np.uint8)))
    assert found.removed == 0, found.reasons[~found.keep]


def test_but_another_image_among_nearly_identical_ones_is() -> None:
    one = make_cells(1, size=SIDE, seed=5).images[0].astype(int)
    images = np.stack([one] * 60)
    images[:, 0, 0] = np.arange(60)[:, None]
    images[30] = np.random.default_rng(0).integers(0, 256, images[30].shape)
    found = OutlierFilter(seed=1).find(ImageSet(images.clip(0, 255).astype(np.uint8)))
    assert np.flatnonzero(~found.keep).tolist() == [30]


def test_every_descriptor_has_a_tolerance() -> None:
    assert len(TOLERANCES) == len(NAMES) and min(TOLERANCES) > 0


def rows(seed: int, count: int, at: float = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(at, 1, (count, 10))


def test_scores_beside_the_class() -> None:
    table = np.concatenate([rows(0, 200), rows(1, 12, 30), rows(2, 1, 60)])
    labels = np.repeat([3, 5, 9], [200, 12, 1])
    model = ClassScorer().fit(table, labels)
    assert model.score(table[200:212], labels[200:212]).max() < 1
    assert model.score(table[200:212], np.full(12, -1)).max() < 1  # the class that it is most like
    assert np.isinf(model.score(table[212:], labels[212:])).all()  # the only one of its class
    assert np.isinf(model.score(table[:2], np.array([4, 4]))).all()  # an unknown class
    assert model.score(rows(3, 3, 15), np.array([5, 5, 5])).min() > 1
    assert len(model.score(table[:0], labels[:0])) == 0


def test_a_few_wrong_rows_do_not_pass_for_the_class() -> None:
    wrong = np.random.default_rng(5).normal(0, 40, (3, 10))
    table = np.concatenate([rows(0, 200), rows(1, 12, 30), wrong])
    labels = np.repeat([0, 1, 1], [200, 12, 3])
    scores = ClassScorer().fit(table, labels).score(table, labels)
    assert scores[200:212].max() < 1 < scores[212:].min()


@pytest.mark.slow
@pytest.mark.parametrize(
    "counts",
    [
        {"neutrophil": 200, "platelet": 12},
        {"neutrophil": 600, "platelet": 40},
        {"platelet": 600, "basophil": 40},
        {"lymphocyte": 500},
        {"basophil": 500},
        {"monocyte": 500},
        {"neutrophil": 1000, "immature_granulocyte": 500, "eosinophil": 250, "platelet": 120, "lymphocyte": 25},
    ],
    ids=lambda counts: "+".join(map(str, counts.values())),
)
def test_real_rare_classes(real_data: Path, counts: dict[str, int]) -> None:
    from cellclf import load

    train = real_data / "data" / "acevedo96" / "train"
    rng = np.random.default_rng(0)
    files = [
        str(file)
        for name, n in counts.items()
        for file in rng.choice(sorted((train / name).iterdir()), n, replace=False)
    ]
    some = load(files, [Path(file).parent.name for file in files])
    found = OutlierFilter(seed=7).find(some)
    for loss in found.losses or ():
        assert loss.removed <= max(1, 0.005 * loss.images) if loss.images >= 100 else not loss.removed, found.summary()
