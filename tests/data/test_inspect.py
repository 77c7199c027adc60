from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.images import png
from PIL import Image

from cellclf.data.image_set import ImageSet, Skipped
from cellclf.data.inspect import plot, summary


def cells_of(labels, **columns):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 6, 8, 3), np.uint8)
    return ImageSet(images, labels, **columns)


def drawn(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def test_a_summary_states_all_that_is_known():
    cells = cells_of(
        [0] * 6 + [1] * 3 + [2],
        class_names=["round", "lobed", "giant", "kidney"],
        groups=list("aabbccddee"),
        clusters=[0, 0, *range(1, 9)],
        sizes=[[6, 8]] * 9 + [[60, 80]],
        notices=["1 image: resized"],
        skipped=[Skipped(f"{k}.txt", "no image") for k in range(12)],
    )
    assert summary(cells).splitlines() == [
        "ImageSet: 10 images 6x8, 4 classes",
        "groups: 5 patients or slides",
        "clusters: 1 image duplicates another one",
        "original sizes: heights 6 to 60, widths 8 to 80 pixels",
        "  round         6   60.0%  ████████████████████████",
        "  lobed         3   30.0%  ████████████",
        "  giant         1   10.0%  ████",
        "  kidney        0    0.0%",
        "no image: kidney",
        "a single image, which cannot be in both train and val: giant",
        "imbalance: the largest class has 6.0 times the images of the smallest",
        "note: 1 image: resized",
        "skipped: 12",
        *[f"  {k}.txt: no image" for k in range(10)],
        "  ... and 2 more, all in .skipped",
    ]


def test_a_balanced_set_has_a_short_summary():
    assert summary(cells_of([0, 1] * 3)).splitlines()[0] == "ImageSet: 6 images 6x8, 2 classes"
    assert len(summary(cells_of([0, 1] * 3)).splitlines()) == 3
    assert summary(cells_of([0, 1] * 3).replace(labels=None)) == "ImageSet: 6 images 6x8, no labels"
    assert "one class only" in summary(cells_of([0, 0]))
    assert "1 image 6x8, 1 class\n" in summary(cells_of([0]))


@pytest.mark.parametrize(
    "cells",
    [
        cells_of([0, 1, 1, 3], class_names=["round", "lobed", "none", "a_very_long_class_name_with_$_and_細胞" * 2]),
        cells_of([0, 1, 1]).replace(labels=None),
        cells_of([]),
        cells_of([], class_names=["round"]),
        cells_of(list(range(60))),
        cells_of([0, 1], sizes=[[9, 9], [70, 80]]),
    ],
    ids=["uneven classes", "no labels", "empty", "empty class", "many classes", "mixed sizes"],
)
def test_every_set_can_be_plotted(cells):
    figure = plot(cells, per_class=3)
    assert drawn(figure).shape[2] == 3
    for axes in figure.axes:
        box = axes.get_position()
        assert -0.001 <= box.x0 < box.x1 <= 1.001 and -0.001 <= box.y0 < box.y1 <= 1.001


def test_the_plot_shows_images_of_the_right_class_and_the_same_ones_again():
    cells = cells_of([0, 1] * 20, class_names=["round", "lobed"])
    figure = plot(cells, per_class=4, seed=3)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 8
    places = [int(np.flatnonzero((cells.images == image).all((1, 2, 3)))[0]) for image in shown]
    assert cells.labels[places].tolist() == [0] * 4 + [1] * 4
    assert np.array_equal(drawn(figure), drawn(plot(cells, per_class=4, seed=3)))
    assert not np.array_equal(drawn(figure), drawn(plot(cells, per_class=4, seed=4)))


def test_texts_in_the_plot_stay_inside_their_column():
    cells = cells_of([0] * 9 + [1] * 9, class_names=["immature_granulocyte_and_more", "b"])
    figure = plot(cells)
    figure.draw_without_rendering()
    bars, first = figure.axes[0], figure.axes[1]
    for text in bars.texts:
        assert text.get_window_extent().x1 <= first.get_window_extent().x0


def test_real_cells_can_be_looked_at(real_data):
    import cellclf as cc

    cells = cc.load(real_data / "data" / "bccd_crops")
    assert "  neutrophil      207   59.0%" in cells.summary()
    assert len(cells.plot().axes) == 1 + 3 + 4 * 6


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([f"p{k}" for k in range(6)], "groups: 6 patients or slides, each of one image: they keep nothing together"),
        (["p"] * 6, "groups: all images are of one patient or slide, so no part can be split off"),
        (["p", "q"] * 3, "groups: 2 patients or slides\n"),
    ],
)
def test_groups_that_keep_nothing_or_everything_together(groups, text):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    assert text in ImageSet(images, [0, 1] * 3, groups=groups).summary()


def test_copies_among_the_images_looked_at_are_counted():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images[3] = images[1]
    assert "1 of 6 images looked at are exact copies of others" in ImageSet(images).summary()
