from __future__ import annotations

import colorsys
import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageEnhance

import cellclf as cc
from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.evaluation.robustness import shapes
from cellclf.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt, list_corruptions

NAMES = tuple(CORRUPTIONS)
names, severities = st.sampled_from(NAMES), st.sampled_from(SEVERITIES)
batch = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 3), st.integers(12, 40), st.integers(12, 40), st.just(3)),
    elements=st.integers(0, 255),
)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Cells of 96 pixels, as smooth as real ones."""
    return cc.make_cells(16, size=96, seed=3).images


def test_the_list_is_the_papers() -> None:
    assert " ".join(c.name for c in list_corruptions()) == (
        "pixelate jpeg_compression defocus_blur motion_blur brightness_up brightness_down contrast_up contrast_down "
        "saturate stain_deposit bubble"
    )
    assert all(len(c.values) == 5 for c in list_corruptions())


@given(batch, names, severities, st.integers(0, 2**31))
def test_shape_type_and_the_input_stay(images: np.ndarray, name: str, severity: int, seed: int) -> None:
    before = images.copy()
    images.flags.writeable = False
    found = corrupt(images, name, severity, seed=seed)
    assert found.shape == images.shape and found.dtype == np.uint8
    assert not np.shares_memory(found, images)
    np.testing.assert_array_equal(images, before)


@given(names, severities, st.permutations(range(6)), st.integers(1, 5))
def test_an_image_is_corrupted_alike_in_any_company(name: str, severity: int, order: list[int], cut: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 20, 24, 3), np.uint8)
    ids = np.array([f"cell {k}" for k in range(6)])
    whole = corrupt(images, name, severity, ids=ids, seed=5)
    parts = [corrupt(images[rows], name, severity, ids=ids[rows], seed=5) for rows in (order[:cut], order[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole[order])


@given(batch, names)
def test_severity_0_is_the_image(images: np.ndarray, name: str) -> None:
    np.testing.assert_array_equal(corrupt(images, name, 0), images)


@pytest.mark.parametrize("name", ("motion_blur", "stain_deposit", "bubble"))
def test_ids_and_seeds_choose_what_is_drawn(name: str, cells: np.ndarray) -> None:
    same = np.repeat(cells[:1], 2, axis=0)
    first = corrupt(same, name, 5, ids=["a", "b"])
    assert (first[0] != first[1]).any()
    assert (corrupt(same, name, 5, ids=["a", "b"], seed=1) != first).any()
    np.testing.assert_array_equal(corrupt(same, name, 5, ids=["b", "a"])[::-1], first)


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_is_more_harm_on_average(name: str, cells: np.ndarray) -> None:
    harm = [np.abs(corrupt(cells, name, s).astype(float) - cells).mean() for s in (0, *SEVERITIES)]
    assert harm[0] == 0 and all(a < b or (name == "stain_deposit" and a == b) for a, b in pairwise(harm))


def test_pixelate_by_halves_is_the_mean_of_four(cells: np.ndarray) -> None:
    found = corrupt(cells, "pixelate", 2)
    blocks = cells.reshape(len(cells), 48, 2, 48, 2, 3).mean((2, 4))
    np.testing.assert_allclose(found[:, ::2, ::2], blocks, atol=1)
    np.testing.assert_array_equal(found, found[:, ::2, ::2].repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(("severity", "quality"), [*enumerate((50, 30, 15, 10, 7), 1)])
def test_jpeg_is_pillows(severity: int, quality: int, cells: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(cells[0]).save(file, "JPEG", quality=quality)
    np.testing.assert_array_equal(corrupt(cells[:1], "jpeg_compression", severity)[0], np.asarray(Image.open(file)))


@given(batch, st.sampled_from(("brightness_up", "brightness_down", "contrast_up", "contrast_down")), severities)
def test_light_and_contrast_are_pillows(images: np.ndarray, name: str, severity: int) -> None:
    enhance = ImageEnhance.Brightness if name.startswith("brightness") else ImageEnhance.Contrast
    factor = CORRUPTIONS[name].values[severity - 1]
    expected = [np.asarray(enhance(Image.fromarray(image)).enhance(factor)) for image in images]
    np.testing.assert_array_equal(corrupt(images, name, severity), expected)


@given(st.tuples(*[st.integers(0, 255)] * 3), severities)
def test_saturate_adds_to_s_of_hsv(pixel: tuple[int, int, int], severity: int) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(v / 255 for v in pixel))
    more = CORRUPTIONS["saturate"].values[severity - 1]
    expected = np.array(colorsys.hsv_to_rgb(hue, min(1, saturation + more), value)) * 255
    found = corrupt(np.full((1, 1, 1, 3), pixel, np.uint8), "saturate", severity)[0, 0, 0]
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_kernels_at_224_are_the_papers() -> None:
    disc = shapes.disc(2, 0.01)
    assert disc.shape == (7, 7) and np.count_nonzero(disc) == 13 and np.ptp(disc[disc > 0]) < 1e-12
    np.testing.assert_array_equal(shapes.reduced(disc, 1.0), disc)
    trail = shapes.trail(3, 3.0, 0.0)
    weights = np.exp(-(np.arange(7) ** 2) / 18)
    np.testing.assert_allclose(trail[6, 6:], weights / weights.sum())
    assert np.count_nonzero(trail) == 7
    steep = shapes.trail(10, 5.0, 45.0)
    rows, columns = np.nonzero(steep)
    np.testing.assert_array_equal(rows, columns)


@given(st.floats(0.05, 3), st.integers(1, 6), st.floats(-45, 45))
def test_a_reduced_kernel_keeps_its_sum_and_its_middle(scale: float, radius: int, degrees: float) -> None:
    for kernel in (shapes.disc(radius, 0.1), shapes.trail(radius, 3.0, degrees)):
        small = shapes.reduced(kernel, scale)
        assert small.shape[0] == small.shape[1] and small.shape[0] % 2 == 1 and (small >= 0).all()
        assert small.sum() == pytest.approx(1)
        place, old = (np.arange(len(k)) - len(k) // 2 for k in (small, kernel))
        assert small.sum(0) @ place == pytest.approx(scale * (kernel.sum(0) @ old), abs=0.5)
        np.testing.assert_allclose(shapes.reduced(kernel[::-1, ::-1], scale), small[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("name", ("defocus_blur", "motion_blur"))
def test_blur_leaves_an_even_image_and_is_the_sum_over_the_kernel(name: str) -> None:
    even = np.full((2, 32, 32, 3), 77, np.uint8)
    np.testing.assert_array_equal(corrupt(even, name, 5), even)
    point = np.zeros((1, 224, 224, 3), np.uint8)
    point[0, 112, 112] = 255
    found = corrupt(point, name, 5)[0].astype(float) / 255
    assert found.sum((0, 1)) == pytest.approx(1, abs=0.2)  # of many small numbers, each rounded
    rows, columns = np.nonzero(found[..., 0])
    reach = 6 if name == "defocus_blur" else 20
    assert np.hypot(rows - 112, columns - 112).max() <= reach + 1
    if name == "defocus_blur":
        assert len(rows) == 113 and np.ptp(found[rows, columns]) == 0
    else:
        assert columns.max() == 112 and columns.min() < 112, "a trail goes one way"


def test_deposits_are_black_and_as_many_and_as_large_as_said() -> None:
    from scipy.ndimage import label

    white = np.full((200, 224, 224, 3), 255, np.uint8)
    one = corrupt(white, "stain_deposit", 1)[..., 0]
    assert set(np.unique(one)) == {0, 255}
    areas = (one == 0).sum((1, 2)) / 24**2
    assert areas.min() > 0.45 and areas.max() < 0.85 and 0.57 < areas.mean() < 0.69, "the package's stencils: 0.63"
    rows, columns = np.nonzero((one == 0).any(0))
    assert min(rows.min(), columns.min()) >= 10 and max(rows.max(), columns.max()) <= 214
    assert {label(pixels == 0)[1] for pixels in corrupt(white, "stain_deposit", 4)[..., 0]} <= {1, 2, 3}
    assert (corrupt(white, "stain_deposit", 5) == 0).sum() > 1.3 * (corrupt(white, "stain_deposit", 4) == 0).sum()


def test_bubbles_are_pale_discs_with_a_rim() -> None:
    black = np.zeros((50, 224, 224, 3), np.uint8)
    found = corrupt(black, "bubble", 5)
    assert set(np.unique(found)) == {0, 100, 130}
    share = (found[..., 0] > 0).mean((1, 2))
    assert share.min() > 0 and share.max() < 12 * np.pi * 17.5**2 / 224**2
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    np.testing.assert_array_equal(corrupt(white, "bubble", 5), white)


def test_marks_keep_their_share_of_a_smaller_image() -> None:
    def share(side: int, name: str) -> float:
        return 1 - corrupt(np.full((40, side, side, 3), 255, np.uint8), name, 5).mean() / 255

    assert share(96, "stain_deposit") == pytest.approx(share(224, "stain_deposit"), rel=0.02)
    wide = corrupt(np.zeros((1, 20, 60, 3), np.uint8), "bubble", 5)
    assert wide.shape == (1, 20, 60, 3) and wide.any()


def test_no_images_are_no_trouble() -> None:
    assert corrupt(np.empty((0, 8, 8, 3), np.uint8), "bubble", 3).shape == (0, 8, 8, 3)


def test_what_cannot_be_is_said() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(UnknownNameError, match="no corruption 'defocus'; did you mean 'defocus_blur'"):
        corrupt(images, "defocus", 1)
    for severity in (6, -1, 1.5, True):
        with pytest.raises(OptionError, match="expected a whole number from 1 to 5"):
            corrupt(images, "bubble", severity)
    with pytest.raises(DataError, match="expected uint8"):
        corrupt(images / 255, "bubble", 1)
    with pytest.raises(DataError, match="2 images came with 1 ids"):
        corrupt(images, "bubble", 1, ids=["a"])
