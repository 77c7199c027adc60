"""Heat maps, against what can be worked out by hand, and on cells whose place is known."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.evaluation.saliency import Explanation, OcclusionSource, enlarge, grad_cam, grad_cam_plus_plus
from cellclf.runs.run import Run

NAMES = ("dark", "grey", "light")


def tiny(pooling="avg", seed=0, last="dense"):
    """A convolution, its ReLU, pooling, one Dense layer: Grad-CAM of it can be worked out by hand."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="map")(x)
    pool = keras.layers.GlobalAveragePooling2D() if pooling == "avg" else keras.layers.Flatten()
    x = keras.layers.Dropout(0.5)(pool(x))
    if last == "dense":
        x = keras.layers.Dense(3, activation="softmax", name="end")(x)
    else:
        x = keras.layers.Softmax()(keras.layers.Dense(3, name="end")(x))
    return keras.Model(images, x)


def noise(count=6, side=16, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def run_of(model):
    return Run(model, NAMES)


@pytest.fixture(scope="module")
def small():
    return tiny()


@pytest.mark.backend
@pytest.mark.parametrize("last", ["dense", "softmax"])
def test_behind_global_pooling_grad_cam_is_the_class_activation_map(last):
    """Zhou et al. 2016: there CAM is sum_k w_k A_k with the Dense layer's own weights; Grad-CAM is that over h * w."""
    model, images = tiny(last=last), noise()
    found = run_of(model).explain(images, classes=2, layer="map")
    maps = keras.Model(model.input, model.get_layer("map").output)(images, training=False)
    maps = keras.ops.convert_to_numpy(maps)
    kernel = model.get_layer("end").get_weights()[0]
    cam = np.maximum(maps @ kernel[:, 2], 0)
    np.testing.assert_allclose(found.heat * found.peak[:, None, None], cam / 64, rtol=1e-4, atol=1e-7)
    assert found.heat.shape == (6, 8, 8) and found.heat.dtype == np.float32
    np.testing.assert_allclose(found.heat.max((1, 2)), (found.peak > 0).astype(float))


def test_grad_cam_plus_plus_by_a_slow_loop():
    """Behind a Flatten each place has a slope of its own; equations 10, 11 and 19, place by place."""
    model, images = tiny("flatten"), noise(2)
    found = run_of(model).explain(images, method="gradcam++", classes="grey", layer="map")
    maps = keras.Model(model.input, model.get_layer("map").output).predict(images, verbose=0).astype(float)
    slope = model.get_layer("end").get_weights()[0][:, 1].reshape(8, 8, 5).astype(float)
    for image, heat, peak in zip(maps, found.heat, found.peak, strict=True):
        raw = np.zeros((8, 8))
        for k in range(5):
            total, weight = image[..., k].sum(), 0.0
            for y in range(8):
                for x in range(8):
                    g = slope[y, x, k]
                    below = 2 * g**2 + total * g**3
                    weight += g**2 / below * max(g, 0) if below > 0 else 0
            raw += weight * image[..., k]
        np.testing.assert_allclose(heat * peak, np.maximum(raw, 0), rtol=1e-4, atol=1e-7)


def test_the_score_is_taken_before_the_softmax(small):
    """A further class whose score is larger changes every probability, and no heat map of the others."""
    images = noise()
    before = run_of(small).explain(images, classes=0)
    other = keras.models.clone_model(small)
    other.set_weights(small.get_weights())
    kernel, bias = other.get_layer("end").get_weights()
    other.get_layer("end").set_weights([kernel * [1, 3, 1], bias + np.eye(3)[1] * 2])
    after = run_of(other).explain(images, classes=0)
    assert np.abs(after.probabilities - before.probabilities).min() > 0.01
    np.testing.assert_array_equal(after.heat, before.heat)


@pytest.mark.backend
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "occlusion"])
def test_an_image_is_explained_alike_in_any_batch_and_left_as_it_was(small, method):
    images = noise(5)
    kept = images.copy()
    images.flags.writeable = False
    together = run_of(small).explain(images, method=method)
    np.testing.assert_array_equal(images, kept)
    single = run_of(small).explain(cc.ImageSet(images), method=method, batch_size=2)
    np.testing.assert_allclose(single.heat, together.heat, atol=2e-4)
    np.testing.assert_array_equal(single.classes, together.classes)
    expected = run_of(small).predict_proba(images)
    np.testing.assert_array_equal(together.classes, expected.argmax(1))
    np.testing.assert_allclose(together.probabilities, expected.max(1), atol=1e-6)
    assert (together.heat >= 0).all() and (together.heat <= 1).all()


