"""One door: whatever takes cells takes what people hold; the table in the documentation says what each door takes."""

from __future__ import annotations

import importlib.util
import itertools
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cellclf as cc
from cellclf.data.door import as_cells
from cellclf.reporting import write_map
from cellclf.training import DeviceBatches
from cellclf.training.adapt import reader

ROOT = Path(__file__).parents[2]
NAMES = ("dark", "grey", "light")


def pixels(count: int = 24, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of three levels with noise, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.normal(60 + 60 * labels[:, None, None, None], 30, (count, side, side, 3)).clip(0, 255)
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Give the same cells in each form that a user may hold them."""
    folder = tmp_path_factory.mktemp("held")
    images, labels = pixels()
    files = []
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "tree" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k:02}.png")
        files.append(str(place / f"{k:02}.png"))
    np.savez(folder / "cells.npz", images=images, labels=labels)
    forms = {
        "arrays": (images, labels),
        "pair": ((images, labels),),
        "npz": (folder / "cells.npz",),
        "folder": (str(folder / "tree"),),
    }
    pandas = pytest.importorskip("pandas")
    rows = [NAMES[label] for label in labels]
    forms["DataFrame"] = (pandas.DataFrame({"path": files, "label": rows}),)
    forms["Series"] = (pandas.Series(files),)
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf

        forms["tf.data"] = (tf.data.Dataset.from_tensor_slices((images, labels)).batch(8),)
    return forms


def labelled(doing):
    """Take a form to a door that needs labels: a Series of paths has none, so they come beside it."""

    def work(*form):
        if type(form[0]).__name__ == "Series":
            form = (as_cells(list(form[0]), pixels()[1]),)
        return doing(*form)

    return work


def one(*form):
    """Give a form as a single argument, as doors without labels of their own take it."""
    return form[0] if len(form) == 1 else form


def trainer():
    stage = cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", train_batch_norm=True)
    net = cc.Backbone("residual", weights=None, params={"filters": [4, 4, 4]})
    return cc.Trainer(backbone=net, head=cc.Head(units=()), stages=[stage], batch_size=8, optimizer="adam")


@pytest.fixture(scope="module")
def run():
    images, labels = pixels()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer().fit((images[:18], labels[:18]), (images[18:], labels[18:]))


def indexed(*form):
    index = cc.Index(cc.Dedup())
    index.append(one(*form))
    return index


def adapted(run, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ZOOMS", (1.0,))  # the other sizes take most of the time and know no forms
        run.adapt(cells)


DOORS = {
    "Dedup.find": lambda run: lambda *form: cc.Dedup().find(*form),
    "Dedup.find(against=)": lambda run: lambda *form: cc.Dedup().find(pixels(8, seed=1)[0], against=one(*form)),
    "OutlierFilter.fit": lambda run: lambda *form: cc.OutlierFilter().fit(*form),
    "OutlierFilter.find": lambda run: lambda *form: cc.OutlierFilter().find(*form),
    "Downsample.find": lambda run: labelled(lambda *form: cc.Downsample().find(*form)),
    "Split.apply": lambda run: lambda *form: cc.Split(val=0.3).apply(*form),
    "Index.append": lambda run: indexed,
    "Augmenter.expand": lambda run: lambda *form: cc.Augmenter.preset("report").expand(one(*form)),
    "Augmenter.plot": lambda run: (
        lambda *form: cc.Augmenter.preset("report").plot(one(*form), images=1, n_augmentations=1)
    ),
    "DeviceBatches": lambda run: lambda *form: next(DeviceBatches(one(*form), batch_size=8).epoch(0)),
    "Trainer.check": lambda run: labelled(lambda *form: trainer().check(one(*form), one(*form))),
    "Pipeline.check": lambda run: labelled(lambda *form: cc.Pipeline(trainer=trainer()).check(one(*form))),
    "Run.predict_proba": lambda run: lambda *form: run.predict_proba(form[0]),
    "Run.report_predictions": lambda run: lambda *form: run.report_predictions(form[0]),
    "Run.evaluate": lambda run: labelled(
        lambda *form: run.evaluate(as_cells(*form).replace(class_names=["0", "1", "2"]))
    ),
    "Run.domain_shift": lambda run: lambda *form: run.domain_shift(form[0]),
    "Run.explain": lambda run: lambda *form: run.explain(as_cells(form[0])[:2]),
    "Run.features": lambda run: lambda *form: run.features(form[0]),
    "Run.suggest": lambda run: lambda *form: run.suggest(form[0], 3),
    "Run.adapt": lambda run: lambda *form: adapted(run, form[0]),
    "write_map": lambda run: (
        lambda *form: write_map(
            Path(tempfile.mkdtemp(), "map.html"), pixels()[0][:, 0, :4, 0], one(*form), method="pca"
        )
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", ["arrays", "pair", "npz", "folder", "DataFrame", "Series", "tf.data"])
def test_a_door_takes_what_people_hold(door, form, held, run):
    if form not in held:
        pytest.skip("TensorFlow is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cc.CellclfWarning)
        DOORS[door](run)(*held[form])


@pytest.mark.parametrize("door", DOORS)
def test_the_table_of_doors_is_in_the_documentation(door):
    text = (ROOT / "docs" / "start" / "your-cells.md").read_text("utf-8")
    assert re.search(rf"^\| `{re.escape(door)}` \|", text, re.M), f"{door} is missing in the table of doors"


@pytest.mark.parametrize(
    "nonsense",
    [None, 5, 0.5, True, b"cells", object(), lambda: 1, np.zeros(3), np.zeros((2, 4)), {}, [], "no/such/place", cc],
)
def test_what_is_no_cells_is_refused_in_a_line(nonsense):
    with pytest.raises(cc.CellclfError) as caught:
        as_cells(nonsense)
    text = str(caught.value)
    assert "expected" in text or "no" in text
    assert "\n" not in text and len(text) < 1000


def test_labels_of_a_column_are_labels():
    images, labels = pixels(6)
    assert as_cells(images, labels[:, None]).counts() == as_cells((images, labels)).counts()
    assert as_cells(images, [NAMES[k] for k in labels]).class_names == NAMES


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (20, 48)])
def test_a_run_takes_images_of_any_size_with_one_notice(run, size, tmp_path):
    big = np.stack([np.asarray(Image.fromarray(x).resize(size[::-1])) for x in pixels(4)[0]])
    with pytest.warns(
        cc.CellclfWarning, match=rf"{size[0]}x{size[1]} pixels are resized to the 32x32 of the run: factor"
    ):
        found = run.predict_proba(big)
    assert found.shape == (4, 3)
    for k, image in enumerate(big):
        Image.fromarray(image).save(tmp_path / f"{k}.png")
    with pytest.warns(cc.CellclfWarning, match="resized to the 32x32"):
        again = run.predict_proba(tmp_path)
    np.testing.assert_allclose(again, found, atol=1e-5)


def test_resizing_reads_what_is_asked_for_and_no_more():
    cells = cc.ImageSet(pixels(6, side=20)[0]).resized((10, 8))
    assert cells.image_shape == (10, 8, 3)
    expected = np.asarray(Image.fromarray(pixels(6, side=20)[0][4]).resize((8, 10), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(cells.read(np.array([4]))[0], expected)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_augmenter_refuses_floats_within_0_and_1(scale):
    images = (pixels(4)[0] / 255 * scale).astype(np.float32)
    with pytest.raises(cc.DataError, match="multiply by 255"):
        cc.Augmenter.preset("light")(images)
    black = np.zeros_like(images)
    assert cc.Augmenter.preset("none")(black).max() == 0, "a black image is one in either range"
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(cc.DataError, match="multiply by 255"):
        cc.Augmenter.preset("light").map(tf.data.Dataset.from_tensor_slices(images).batch(2))


def test_doors_leave_the_arrays_as_they_were():
    images, labels = pixels()
    before = images.copy(), labels.copy()
    for name, door in itertools.islice(DOORS.items(), 6):
        door(None)(images, labels)
        assert (images == before[0]).all() and (labels == before[1]).all(), name
