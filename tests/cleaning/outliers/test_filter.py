"""OutlierFilter: non-cell images are removed, cells are kept, whatever the set."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from cellclf import DataError, ImageSet, OptionError, OutlierFilter, UnknownNameError, make_cells
from cellclf.cleaning.outliers.scoring import OutlierScorer

METHODS = ("forest", "mahalanobis", "neighbours")


@pytest.fixture(scope="module")
def dirty() -> ImageSet:
    return make_cells(300, size=48, seed=1, foreign=12)


def non_cell(cells: ImageSet) -> np.ndarray:
    return np.char.startswith(cells.ids, "foreign")


@pytest.mark.parametrize("method", METHODS)
def test_non_cell_images_are_removed_and_cells_kept(dirty: ImageSet, method: str) -> None:
    found = OutlierFilter(method=method).fit(dirty).find(dirty)
    assert found.keep[~non_cell(dirty)].all()
    missed = int(found.keep[non_cell(dirty)].sum())
    assert missed == 0 if method == "forest" else missed <= 1
    np.testing.assert_array_equal(found.keep, found.scores <= found.threshold)
    assert all(reason.startswith("outlier: ") for reason in found.reasons[~found.keep])
    assert list(found.apply(dirty).ids) == list(dirty.ids[found.keep])


@pytest.mark.parametrize("cells", [{"n": 100}, {"n": 200, "severity": 1.0}, {"n": 120, "slides": 3}, {"n": 25}])
def test_a_clean_set_loses_nothing(cells: dict[str, float]) -> None:
    found = OutlierFilter().find(make_cells(size=48, seed=2, **cells))
    assert found.removed == 0 and not found.notices


def test_fit_on_one_set_flags_another(dirty: ImageSet) -> None:
    clean = make_cells(200, size=48, seed=5)
    found = OutlierFilter().fit(clean).find(dirty)
    assert not found.keep[non_cell(dirty)].any()
    assert found.keep[~non_cell(dirty)].mean() > 0.99


def test_copies_cannot_pass_as_inliers() -> None:
    cells = make_cells(60, size=48, seed=3, foreign_copies=20)  # 180 of 240 images are two landscapes
    found = OutlierFilter().find(cells)
    np.testing.assert_array_equal(~found.keep, non_cell(cells))
    assert any("run Dedup first" in notice for notice in found.notices)
    assert any("more than usual" in notice for notice in found.notices)
    assert "note: " in found.summary()


def test_another_stain_in_numbers_is_kept_with_a_notice(dirty: ImageSet) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(12, 12))
    own = rng.normal(size=(900, 12)) @ mix
    external = rng.normal(size=(60, 12)) @ mix + 9 * mix[0]  # as varied, in another place
    strays = rng.normal(size=(30, 12)) * 25
    model = OutlierScorer().fit(np.concatenate([own, external, strays]))
    scores = model.score(np.concatenate([own, external, strays]))
    assert (scores[:960] <= 1).mean() > 0.99
    assert (scores[960:] > 1).all()


def test_the_scale_is_absolute_and_the_seed_decides(dirty: ImageSet) -> None:
    first, again = (OutlierFilter(seed=4).find(dirty) for _ in range(2))
    assert first == again
    assert (first.scores == again.scores).all()
    assert abs(float(np.median(first.scores))) < 0.1
    assert (OutlierFilter(seed=5).find(dirty).scores != first.scores).any()
    assert OutlierFilter(threshold=100).find(dirty).removed == 0
    assert OutlierFilter(threshold=0.01).find(dirty).removed > 50


def test_reasons_name_what_is_unusual() -> None:
    cells = make_cells(120, size=48, seed=6)
    black = np.concatenate([cells.images, np.zeros((1, 48, 48, 3), np.uint8)])
    grey = cells.images.copy()
    grey[7] = np.random.default_rng(0).integers(0, 256, grey[7].shape)
    found = OutlierFilter().find(ImageSet(black))
    assert list(np.flatnonzero(~found.keep)) == [120]
    assert "too many black pixels (1; 99 % lie in 0-" in found.reasons[120]
    found = OutlierFilter().find(ImageSet(grey))
    assert list(np.flatnonzero(~found.keep)) == [7]
    assert any(word in found.reasons[7] for word in ("detail", "sharp", "grain", "edges", "green", "colour"))


def test_embeddings_take_the_place_of_descriptors(dirty: ImageSet) -> None:
    seen = []

    def embed(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        small = images.reshape(len(images), 4, 12, 4, 12, 3).mean((2, 4))
        return small.reshape(len(images), -1)

    found = OutlierFilter(embed=embed, method="mahalanobis").find(dirty)
    assert seen[:2] == [256, 56]  # one pass, and the outliers once more under the usual white balance
    assert sum(seen[2:]) <= 24
    coarse = np.char.startswith(dirty.ids, "foreign-photo") | np.char.startswith(dirty.ids, "foreign-blank")
    assert not found.keep[coarse].any()  # what 4x4 means can see
    assert found.keep[~non_cell(dirty)].mean() > 0.98
    with pytest.raises(DataError, match=r"embed gave an array of shape \(256, 2, 2\).*pool"):
        OutlierFilter(embed=lambda images: np.zeros((len(images), 2, 2))).fit(dirty)


@pytest.mark.parametrize("method", METHODS)
def test_wide_embeddings_count_by_direction(method: str) -> None:
    rng = np.random.default_rng(0)
    usual, mix = rng.normal(size=300), 0.2 * rng.normal(size=(20, 300))
    # pooled features as ReLU leaves them; six of them answer weakly, and in another direction
    rows = np.maximum(usual + rng.normal(size=(600, 20)) @ mix + 0.3 * rng.normal(size=(600, 300)), 0)
    rows[:6] = 0.1 * np.maximum(rng.normal(size=(6, 300)), 0)
    model = OutlierScorer(method=method).fit(rows)
    scores = model.score(rows)
    assert (scores[:6] > model.threshold).all()
    assert (scores[6:] <= model.threshold).mean() >= 0.995
    np.testing.assert_allclose(model.score(rows[:9] * 7), scores[:9], atol=1e-9)


def test_wrong_use_is_refused_in_one_line(dirty: ImageSet) -> None:
    for wrong, error, words in (
        ({"method": "forrest"}, UnknownNameError, "did you mean 'forest'"),
        ({"threshold": 0}, OptionError, "threshold=0; expected a number above 0"),
        ({"threshold": float("nan")}, OptionError, "threshold=nan"),
    ):
        with pytest.raises(error, match=words) as raised:
            OutlierFilter(**wrong).fit(dirty)  # type: ignore[arg-type] # wrong on purpose
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="10 different images are too few to fit on; expected 20 or more"):
        OutlierFilter().fit(make_cells(10, size=32, seed=0))
    with pytest.raises(DataError, match="fitted on 48x48 images, these are 32x32"):
        OutlierFilter().fit(dirty).find(make_cells(30, size=32))
    with pytest.raises(DataError, match="other ids"):
        OutlierFilter().find(dirty).apply(dirty[1:])


def test_sklearn_pickle_json_and_plot(dirty: ImageSet) -> None:
    outliers = OutlierFilter(method="neighbours", seed=3)
    assert clone(outliers).get_params() == outliers.get_params()
    found = outliers.fit(dirty).find(dirty)
    for method in METHODS:
        fitted = OutlierFilter(method=method).fit(dirty)
        kept = pickle.loads(pickle.dumps(fitted)).find(dirty)
        np.testing.assert_array_equal(kept.scores, fitted.find(dirty).scores)
    plain = json.loads(json.dumps(found.to_dict()))
    assert len(plain["removed"]) == 12 and all(entry["score"] > plain["threshold"] for entry in plain["removed"])
    assert len(found.plot(limit=16).axes) == 16
    images, labels = OutlierFilter().fit_resample(dirty.images, dirty.labels)
    assert len(images) == len(labels) == 300


def test_an_unfitted_find_keeps_no_fit(dirty: ImageSet) -> None:
    outliers = OutlierFilter()
    outliers.find(dirty)
    assert outliers.find(make_cells(60, size=32, seed=1)).removed == 0  # another size: nothing was kept


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_real_cells_are_kept(real_data: Path, method: str) -> None:
    from cellclf import load

    cells = load(real_data / "data" / "acevedo96" / "train")
    cells = cells.subset(np.sort(np.random.default_rng(0).permutation(len(cells))[:2500]))
    rng = np.random.default_rng(1)
    photos = [load_png(path) for path in sorted((real_data / "data" / "contaminants").glob("*.png"))]
    planted = [np.roll(photo, int(rng.integers(96)), 1) for photo in photos for _ in range(5)]
    planted += [rng.integers(0, 256, (96, 96, 3)) for _ in range(10)]
    planted += [np.full((96, 96, 3), rng.integers(0, 256, 3)) for _ in range(10)]
    both = ImageSet(np.concatenate([cells.images, np.stack(planted).astype(np.uint8)]))
    found = OutlierFilter(method=method).find(both)
    assert found.keep[:2500].mean() >= 0.998
    assert (~found.keep[2500:]).mean() >= 0.95
    other = load(real_data / "data" / "bccd_crops")
    assert OutlierFilter(method=method).find(other).keep.mean() >= 0.995


def load_png(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))
