"""Training for altered images: mixing, consistency of views, an altered validation copy, EMA, ensembles."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.augmentation.mixing import Mix
from cellclf.backbones.graph import copied
from cellclf.errors import DataError, OptionError
from cellclf.training.batches import Batches, altered_copy
from cellclf.training.ema import EMA
from cellclf.training.losses import make_loss

LIGHT = cc.Augmenter.preset("light", seed=5)


@pytest.fixture(scope="module")
def robust(small_trainer, parts, tmp_path_factory):
    stage = cc.Stage(epochs=3, learning_rate=3e-3, unfreeze="all", train_batch_norm=True, monitor="shifted_macro_f1")
    trainer = small_trainer(
        stages=(stage,),
        augmenter=LIGHT,
        val_augmenter=cc.Augmenter.preset("report", seed=9),
        mix=Mix(kind="both"),
        ema=0.9,
    )
    folder = tmp_path_factory.mktemp("runs") / "robust"
    return trainer.fit(parts.train, parts.val, out=folder), trainer


def test_both_validations_are_in_the_history(robust, parts):
    run, trainer = robust
    assert {"val_macro_f1", "shifted_macro_f1", "shifted_loss", "mean_macro_f1"} <= run.history[0].keys()
    best = max(row["shifted_macro_f1"] for row in run.history)
    kept = next(row for row in run.history if row["best"])
    assert kept["shifted_macro_f1"] == best
    found = run.evaluate(altered_copy(parts.val, trainer.val_augmenter))
    assert found.accuracy == pytest.approx(kept["shifted_accuracy"])  # the averages are kept
    assert cc.load_run(run.folder).manifest["trainer"]["mix"]["kind"] == "both"


def test_the_altered_copy_is_always_the_same_and_the_set_is_not_changed(parts):
    before = parts.val.images.copy()
    one, other = (altered_copy(parts.val, LIGHT) for _ in range(2))
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(parts.val.images, before)
    assert (one.images != before).any() and one.ids.tolist() == parts.val.ids.tolist()


def test_mixed_batches_carry_mixed_weights(parts):
    weights = np.asarray([1.0, 2.0, 4.0], np.float32)[parts.train.labels]
    batches = Batches(parts.train, None, 16, weights, 0, Mix(kind="mixup", alpha=1.0))
    for _, targets, found in batches.epoch(0):
        np.testing.assert_allclose(np.asarray(targets).sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(np.asarray(targets) @ [1, 2, 4], found, rtol=1e-5)


def test_consistency_is_the_divergence_of_three_views():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 5)]
    middle = probabilities.mean(0)
    divergence = (probabilities * np.log(probabilities / middle)).sum(-1).mean(0)
    expected = (-np.log((probabilities[0] * targets).sum(1)) + 12 * divergence).mean()
    loss = make_loss(0.0, 12.0)(np.tile(targets, (3, 1)), probabilities.reshape(15, 4))
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    same = make_loss(0.0, 12.0)(np.tile(targets, (3, 1)), np.tile(probabilities[0], (3, 1)))
    assert float(same) == pytest.approx(float(make_loss(0.0, 0.0)(targets, probabilities[0])), rel=1e-4)


def test_views_of_a_batch_are_the_image_and_two_others(parts):
    batches = Batches(parts.train, LIGHT, 8, np.ones(len(parts.train), np.float32), 0, None, 3)
    images, targets, _ = next(iter(batches.epoch(0)))
    plain, one, other = np.split(np.asarray(images), 3)
    assert (one != plain).any() and (one != other).any()
    np.testing.assert_array_equal(*np.split(np.asarray(targets), 3)[:2])
    rows = np.random.default_rng([0, 0]).permutation(len(parts.train))[:8]
    np.testing.assert_array_equal(plain, parts.train.read(rows))


def test_the_average_is_its_definition_and_leaves_random_states():
    weight, state = keras.Variable(np.zeros(2, "float32")), keras.Variable([3, 4], dtype="uint32", trainable=False)
    ema, expected = EMA([weight, state], 0.5), np.zeros(2)
    for step, value in enumerate([1.0, 5.0, -2.0]):
        weight.assign([value, 2 * value])
        ema.update()
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * np.asarray([value, 2 * value])
    with ema.applied():
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)
        np.testing.assert_array_equal(state.numpy(), [3, 4])
    np.testing.assert_array_equal(weight.numpy(), [-2, -4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [cc.Stage(epochs=1, learning_rate=1e-3, monitor="shifted_loss")]}, "needs an altered copy"),
        ({"consistency": 12.0}, "expected an augmenter"),
        ({"consistency": 12.0, "augmenter": LIGHT, "mix": Mix()}, "expected one of them"),
        ({"ema": 1.0}, "ema=1.0; expected a number above 0 and below 1"),
    ],
)
def test_mistakes_are_reported(small_trainer, changes, message):
    with pytest.raises(OptionError, match=message):
        small_trainer(**changes).check_options()


def test_an_ensemble_is_the_mean_and_a_run(robust, parts, tmp_path):
    run, _ = robust
    other = cc.Run(copied(run.model), run.class_names, run.history, run.manifest)
    other.model.set_weights([0.9 * weights for weights in run.model.get_weights()])
    both = cc.ensemble([run, other])
    expected = (run.predict_proba(parts.val) + other.predict_proba(parts.val)) / 2
    np.testing.assert_allclose(both.predict_proba(parts.val), expected, atol=1e-5)
    again = cc.load_run(both.save(tmp_path / "both"))
    np.testing.assert_allclose(again.predict_proba(parts.val), expected, atol=1e-5)
    assert both.evaluate(parts.val).n == len(parts.val)
    with pytest.raises(OptionError, match="two or more"):
        cc.ensemble([run])
    other = cc.ensemble([run, other])
    other.class_names = ("a", "b", "c")
    with pytest.raises(DataError, match="differ in classes"):
        cc.ensemble([run, other])
