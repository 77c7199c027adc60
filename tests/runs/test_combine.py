"""Several runs on one set: their mean, or for each slide the run that it fits best."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.runs import combine_predictions
from cellclf.runs.ensemble import ensemble

RNG = np.random.default_rng(0)


def cells_of(shade: int, names: tuple[str, ...], *, count: int = 60, seed: int = 0) -> cc.ImageSet:
    """Images whose class is the channel that is brightest, on the background of a laboratory."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    images = np.full((count, 12, 12, 3), shade, np.int64) + rng.integers(-12, 13, (count, 12, 12, 3))
    for k, label in enumerate(labels):
        images[k, 3:9, 3:9, label % 3] += 70
    return cc.ImageSet(np.clip(images, 0, 255).astype(np.uint8), labels, class_names=names)


def run_of(cells: cc.ImageSet, val: cc.ImageSet) -> cc.Run:
    """A network that is right on its own images: the mean of each channel, against that of the whole image."""
    pixels = keras.Input((12, 12, 3))
    x = keras.layers.Rescaling(1 / 64)(pixels)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    classes = cells.num_classes
    head = keras.layers.Dense(classes, "softmax")
    model = keras.Model(pixels, head(pooled))
    kernel = np.zeros((3, classes), np.float32)
    kernel[np.arange(classes) % 3, np.arange(classes)] = 9.0
    head.set_weights([kernel, np.zeros(classes, np.float32)])
    run = cc.Run(model, cells.class_names)
    run.calibrate(cells, val)
    return run


@pytest.fixture(scope="module")
def dark() -> cc.Run:
    names = ("basophil", "lymphocyte", "monocyte")
    return run_of(cells_of(40, names), cells_of(40, names, seed=1))


@pytest.fixture(scope="module")
def light() -> cc.Run:
    """Of another laboratory, with other classes in another order."""
    names = ("basophil", "monocyte", "platelet")
    return run_of(cells_of(170, names, seed=2), cells_of(170, names, seed=3))


def test_an_average_is_the_mean_of_the_calibrated_probabilities(dark: cc.Run) -> None:
    other = dataclasses.replace(dark)
    other.model = keras.models.clone_model(dark.model)
    other.model.set_weights([0.5 * weight for weight in dark.model.get_weights()])
    cells = cells_of(40, dark.class_names, seed=4)
    found = combine_predictions([dark, other], cells)
    each = [run.report_predictions(cells) for run in (dark, other)]
    np.testing.assert_allclose(found.probabilities, (each[0].probabilities + each[1].probabilities) / 2)
    np.testing.assert_allclose(found.ood_score, (each[0].ood_score + each[1].ood_score) / 2)
    assert found.sets is None and found.runs is None
    assert "the mean of 2 runs: run 1, run 2" in found.summary() and "run 2: no shift" in found.summary()
    assert "run" not in next(iter(found.rows()))
    bare = [cc.Run(run.model, run.class_names) for run in (dark, other)]
    with pytest.warns(cc.CellclfWarning, match="not calibrated"):
        mean = combine_predictions(bare, cells)
    np.testing.assert_allclose(mean.probabilities, ensemble(bare).predict_proba(cells), atol=1e-6)


def test_an_average_matches_classes_by_name(dark: cc.Run) -> None:
    order = [2, 0, 1]
    turned = keras.Model(dark.model.inputs, keras.ops.take(dark.model.outputs[0], order, axis=1))
    other = cc.Run(turned, tuple(dark.class_names[k] for k in order))
    cells = cells_of(40, dark.class_names, seed=4)
    with pytest.warns(cc.CellclfWarning, match="not calibrated"):
        found = combine_predictions([cc.Run(dark.model, dark.class_names), other], cells)
    np.testing.assert_allclose(found.probabilities, dark.predict_proba(cells), atol=1e-6)