def test_occlusion_by_a_slow_loop(small):
    images = noise(3)
    found = run_of(small).explain(images, method="occlusion", classes=["dark", "light", "grey"])
    assert found.heat.shape == (3, 12, 12) and found.layer is None
    for image, chosen, heat, peak in zip(images, found.classes, found.heat, found.peak, strict=True):
        images = [image]
        for row in range(12):
            for column in range(12):
                covered = image.copy()
                top, left = (round((k + 0.5) * 16 / 12 - 2) for k in (row, column))
                low, right = (round((k + 0.5) * 16 / 12 + 2) for k in (row, column))
                covered[max(0, top) : low, max(0, left) : right] = np.rint(image.mean((0, 1)))
                images.append(covered)
        probabilities = small.predict(np.stack(images), verbose=0).astype(float)
        odds = np.log(probabilities[:, chosen] / np.delete(probabilities, chosen, 1).sum(1))
        np.testing.assert_allclose(heat * peak, np.maximum(odds[0] - odds[1:], 0).reshape(12, 12), atol=2e-5)


def test_occluded_images_are_made_as_they_are_read():
    cells = cc.ImageSet(noise(4))
    source = OcclusionSource(cells, patch=1.0, steps=1)
    assert len(source) == 8
    read = source.read(np.array([7, 0, 6]))
    np.testing.assert_array_equal(read[1], cells[0])
    np.testing.assert_array_equal(read[2], cells[3])
    np.testing.assert_array_equal(
        read[0], np.broadcast_to(np.rint(cells[3].mean((0, 1))).astype(np.uint8), (16, 16, 3))
    )
    for wrong in ({"patch": 0}, {"patch": 1.5}, {"steps": 0}, {"steps": 17}):
        with pytest.raises(cc.OptionError, match="expected"):
            OcclusionSource(cells, **wrong)


def test_what_speaks_against_a_class_is_not_hot():
    maps = np.ones((1, 2, 2, 1))
    for weigh in (grad_cam, grad_cam_plus_plus):
        assert not weigh(maps, -maps).any() and weigh(maps, maps).min() > 0
        assert not weigh(maps, 0 * maps).any()


def test_enlarged_maps_keep_their_place_and_range():
    spot = np.zeros((1, 3, 6))
    spot[0, 2, 1] = 1
    big = enlarge(spot, 30, 30)[0]
    assert np.unravel_index(big.argmax(), big.shape)[0] >= 24 and 5 <= big[29].argmax() <= 9
    np.testing.assert_allclose(enlarge(np.full((2, 4, 4), 0.3), 17, 9), 0.3, rtol=1e-6)


@pytest.mark.parametrize("name", ["sequential", "residual", "inception"])
def test_own_networks_have_a_map_to_look_at(name):
    assert min(explained(name, 48).heat.shape[1:]) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["convnexttiny", "efficientnetv2b0", "inceptionresnetv2", "inceptionv3", "mobilenet", "resnet50", "xception"],
)
def test_published_networks_have_a_map_to_look_at(name):
    assert min(explained(name, 96).heat.shape[1:]) >= 5


def explained(name, side):
    backbone = cc.Backbone(name, weights=None).build((side, side, 3))
    model = keras.Model(backbone.input, cc.Head(units=(8,)).build(backbone.output, 3))
    images = noise(3, side)
    for method in ("gradcam", "gradcam++"):
        found = run_of(model).explain(images, method=method)
        assert np.isfinite(found.heat).all()
        np.testing.assert_allclose(found.probabilities, run_of(model).predict_proba(images).max(1), atol=1e-4)
    return found


def test_wrong_words_are_named(small):
    run, images = run_of(small), noise(2)
    with pytest.raises(cc.UnknownNameError, match=r"gradcam\+\+"):
        run.explain(images, method="grad-cam++")
    with pytest.raises(cc.UnknownNameError, match="did you mean 'dark'"):
        run.explain(images, classes="darc")
    with pytest.raises(cc.UnknownNameError, match="did you mean 'norm'"):
        run.explain(images, layer="nrm")
    with pytest.raises(cc.DataError, match="3 classes for 2 images"):
        run.explain(images, classes=[0, 1, 2])
    with pytest.raises(cc.DataError, match="class 3 does not exist"):
        run.explain(images, classes=3)
    with pytest.raises(cc.OptionError, match="expected no layer with occlusion"):
        run.explain(images, method="occlusion", layer="map")
    with pytest.warns(cc.CellclfWarning, match="images of 20x20 pixels are resized to the 16x16 of the run"):
        assert len(run.explain(noise(1, 20)).heat) == 1


