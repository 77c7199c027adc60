"""Copies are told apart by colour: one shape in two colours is two images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.smooth import brighter, jpeg, smooth
from numpy.typing import NDArray

from cellclf import Dedup, ImageSet, make_cells
from cellclf.cleaning.dedup.colours import Colours, colour_distance, colour_grids
from cellclf.cleaning.dedup.hashes import turned_image
from cellclf.cleaning.dedup.index import Index

Image = NDArray[np.uint8]
SIDE = 48


def flat(*colour: int) -> Image:
    return np.broadcast_to(np.array(colour, np.uint8), (SIDE, SIDE, 3)).copy()


def shape(colour: tuple[int, int, int], ground: int = 230, radius: float = 12) -> Image:
    image = np.full((SIDE, SIDE, 3), ground, np.uint8)
    down, right = np.mgrid[:SIDE, :SIDE]
    image[(down - 22) ** 2 + 1.5 * (right - 26) ** 2 < radius**2] = colour
    return image


CELL = make_cells(3, size=SIDE, seed=4).images[0]
FAMILIES: dict[str, list[Image]] = {
    "white and blue": [flat(255, 255, 255), flat(0, 0, 254)],
    "six flat colours": [flat(*c) for c in itertools.product((40, 200), (40, 200), (40, 200)) if len({*c}) > 1],
    "flat greys": [flat(255, 255, 255), flat(128, 128, 128), flat(60, 60, 60), flat(0, 0, 0)],
    "two reds": [flat(200, 0, 0), flat(250, 200, 210)],
    "red, blue and green discs": [shape((200, 40, 40)), shape((40, 40, 200)), shape((60, 110, 60))],
    "discs on black": [shape((250, 0, 0), 0), shape((0, 250, 0), 0), shape((0, 0, 250), 0)],
    "small dots": [shape((220, 20, 20), 0, 4), shape((20, 220, 20), 0, 4)],
    "channels of one field": [CELL * np.array(mask, np.uint8) for mask in ((1, 0, 0), (0, 1, 0), (0, 0, 1))],
    "swapped channels": [CELL, CELL[..., [1, 0, 2]], CELL[..., [2, 1, 0]]],
    "grey and coloured": [CELL, np.repeat(CELL.mean(2, keepdims=True), 3, 2).astype(np.uint8)],
    "inverted tint": [shape((200, 120, 120)), shape((120, 160, 200))],
    "two stains of one smear": [shape((120, 40, 160)), shape((150, 110, 30))],
    "turned and recoloured": [shape((200, 40, 40)), turned_image(shape((40, 40, 200)), 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_other_colours_are_other_images(name: str) -> None:
    images = np.stack(FAMILIES[name])
    assert Dedup().find(ImageSet(images)).removed == 0
    labelled = Dedup().find(ImageSet(images, range(len(images))))
    assert labelled.removed == 0 and not labelled.conflicts
    assert Dedup(augmented="off").find(ImageSet(images[:1]), against=ImageSet(images[1:])).removed == 0
    index = Index()
    for k, image in enumerate(images):
        index.append(ImageSet(image[None], ids=[str(k)]))
    assert index.find().removed == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 60),
        lambda image: jpeg(image, 45),
        lambda image: brighter(image, 0.9),
        lambda image: brighter(image, 1.1),
        lambda image: brighter(image, 0.7),
        lambda image: jpeg(brighter(turned_image(image, 5), 0.9)),
        lambda image: turned_image(image, 6),
        lambda image: (image // 4 * 4).astype(np.uint8),
    ],
)
def test_copies_are_still_copies(change) -> None:
    images = np.concatenate([make_cells(12, size=SIDE, seed=6).images, smooth(12)])
    cells = ImageSet(np.concatenate([images, np.stack([change(image) for image in images])]))
    found = Dedup().find(cells)
    assert np.flatnonzero(~found.keep).tolist() == list(range(24, 48))


def test_one_shape_in_other_colours_stays_on_one_side_of_a_split() -> None:
    found = Dedup().find(ImageSet(np.stack(FAMILIES["channels of one field"])))
    assert len(found.near) and len(set(found.clusters.tolist())) < 3
    flats = Dedup().find(ImageSet(np.stack(FAMILIES["six flat colours"])))
    assert not len(flats.near)  # what has no shape has none in common


def test_a_large_bucket_of_flat_images_is_told_apart_too() -> None:
    white = np.repeat(flat(250, 250, 250)[None], 90, 0)
    white[:, 0, 0, 0] = 160 + np.arange(90)
    blue = np.repeat(flat(20, 20, 240)[None], 90, 0)
    blue[:, 0, 0, 0] = 20 + np.arange(90)
    cells = ImageSet(np.concatenate([white, blue]), [0] * 90 + [1] * 90)
    found = Dedup(max_copies=100).find(cells)
    assert sorted(len(group) for group in found.groups) == [90, 90] and not found.conflicts
    assert found.keep.sum() == 2


def test_a_cell_in_another_colour_on_another_background_is_another_cell() -> None:
    cells = make_cells(30, size=96, seed=3).images
    swapped = cells[..., [1, 0, 2]]
    found = Dedup(foreground=True).find(ImageSet(np.concatenate([cells, swapped])))
    assert found.removed == 0


def test_the_distance() -> None:
    one = colour_grids(np.stack([CELL, shape((200, 40, 40))]))
    assert np.all(colour_distance(one, one) < 1e-6)
    assert np.all(colour_distance(one, one * 0.6) < 0.05)
    np.testing.assert_allclose(colour_distance(one, one[::-1]), colour_distance(one[::-1], one), atol=0.1)
    mean = CELL.reshape(4, 12, 4, 12, 3).mean((1, 3))
    np.testing.assert_allclose(one[0], mean, atol=0.01)


@pytest.mark.parametrize("size", [(5, 9), (28, 28), (64, 50)])
def test_grids_of_any_size_turn_with_the_image(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    grids = colour_grids(images)
    np.testing.assert_allclose(grids.mean((1, 2)), images.mean((1, 2)), atol=0.01)
    np.testing.assert_allclose(colour_grids(images[:, ::-1]), grids[:, ::-1], atol=0.01)
    read = Colours([ImageSet(images[:2]), ImageSet(images[2:])])
    np.testing.assert_allclose(read.at(np.array([2, 0])), grids[[2, 0]], atol=0.2)
