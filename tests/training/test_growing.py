"""Stages that grow: small images first, one network, scores and the finished network at its own size."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.backbones.graph import seen_size, sharing_at
from cellclf.training import Cache
from cellclf.training.batches import Batches

GROWING = (
    cc.Stage(
        epochs=2,
        learning_rate=3e-3,
        unfreeze="all",
        train_batch_norm=True,
        image_size=16,
        strength=(0.2, 0.6),
        batch_size=24,
    ),
    cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", schedule="cosine"),
)


@pytest.fixture(scope="module")
def trainer(small_trainer):
    def make(**changes):
        settings = {"stages": GROWING, "augmenter": cc.Augmenter.preset("report", seed=1), "ema": 0.9}
        return small_trainer(**{**settings, **changes})

    return make


@pytest.fixture(scope="module")
def strengths():
    """What the augmenter's strength was multiplied by, in this order, in ``grown``."""
    return []


@pytest.fixture(scope="module")
def grown(trainer, parts, tmp_path_factory, strengths):
    folder = tmp_path_factory.mktemp("runs") / "grown"
    at_strength = Batches.at_strength

    def recorded(batches, factor):
        strengths.append(round(factor, 3))
        return at_strength(batches, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at_strength", recorded)
        run = trainer().fit(parts.train, parts.val, out=folder)
    return run, folder


def states(run):
    return [np.asarray(variable) for variable in run.model.variables]


def test_one_network_of_the_final_size_comes_out(grown, parts):
    run, folder = grown
    assert run.input_shape == (32, 32, 3) and seen_size(run.model) == (32, 32)
    assert not any(isinstance(layer, keras.Model | keras.layers.Resizing) for layer in run.model.layers)
    assert [row["image_size"] for row in run.history] == [16, 16, 32]
    again = cc.load_run(folder)
    np.testing.assert_array_equal(again.predict_proba(parts.val), run.predict_proba(parts.val))
    assert [row["image_size"] for row in again.history] == [16, 16, 32]


def test_scores_are_those_of_the_final_size(grown, parts):
    run, _ = grown
    best = [row for row in run.history if row["best"]][-1]
    truth = run.predict_proba(parts.val)[np.arange(len(parts.val)), parts.val.labels]
    assert -np.log(truth).mean() == pytest.approx(best["val_log_loss"], rel=1e-4)


@pytest.mark.slow
def test_stopped_among_small_images_and_resumed_it_ends_as_it_would_have(grown, trainer, parts, tmp_path):
    run, _ = grown

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().fit(parts.train, parts.val, out=tmp_path / "run", callbacks=[stop])
    again = trainer().fit(parts.train, parts.val, out=tmp_path / "run")
    for one, other in zip(states(run), states(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_cached_features_of_small_images_do_not_score_the_large_ones(small_trainer, parts, tmp_path):
    stages = (cc.Stage(epochs=3, learning_rate=1e-3, unfreeze=1, image_size=16, strength=0.5),)
    options = {"stages": stages, "augmenter": cc.Augmenter.preset("report", seed=1)}
    run = small_trainer(**options, cache=Cache(views=2)).fit(parts.train, parts.val, out=tmp_path / "run")
    assert run.manifest["chosen"]["cache"] == [True]
    kept = [row for row in run.history if row["best"]]
    truth = run.predict_proba(parts.val)[np.arange(len(parts.val)), parts.val.labels]
    assert -np.log(truth).mean() == pytest.approx(kept[-1]["val_log_loss"], rel=1e-4)


def test_the_strength_grows_to_the_last_epoch(grown, strengths):
    assert strengths == [0.2, 0.6]


@pytest.mark.slow
def test_a_strength_that_changes_is_not_cached(trainer, parts):
    changing = cc.Stage(epochs=3, learning_rate=1e-3, strength=(0.2, 1.0))
    run = trainer(stages=(changing,), ema=None, cache=Cache(views=2)).fit(parts.train, parts.val)
    assert run.manifest["chosen"]["cache"] == [False]


def test_a_rectangle_keeps_its_proportions():
    net = cc.Backbone("residual").build((48, 72, 3))
    assert sharing_at(net, (32, 48)).output_shape == (None, 4, 6, net.output_shape[-1])


def test_the_layers_are_shared_in_the_same_order():
    net = cc.Backbone("mobilenet", weights=None, params={"alpha": 0.25}).build((64, 64, 3))
    small = sharing_at(net, (32, 32))
    assert [v.path for v in small.trainable_variables] == [v.path for v in net.trainable_variables]
    assert all(any(layer is own for own in net.layers) for layer in small.layers[2:])


def test_sizes_that_cannot_be_are_refused_before_the_work(small_trainer, parts):
    def one(**options):
        return cc.Stage(epochs=1, learning_rate=1e-3, **options)

    for stage, match in (
        (one(image_size=48), r"image_size=48 is larger than the 32x32 .*at most 32.*Trainer\(image_size=48\)"),
        (one(strength=0.5), "no augmenter"),
        (one(strength=(0.5,)), "strength="),
        (one(image_size=0), "image_size=0"),
        (one(batch_size=0), "batch_size=0"),
    ):
        with pytest.raises(cc.OptionError, match=match):
            small_trainer(stages=(stage,)).check(parts.train, parts.val)
    with pytest.raises(cc.OptionError, match="whose weights fit one size"):
        small_trainer(stages=(one(image_size=16),), head=cc.Head(pooling="flatten")).check(parts.train, parts.val)
    with pytest.raises(cc.OptionError, match=r"image_size=16 is too small for backbone 'mobilenet'; expected .* 32"):
        small_trainer(stages=(one(image_size=16),), backbone="mobilenet").check(parts.train, parts.val)
    strong = small_trainer(stages=(one(strength=6.0),), augmenter=cc.Augmenter.preset("report", strength=2.0))
    with pytest.raises(cc.OptionError, match="expected at most 10 together"):
        strong.check(parts.train, parts.val)


def test_a_network_of_one_size_is_refused_by_name_of_the_size(small_trainer, parts):
    images = keras.Input((32, 32, 3))
    flat = keras.layers.Reshape((1, 1, 32 * 32 * 3))(images)
    fixed = keras.Model(images, keras.layers.Conv2D(4, 1, name="end")(flat))
    trainer = small_trainer(
        backbone=cc.Backbone(fixed), stages=(cc.Stage(epochs=1, learning_rate=1e-3, image_size=16),)
    )
    with pytest.raises(cc.OptionError, match="cannot take images of 16x16"):
        cc.Pipeline(trainer=trainer).check_weights()
    with pytest.raises(cc.OptionError, match="cannot take images of 16x16"):
        trainer.fit(parts.train, parts.val)


def test_a_pipeline_finds_a_wrong_size_beside_other_mistakes(small_trainer, parts):
    stage = cc.Stage(epochs=1, learning_rate=1e-3, image_size=64)
    pipe = cc.Pipeline(trainer=small_trainer(stages=(stage,), batch_size=0), split=cc.Split(val=0.2))
    with pytest.raises(cc.OptionError, match=r"2 mistakes.*image_size=64"):
        pipe.check(parts.train)


@pytest.mark.slow
def test_a_run_is_continued_with_small_images(grown, parts):
    run, _ = grown
    stages = (cc.Stage(epochs=1, learning_rate=1e-4, image_size=16),)
    again = cc.Trainer(start=run, stages=stages, batch_size=16).fit(parts.train, parts.val)
    assert again.input_shape == (32, 32, 3)
    with pytest.raises(cc.OptionError, match="at most 32: its size is that of the run that is continued"):
        cc.Trainer(start=run, stages=(cc.Stage(epochs=1, learning_rate=1e-4, image_size=40),)).check(
            parts.train, parts.val
        )


def test_growing_stages_are_stored_and_read(grown):
    _, folder = grown
    stored = json.loads((folder / "manifest.json").read_text())["trainer"]["stages"]
    assert [stage["image_size"] for stage in stored] == [16, None]
    assert cc.Stage.from_dict(stored[0]) == GROWING[0]