def test_each_slide_is_predicted_by_the_run_that_it_fits(dark: cc.Run, light: cc.Run) -> None:
    here, there = cells_of(40, dark.class_names, count=30, seed=5), cells_of(170, light.class_names, count=18, seed=6)
    images = np.concatenate([there.images[:9], here.images, there.images[9:]])
    slides = np.repeat(["slide b", "slide a", "slide c"], [9, 30, 9])
    found = combine_predictions([dark, light], cc.ImageSet(images, groups=slides), "best-fit")
    assert found.class_names == ("basophil", "lymphocyte", "monocyte", "platelet")
    assert found.runs.tolist() == ["run 2"] * 9 + ["run 1"] * 30 + ["run 2"] * 9
    truth = np.concatenate([np.array([0, 2, 3])[there.labels[:9]], here.labels, np.array([0, 2, 3])[there.labels[9:]]])
    assert (found.predicted == truth).all()
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert (found.probabilities[found.runs == "run 1"][:, 3] == 0).all(), "a class that the run does not have"
    own = dark.report_predictions(cc.ImageSet(here.images))
    rows = found.runs == "run 1"
    np.testing.assert_allclose(found.probabilities[rows][:, :3], own.probabilities)
    np.testing.assert_array_equal(found.sets[rows][:, :3], own.sets)
    assert next(iter(found.rows()))["run"] == "run 2" and "run" in found.to_csv().splitlines()[0].split(",")
    summary = found.summary().splitlines()
    (line,) = [line for line in summary if "slide a, 30 images" in line]
    assert line.strip().startswith("slide a, 30 images: run 1 ") and "run 2 100 %" in line


def test_without_slides_the_whole_set_has_one_run(dark: cc.Run, light: cc.Run) -> None:
    found = combine_predictions([dark, light], cells_of(170, light.class_names, seed=7).images, "best-fit")
    assert set(found.runs.tolist()) == {"run 2"} and "all images, 60 images: run 2" in found.summary()
    far = cc.ImageSet(RNG.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8))
    assert (
        "no run fits, so check it on labelled images" in combine_predictions([dark, light], far, "best-fit").summary()
    )
    assert len(combine_predictions([dark, light], far[:0], "best-fit")) == 0


def test_runs_of_two_sizes_read_the_images_at_their_own(dark: cc.Run) -> None:
    def small(run: cc.Run) -> cc.ImageSet:
        return cells_of(40, dark.class_names, seed=4).resized(run.input_shape[:2])

    resized = keras.Input((24, 24, 3))
    wide = cc.Run(keras.Model(resized, dark.model(keras.layers.AveragePooling2D(2)(resized))), dark.class_names)
    with pytest.warns(cc.CellclfWarning, match="not calibrated"):
        found = combine_predictions([cc.Run(dark.model, dark.class_names), wide], small)
    assert len(found) == 60


def test_what_cannot_be_combined_is_refused(dark: cc.Run, light: cc.Run) -> None:
    cells = cells_of(40, dark.class_names)
    with pytest.raises(UnknownNameError, match="There are: average, best-fit"):
        combine_predictions([dark, light], cells, "mean")
    with pytest.raises(DataError, match="expected the same for an average: combine them by best-fit"):
        combine_predictions([dark, light], cells)
    with pytest.raises(OptionError, match="run 2 is not calibrated"):
        combine_predictions([dark, cc.Run(light.model, light.class_names)], cells, "best-fit")
    for runs in ([], dark, ["runs/a"]):
        with pytest.raises(OptionError, match="expected a list of runs"):
            combine_predictions(runs, cells)
    with pytest.raises(DataError, match="read other images"):
        combine_predictions([dark, dark], Reader([cells, cells[1:]]))


class Reader:
    """Gives one set after the other."""

    def __init__(self, sets: list[cc.ImageSet]) -> None:
        self.sets = sets

    def __call__(self, run: cc.Run) -> cc.ImageSet:
        return self.sets.pop(0)
