from __future__ import annotations

import numpy as np
import pytest

import cellclf as cc
from cellclf.training.class_weights import image_weights


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": 0.0}, "learning_rate=0"),
        ({"unfreeze": "some"}, "unfreeze='some'"),
        ({"unfreeze": -1}, "unfreeze=-1"),
        ({"schedule": "cosine", "reduce_patience": 3}, "both set the learning rate"),
        ({"warmup": 5.0}, "warmup=5.0"),
        ({"warmup": 1.0, "schedule": "one_cycle"}, "has its own"),
        ({"warmup": 1.0, "reduce_patience": 3}, "both set the learning rate"),
        ({"patience": 0}, "patience=0"),
        ({"reduce_factor": 1.0}, "reduce_factor=1.0"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(changes, match):
    with pytest.raises(cc.OptionError, match=match):
        cc.Stage(**{"epochs": 5, "learning_rate": 1e-3, **changes}).check()


def test_wrong_names_bring_the_nearest():
    with pytest.raises(cc.UnknownNameError, match="did you mean 'val_accuracy'"):
        cc.Stage(epochs=1, learning_rate=1.0, monitor="val_acc").check()
    with pytest.raises(cc.UnknownNameError, match="did you mean 'max'"):
        cc.Trainer(backbone="mobilenet", optimizer="lion", head=cc.Head(pooling="maxx")).check_options()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"stages": ()},
            r"Trainer stages=\(\); expected a list of 1 or more, each entry a Stage, or None; such as \[Stage",
        ),
        ({"batch_size": 0}, "batch_size=0"),
        ({"label_smoothing": 1.0}, "Trainer label_smoothing=1.0; expected a number from 0 to below 1"),
        ({"head": cc.Head(dropout=1.0)}, "dropout=1.0"),
        ({"stages": (cc.Stage(epochs=1, learning_rate=1.0, unfreeze=4),)}, "has 3 blocks"),
        ({"class_weight": {"dark": 1.0}}, "lacks grey, light"),
        ({"class_weight": "equal"}, "expected 'balanced' or 'effective', a mapping from names"),
    ],
)
def test_a_trainer_that_cannot_be_is_refused_before_training(small_trainer, parts, changes, match):
    with pytest.raises(cc.OptionError, match=match):
        small_trainer(**changes).check(parts.train, parts.val)


def test_sets_that_cannot_be_trained_on_are_refused(small_trainer, parts):
    trainer = small_trainer()
    unlabelled = parts.train.replace(labels=None)
    with pytest.raises(cc.DataError, match="no labels"):
        trainer.check(unlabelled, parts.val)
    one = parts.train.subset(parts.train.labels == 0)
    with pytest.raises(cc.DataError, match="all training images are of the class 'dark'"):
        trainer.check(one, parts.val)
    with pytest.raises(cc.DataError, match="empty"):
        trainer.check(parts.train, parts.val[:0])
    with pytest.raises(cc.DataError, match="expected no others than the training set has"):
        trainer.check(parts.train, parts.val.replace(class_names=["a", "b", "c"]))
    two = parts.train.subset(parts.train.labels < 2)
    with pytest.warns(cc.CellclfWarning, match="no training image of light"):
        trainer.check(two, parts.val)


def test_balanced_weights_give_every_class_the_same_say():
    cells = cc.ImageSet(np.zeros((10, 4, 4, 3), np.uint8), [0] * 7 + [1] * 2 + [2], class_names=["a", "b", "c", "d"])
    weights = image_weights(cells, "balanced")
    sums = [weights[cells.labels == label].sum() for label in range(3)]
    np.testing.assert_allclose(sums, 10 / 3, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)


def test_weights_by_name_reach_each_image():
    cells = cc.ImageSet(np.zeros((3, 4, 4, 3), np.uint8), [0, 1, 1], class_names=["a", "b"])
    assert image_weights(cells, {"a": 3, "b": 0.5}).tolist() == [3, 0.5, 0.5]
    assert image_weights(cells, None).tolist() == [1, 1, 1]
    with pytest.raises(cc.UnknownNameError, match="did you mean"):
        image_weights(cells, {"a": 1, "b": 1, "bb": 1})


def test_validation_images_that_are_trained_on_are_counted():
    cells = cc.make_cells(24, size=24, seed=1)
    trainer = cc.Trainer(backbone="residual", augmenter=None)
    with pytest.warns(cc.CellclfWarning, match="4 of 12 validation images are training images, too"):
        trainer.check(cells[:16], cells[12:])


@pytest.mark.parametrize(
    ("options", "changes", "match"),
    [
        ({"learning_rate": "schedule"}, {}, "a schedule of its own, .* Stage\\(learning_rate=1e-3"),
        ({"use_ema": True}, {}, r"use_ema=True, .* Trainer\(ema=0.99\)"),
        ({"gradient_accumulation_steps": 4}, {}, r"gradient_accumulation_steps=4, .* Trainer\(accumulate=4\)"),
        ({}, {"weight_decay": 0.02}, r"expected it in keras.optimizers.Adam\(weight_decay=0.02\)"),
    ],
)
def test_what_an_optimizer_of_keras_would_do_alone_or_not_at_all_is_refused(options, changes, match):
    import keras

    if "learning_rate" in options:
        options = {"learning_rate": keras.optimizers.schedules.CosineDecay(1e-2, 10)}
    with pytest.raises(cc.OptionError, match=match):
        cc.Trainer(optimizer=keras.optimizers.Adam(**options), **changes).check_options()
    with pytest.raises(cc.OptionError, match="LossScaleOptimizer; expected the optimizer in it"):
        cc.Trainer(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())).check_options()
    fine = keras.optimizers.AdamW(3e-4, weight_decay=0.1, clipnorm=1.0)
    cc.Trainer(backbone="residual", optimizer=fine).check_options()
