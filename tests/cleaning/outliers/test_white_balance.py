"""A cell of another slide is a cell: white balance and exposure make no outlier, impossible colours do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cellclf import ImageSet, OutlierFilter, make_cells
from cellclf.cleaning.outliers.white_balance import balanced, join, light

SIDE = 40


@pytest.fixture(scope="module")
def cells() -> ImageSet:
    return make_cells(160, size=SIDE, seed=3)


def scaled(images: NDArray[np.uint8], factors: tuple[float, float, float]) -> NDArray[np.uint8]:
    return np.clip(np.rint(images * np.array(factors)), 0, 255).astype(np.uint8)


LAMPS: dict[str, tuple[float, float, float]] = {
    "warm": (1.0, 0.9, 0.65),
    "cold": (0.8, 0.95, 1.25),
    "dark": (0.55, 0.55, 0.55),
    "dim and warm": (0.7, 0.65, 0.5),
    "greenish": (0.75, 1.0, 0.8),
    "magenta": (1.0, 0.72, 1.0),
}


@pytest.mark.parametrize(("lamp", "count"), [(lamp, 3) for lamp in LAMPS] + [("cold", 1), ("dark", 12), ("warm", 40)])
def test_a_slide_under_another_lamp_is_kept_and_reported(cells: ImageSet, lamp: str, count: int) -> None:
    images = cells.images.copy()
    images[:count] = scaled(images[:count], LAMPS[lamp])
    found = OutlierFilter(seed=1).find(ImageSet(images, cells.labels, class_names=cells.class_names))
    assert found.removed == 0, found.summary()
    if (lamp, count) == ("dark", 3):
        assert " of 160 images differ from the rest in white balance or exposure only" in found.summary()


@pytest.mark.parametrize("method", ["mahalanobis", "neighbours"])
def test_by_distance_without_labels_and_fitted_on_another_set(cells: ImageSet, method: str) -> None:
    fitted = OutlierFilter(method=method, seed=1).fit(ImageSet(cells.images[:110]))
    other = cells.images[110:].copy()
    other[:5] = scaled(other[:5], LAMPS["dark"])
    other[5:10] = scaled(other[5:10], LAMPS["cold"])
    assert fitted.find(other).removed == 0


def test_non_cell_images_under_any_lamp_are_found(cells: ImageSet) -> None:
    images = cells.images.copy()
    ground = np.full((SIDE, SIDE, 3), np.median(light(images).ground, axis=0)).astype(np.uint8)
    rng = np.random.default_rng(0)
    images[0] = 255 - images[0]
    images[1] = scaled(ground, LAMPS["dark"])
    images[2] = scaled(rng.integers(0, 256, ground.shape).astype(np.uint8), LAMPS["warm"])
    page = ground.copy()
    page[4:-4:6, 3:-3:2] = (30, 20, 40)
    images[3] = scaled(page, LAMPS["cold"])
    found = OutlierFilter(seed=1).find(images)
    np.testing.assert_array_equal(np.flatnonzero(~found.keep), np.arange(4))


def test_what_dyes_absorb_does_not_depend_on_the_lamp(cells: ImageSet) -> None:
    some = cells.images[:30]
    usual = light(cells.images).usual()
    for factors in LAMPS.values():
        other = light(scaled(some, factors))
        assert ((other.dye * light(some).dye).sum(1) > np.cos(np.radians(10))).all()
        assert other.explains(usual).all()
        np.testing.assert_allclose(
            light(balanced(scaled(some, factors), usual)).ground, usual.ground + 0 * other.ground, atol=12
        )
    grey, swapped, turned = some.mean(3, keepdims=True).repeat(3, 3), some[..., [1, 0, 2]], some[..., [1, 2, 0]]
    for impossible in (grey, swapped, turned, 255 - some):
        assert light(impossible.astype(np.uint8)).explains(usual).mean() <= 0.1


def test_black_white_and_no_images() -> None:
    usual = light(make_cells(20, size=24).images).usual()
    for level in (0, 255):
        flat = np.full((2, 24, 24, 3), level, np.uint8)
        assert balanced(flat, usual).shape == flat.shape and np.isfinite(light(flat).dye).all()
    none = np.empty((0, 24, 24, 3), np.uint8)
    assert light(none).ground.shape == join([]).dye.shape == (0, 3) and balanced(none, usual).shape == none.shape


def test_real_cells_of_another_slide(real_data: Path) -> None:
    from cellclf import load

    classes = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil", "platelet")
    train = real_data / "data" / "acevedo96" / "train"
    files = [str(file) for name in classes for file in sorted((train / name).iterdir())[:70]]
    cells = load(files, [Path(file).parent.name for file in files], size=(64, 64))
    # five of the 420 were taken on another slide, on white ground instead of yellowish ground
    found = OutlierFilter(seed=7).find(cells)
    assert found.removed == 0, found.summary()
    assert any("differ from the rest in white balance" in notice for notice in found.notices)