def test_a_layer_that_is_not_on_all_paths_is_refused():
    images = keras.Input((16, 16, 3))
    one = keras.layers.Conv2D(3, 3, padding="same", name="one")(images)
    two = keras.layers.Conv2D(3, 3, padding="same", name="two")(one)
    both = keras.layers.GlobalAveragePooling2D()(keras.layers.Add(name="both")([one, two]))
    run = run_of(keras.Model(images, keras.layers.Dense(3, activation="softmax")(both)))
    with pytest.raises(cc.OptionError, match="is not on all paths"):
        run.explain(noise(1), layer="two")
    assert run.explain(noise(1)).layer == "both"


def test_a_padded_or_coarse_map_is_not_chosen():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="relu", name="map")(images)
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="padded")(x)
    x = keras.layers.Conv2D(3, 3, strides=4, activation="relu", name="coarse")(x)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    run = run_of(keras.Model(images, x))
    assert run.explain(noise(1)).layer == "map"
    assert run.explain(noise(1), layer="coarse").heat.shape == (1, 2, 2)


def test_an_ensemble_has_no_map_but_can_be_covered(small):
    run = cc.ensemble([run_of(small), run_of(tiny(seed=5))])
    with pytest.raises(cc.OptionError, match="explain its members"):
        run.explain(noise(1))
    assert run.explain(noise(1), method="occlusion").heat.max() == 1


def test_nothing_to_explain(small):
    for method in ("gradcam", "occlusion"):
        found = run_of(small).explain(noise(0), method=method)
        assert len(found) == 0 and found.overlays().shape == (0, 16, 16, 3) and found.plot() and found.to_rows() == []


def test_images_beside_their_heat(small):
    cells = cc.ImageSet(noise(5), ["dark", "light", "dark", "grey", "dark"])
    found = run_of(small).explain(cells, classes="light")
    over = found.overlays([3, 0])
    assert over.shape == (2, 16, 16, 3) and over.dtype == np.uint8
    np.testing.assert_array_equal(over[1], found.overlays()[0])
    texts = [axes.get_title(loc="left") for axes in found.plot(limit=4).axes]
    assert len(texts) == 8 and texts[0].startswith("light ") and "label: dark" in texts[0]
    assert "label" not in texts[2], "the label is what was chosen for"
    hottest = int(found.peak.argmax())  # where nothing speaks for a class there is no place
    row = found.to_rows()[hottest]
    assert row["id"] == str(hottest) and row["class"] == "light" and 0 <= row["x"] < 16 and 0 <= row["y"] < 16


def test_the_hottest_pixel_lies_in_the_image_and_may_not_exist():
    heat = np.zeros((3, 4, 6), np.float32)
    heat[0, 3, 5] = heat[1, 0, 1] = 1
    found = Explanation(
        heat=heat,
        peak=np.array([2, 2, 0], np.float32),
        classes=np.zeros(3, np.int64),
        probabilities=np.ones(3, np.float32),
        class_names=NAMES,
        method="occlusion",
        layer=None,
        cells=cc.ImageSet(noise(3, 6)[:, :4]),
    )
    assert [(row["x"], row["y"]) for row in found.to_rows()] == [(5, 3), (1, 0), (None, None)]


@pytest.fixture(scope="module")
def trained():
    """Light cells on one side or the other of dark slides: the class is the cell's colour, its place is known."""
    rng = np.random.default_rng(0)
    labels, places = np.arange(240) % 3, rng.integers(8, 32, (240, 2))
    images = rng.normal(70, 12, (240, 40, 40, 3))
    rows, columns = np.mgrid[:40, :40]
    masks = np.hypot(rows - places[:, 0, None, None], columns - places[:, 1, None, None]) < 7
    images[masks] += (np.eye(3)[labels] * 120)[np.nonzero(masks)[0]]
    cells = cc.ImageSet(images.clip(0, 255).astype(np.uint8), labels, class_names=["red", "green", "blue"])
    trainer = cc.Trainer(
        backbone=cc.Backbone("residual", weights=None, params={"filters": [8, 16, 16]}),
        head=cc.Head(units=(), dropout=0.0),
        stages=[cc.Stage(epochs=8, learning_rate=5e-3, unfreeze="all", train_batch_norm=True)],
        optimizer="adamw",
        batch_size=24,
        seed=2,
    )
    run = trainer.fit(cells[:192], cells[192:])
    assert run.evaluate(cells[192:]).accuracy > 0.9
    return run, cells[192:], masks[192:]


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "occlusion"])
def test_the_heat_is_in_the_cell(trained, method):
    run, cells, masks = trained
    found = run.explain(cells[:24], method=method)
    heat = found.at_full_size()
    inside = np.array([h[m].mean() for h, m in zip(heat, masks, strict=False)])
    outside = np.array([h[~m].mean() for h, m in zip(heat, masks, strict=False)])
    assert (inside > outside).mean() >= 0.9, (inside.round(2), outside.round(2))
    assert inside.mean() > 2 * outside.mean()
