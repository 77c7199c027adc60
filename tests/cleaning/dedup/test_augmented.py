"""Augmented copies are found, whatever was done to them within the limits, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.smooth import jpeg, smooth
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from cellclf.cleaning.dedup.augmented import AugmentedPairs, augmented_pairs
from cellclf.cleaning.dedup.hashes import TURNS, turned_image
from cellclf.data.generated import make_cells
from cellclf.data.image_set import ImageSet

CELLS = 96


@pytest.fixture(scope="module")
def cells() -> NDArray[np.uint8]:
    return make_cells(CELLS, size=96, seed=8).images


def turned(image: Image.Image, degrees: float, fill: object = (235, 220, 215)) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill)


def window(image: Image.Image, left: float, top: float, side: float) -> Image.Image:
    """Cut out a square, in shares of the side, and enlarge it; what lies outside is black."""
    size = image.width
    data = (side, 0, left * size, 0, side, top * size)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)


def mirrored_border(image: Image.Image, left: int, top: int) -> Image.Image:
    pixels = np.pad(np.asarray(image), ((12, 12), (12, 12), (0, 0)), mode="reflect")
    size = image.width
    return Image.fromarray(pixels[12 + top : 12 + top + size, 12 + left : 12 + left + size])


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "20 degrees left": lambda image: turned(image, 20),
    "20 degrees right": lambda image: turned(image, -20),
    "20 degrees, black corners": lambda image: turned(image, 20, (0, 0, 0)),
    "20 degrees, white corners, mirrored": lambda image: turned(image.transpose(Image.FLIP_LEFT_RIGHT), 20, "white"),
    "shifted, constant border": lambda image: window(image, 0.06, -0.06, 1),
    "shifted, mirrored border": lambda image: mirrored_border(image, -6, 6),
    "zoomed out": lambda image: window(image, -0.09, -0.09, 1 / 0.85),
    "zoomed in": lambda image: window(image, 0.076, 0.076, 1 / 1.18),
    "cropped at a corner": lambda image: window(image, 0, 0, np.sqrt(0.8)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "JPEG 50": lambda image: Image.fromarray(jpeg(np.asarray(image), 50)),
    "quarter turn": lambda image: image.transpose(Image.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.FLIP_TOP_BOTTOM),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "blurred": lambda image: image.resize((56, 56), Image.Resampling.BILINEAR).resize(image.size),
}


def changed(images: NDArray[np.uint8], change: Callable[[Image.Image], Image.Image]) -> ImageSet:
    return ImageSet(np.stack([np.asarray(change(Image.fromarray(one))) for one in images]))


def pairs_of(found: AugmentedPairs) -> set[tuple[int, int]]:
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_alone_is_found_across_two_sets_and_nothing_else(name: str, cells: NDArray[np.uint8]) -> None:
    found = augmented_pairs(ImageSet(cells), changed(cells, CHANGES[name]))
    right = {(k, k) for k in range(CELLS)}
    assert len(pairs_of(found) & right) >= 0.95 * CELLS
    assert pairs_of(found) <= right


def together(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = Image.fromarray(turned_image(np.asarray(image), int(rng.integers(8))))
    image = turned(image, rng.uniform(-20, 20), tuple(rng.integers(0, 256, 3).tolist()))
    image = mirrored_border(image, *rng.integers(-6, 7, 2).tolist())
    zoom = rng.uniform(0.85, 1.18)
    image = window(image, (1 - 1 / zoom) / 2, (1 - 1 / zoom) / 2, 1 / zoom)
    side = np.sqrt(rng.uniform(0.8, 1))
    image = window(image, *(rng.uniform(0, 1 - side, 2)), side)
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.4))
    return Image.fromarray(jpeg(np.asarray(image), int(rng.integers(50, 96))))


def test_all_changes_drawn_together_are_found_within_one_set(cells: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(1)
    copies = changed(cells, lambda image: together(image, rng)).images
    found = augmented_pairs(ImageSet(np.concatenate([cells, copies])))
    right = {(k, CELLS + k) for k in range(CELLS)}
    assert len(pairs_of(found) & right) >= 0.93 * CELLS
    assert len(pairs_of(found) - right) <= 1
    assert np.all(found.first < found.second) and len(pairs_of(found)) == len(found)


def test_different_cells_are_no_copies(cells: NDArray[np.uint8]) -> None:
    assert len(augmented_pairs(ImageSet(cells))) == 0
    assert len(augmented_pairs(ImageSet(cells[:48]), ImageSet(cells[48:]))) == 0


@pytest.mark.parametrize("turn", range(1, 8))
def test_the_change_is_named(turn: int, cells: NDArray[np.uint8]) -> None:
    names = {
        "mirrored": "mirrored",
        "upside down": "mirrored, turned 180 degrees",
        "turned 180°": "turned 180 degrees",
        "transposed": "mirrored, turned 90 degrees left",
        "turned 90° left": "turned 90 degrees left",
        "turned 90° right": "turned 90 degrees right",
        "transposed, turned 180°": "mirrored, turned 90 degrees right",
    }
    found = augmented_pairs(ImageSet(cells[:4]), ImageSet(np.stack([turned_image(cells[2], turn)])))
    assert pairs_of(found) == {(2, 0)} and found.changes() == [names[TURNS[turn]]]


def test_turn_zoom_shift_and_brightness_are_measured(cells: NDArray[np.uint8]) -> None:
    image = Image.fromarray(cells[3])
    made = {
        "turned 12 degrees left": turned(image, 12),
        "turned 20 degrees right": turned(image, -20),
        "zoomed 1.15": window(image, 0.0652, 0.0652, 1 / 1.15),
        "shifted 5 % right and 3 % up": window(image, -0.05, 0.03, 1),
        "brightness 0.80": ImageEnhance.Brightness(image).enhance(0.8),
    }
    found = augmented_pairs(ImageSet(cells[3:4]), ImageSet(np.stack([np.asarray(one) for one in made.values()])))
    assert found.second.tolist() == list(range(len(made)))
    assert found.changes() == list(made)


def test_the_order_of_the_images_does_not_matter(cells: NDArray[np.uint8]) -> None:
    copies = changed(cells[:30], CHANGES["20 degrees left"]).images
    images = np.concatenate([cells, copies])
    expected = {frozenset((k, CELLS + k)) for k in range(30)}
    order = np.random.default_rng(0).permutation(len(images))
    found = augmented_pairs(ImageSet(images[order]))
    assert {frozenset((int(order[a]), int(order[b]))) for a, b in pairs_of(found)} == expected
    one, two = augmented_pairs(ImageSet(images), n_jobs=1), augmented_pairs(ImageSet(images), n_jobs=2)
    assert pairs_of(one) == pairs_of(two) and np.array_equal(one.similarity, two.similarity)


def test_colour_takes_part() -> None:
    flat = np.zeros((2, 48, 48, 3), np.uint8)
    flat[0], flat[1] = 255, (0, 0, 254)
    assert len(augmented_pairs(ImageSet(flat))) == 0
    down, right = np.mgrid[:48, :48]
    disc = (down - 24) ** 2 + (right - 20) ** 2 < 150
    discs = np.full((4, 48, 48, 3), 230, np.uint8)
    for one, colour in zip(discs, ((200, 40, 40), (40, 40, 200), (60, 110, 60), (120, 60, 160)), strict=True):
        one[disc] = colour
    assert len(augmented_pairs(ImageSet(discs))) == 0
    shapes = make_cells(3, size=48, seed=4).images
    for image in shapes:
        channels = np.stack([image * np.array(mask, np.uint8) for mask in ((1, 0, 0), (0, 1, 0), (0, 0, 1))])
        assert len(augmented_pairs(ImageSet(channels))) == 0
        assert len(augmented_pairs(ImageSet(np.stack([image, image[..., ::-1]])))) == 0  # BGR


def test_images_that_show_next_to_nothing_have_no_copies() -> None:
    rng = np.random.default_rng(0)
    black, white = np.zeros((1, 64, 64, 3)), np.full((1, 64, 64, 3), 255.0)
    grey = np.full((6, 64, 64, 3), 128) + rng.normal(0, 2, (6, 64, 64, 3))
    ramp = np.broadcast_to(np.linspace(100, 200, 64)[:, None, None], (1, 64, 64, 3))
    steep = np.broadcast_to(np.linspace(60, 240, 64)[None, :, None], (1, 64, 64, 3))
    noise = rng.integers(0, 256, (4, 64, 64, 3)).astype(float)
    images = np.concatenate([black, white, black, white, grey, ramp, steep, noise]).round().clip(0, 255)
    assert len(augmented_pairs(ImageSet(images.astype(np.uint8)))) == 0


def test_bright_cells_on_a_black_ground_and_images_that_are_no_cells(cells: NDArray[np.uint8]) -> None:
    inverted = 255 - cells
    rng = np.random.default_rng(2)
    found = augmented_pairs(ImageSet(inverted), changed(inverted, lambda image: turned(image, rng.uniform(-20, 20), 0)))
    assert len(pairs_of(found)) >= 0.95 * CELLS and np.all(found.first == found.second)
    random = smooth(40, side=96)
    found = augmented_pairs(ImageSet(random), changed(random, lambda image: turned(image, rng.uniform(-20, 20), 0)))
    assert len(pairs_of(found)) >= 0.8 * 40 and np.all(found.first == found.second)


@pytest.mark.parametrize("shape", [(28, 28), (64, 80), (200, 96)])
def test_small_and_oblong_images(shape: tuple[int, int], cells: NDArray[np.uint8]) -> None:
    height, width = shape
    images = np.stack(
        [np.asarray(Image.fromarray(np.pad(one, ((40, 40), (40, 40), (0, 0)), "reflect")).resize((width, width)))
         if height < width else np.asarray(Image.fromarray(one).resize((width, width))) for one in cells[:40]]
    )  # fmt: skip
    images = np.pad(images, ((0, 0), (0, max(0, height - width)), (0, 0), (0, 0)), "edge")[:, -height:]
    found = augmented_pairs(ImageSet(images), ImageSet(np.ascontiguousarray(images[:, ::-1, ::-1])))
    assert len(pairs_of(found)) >= 0.9 * 40 and np.all(found.first == found.second)


def test_sets_of_two_sizes_and_empty_ones(cells: NDArray[np.uint8]) -> None:
    small = changed(cells[:30], lambda image: turned(image, 8).resize((64, 64), Image.Resampling.LANCZOS))
    found = augmented_pairs(ImageSet(cells[:30]), small)
    assert len(found) >= 29 and np.all(found.first == found.second)
    empty = ImageSet(np.empty((0, 32, 32, 3), np.uint8))
    assert len(augmented_pairs(empty)) == len(augmented_pairs(empty, small)) == len(augmented_pairs(small, empty)) == 0
    assert len(augmented_pairs(ImageSet(cells[:1]))) == 0


def test_of_a_class_that_was_evened_out_every_copy_is_tied_to_its_original(cells: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(5)
    copies = [changed(cells[:10], lambda image: turned(image, rng.uniform(-20, 20))).images for _ in range(15)]
    found = augmented_pairs(ImageSet(np.concatenate([cells, *copies])))
    source = np.concatenate([np.arange(CELLS), np.tile(np.arange(10), 15)])
    assert np.all(source[found.first] == source[found.second])
    tied = set(found.second[found.first < 10].tolist())
    assert len(tied) >= 0.9 * 150


@pytest.mark.slow
def test_real_cells(real_data: Path) -> None:
    from cellclf import load

    images = load(real_data / "data" / "acevedo96" / "train").images[1::8]
    rng = np.random.default_rng(3)
    found = augmented_pairs(ImageSet(images), changed(images[:400], lambda image: together(image, rng)))
    assert len(np.unique(found.second[found.first == found.second])) >= 0.95 * 400
    assert len(found) - np.sum(found.first == found.second) <= 1
