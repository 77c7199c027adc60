"""Distillation: the loss, the same view for teacher and network, and that a stop and a rerun change nothing."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
from keras import ops

import cellclf as cc
from cellclf.augmentation import Mix
from cellclf.pipeline.recipe import make_trainer
from cellclf.runs.run import Run
from cellclf.training import Compute, Teacher
from cellclf.training.losses import make_loss
from cellclf.training.teacher import frozen, taught, taught_accuracy, taught_loss

pytestmark = pytest.mark.backend


def softmax(logits):
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


def network(shape=(32, 32, 3), width=16, seed=0, names=("dark", "grey", "light")):
    trainer = cc.Trainer(backbone=cc.Backbone("residual", weights=None, params={"filters": [width] * 3}), seed=seed)
    return Run(trainer.build(shape, len(names)), names, [], {"status": "finished", "class_names": list(names)})


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (4.0, 0.7), (2.0, 0.0)])
def test_the_loss_is_as_it_is_defined(temperature, weight):
    rng = np.random.default_rng(0)
    own, teachers = rng.normal(0, 2, (2, 5, 4)).astype("float32")
    targets = np.eye(4, dtype="float32")[[0, 1, 2, 3, 0]]
    p, q = softmax(own / temperature), softmax(teachers / temperature)
    expected = -(1 - weight) * np.log(softmax(own))[targets == 1] + weight * temperature**2 * (q * np.log(q / p)).sum(1)
    loss = taught_loss(make_loss(0.0, reduction=None), temperature, weight)
    both = np.concatenate([softmax(own), softmax(teachers)], 1)
    assert float(ops.convert_to_numpy(loss(targets, both))) == pytest.approx(expected.mean(), rel=1e-4)
    rows = np.float32([1, 0, 0, 2, 0])
    weighted = float(ops.convert_to_numpy(loss(targets, both, sample_weight=rows)))
    assert weighted == pytest.approx((expected * rows).mean(), rel=1e-4)
    accuracy = taught_accuracy(4)
    accuracy.update_state(targets, both)
    assert float(ops.convert_to_numpy(accuracy.result())) == pytest.approx((own.argmax(1) == targets.argmax(1)).mean())


def test_it_sees_the_same_images_at_its_own_size_and_is_never_trained():
    student, large = network().model, network((48, 48, 3), seed=1).model
    before = [variable.numpy() for variable in large.variables]
    model = taught(student, frozen(large), [2, 0, 1])
    assert [v.path for v in model.trainable_variables] == [v.path for v in student.trainable_variables]
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype("uint8")
    found = ops.convert_to_numpy(model(images, training=True))
    resized = keras.layers.Resizing(48, 48, interpolation="bilinear", dtype="float32")(images.astype("float32"))
    expected = ops.convert_to_numpy(large(resized, training=False))
    np.testing.assert_allclose(found[:, 3:], expected[:, [2, 0, 1]], atol=1e-5)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=taught_loss(make_loss(0.0, reduction=None), 2.0, 1.0))
    old = student.trainable_variables[0].numpy()
    model.fit(images, np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]], verbose=0)
    assert not np.array_equal(old, student.trainable_variables[0].numpy())
    again = ops.convert_to_numpy(model(images, training=False))[:, 3:]
    np.testing.assert_allclose(again, found[:, 3:], atol=1e-6)
    assert all(np.array_equal(one, v.numpy()) for one, v in zip(before, large.variables, strict=True))


def test_what_cannot_teach_is_refused(small_trainer, parts, tmp_path):
    for wrong in ({"temperature": 0}, {"temperature": float("nan")}, {"weight": 1.5}, {"run": 3}):
        with pytest.raises(cc.OptionError, match=next(iter(wrong))):
            small_trainer(teacher=Teacher(**{"run": "runs/a", **wrong})).check_options()
    with pytest.raises(cc.RunFolderError, match="holds no finished run"):
        small_trainer(teacher=Teacher(run=tmp_path)).check(parts.train, parts.val)
    other = Teacher(run=network(names=("dark", "grey", "white")))
    with pytest.raises(cc.DataError, match=r"classes dark, grey, white and the training set dark, grey, light"):
        small_trainer(teacher=other).check(parts.train, parts.val)
    with pytest.raises(cc.OptionError, match="consistency=12 cannot be combined"):
        augmenter = cc.Augmenter.preset("light")
        small_trainer(teacher=Teacher(run=network()), consistency=12, augmenter=augmenter).check_options()
    with pytest.raises(cc.OptionError, match="pipeline='device' cannot be combined"):
        small_trainer(teacher=Teacher(run=network()), compute=Compute(pipeline="device")).check_options()
    with pytest.raises(cc.OptionError, match=r"teacher=.*expected"):
        small_trainer(teacher="runs/a").check_options()


def test_it_is_written_and_read_as_data(small_trainer, tmp_path):
    trainer = small_trainer(teacher=Teacher(run=str(tmp_path), temperature=3.0))
    assert cc.Trainer.from_dict(trainer.to_dict()) == trainer
    table = {"backbone": {"name": "mobilenet"}, "teacher": {"run": "runs/a", "weight": 1.0}}
    assert make_trainer(table, 0).teacher == Teacher(run="runs/a", weight=1.0)
    run = network()
    run.folder = tmp_path
    assert Teacher(run=run).to_dict()["run"] == str(tmp_path.resolve())


@pytest.mark.slow
def test_a_network_learns_from_an_ensemble_and_a_stop_and_a_rerun_change_nothing(small_trainer, parts, tmp_path):
    stages = (cc.Stage(epochs=5, learning_rate=5e-3, unfreeze="all", train_batch_norm=True),)
    members = [small_trainer(stages=stages, seed=seed).fit(parts.train, parts.val) for seed in (1, 2)]
    cc.ensemble(members).save(tmp_path / "large")
    names = parts.train.class_names[::-1]
    train, val = (part.align(names) for part in (parts.train, parts.val))
    stages = (cc.Stage(epochs=5, learning_rate=5e-3, unfreeze="all", train_batch_norm=True, image_size=24),
              cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1))  # fmt: skip
    trainer = small_trainer(
        stages=stages,
        augmenter=cc.Augmenter.preset("light", seed=2),
        mix=Mix(kind="mixup", seed=3),
        ema=0.8,
        teacher=Teacher(run=tmp_path / "large", weight=1.0),
    )
    whole = trainer.fit(train, val)
    assert whole.manifest["teacher"]["folder"] == str((tmp_path / "large").resolve())
    assert whole.manifest["chosen"]["cache"] == [False, False]
    losses = [row["loss"] for row in whole.history if row["stage"] == 1]
    assert losses[-1] < 0.7 * losses[0] and whole.evaluate(val, show=False).accuracy > 0.6

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(train, val, out=tmp_path / "a", callbacks=[stop])
    resumed = trainer.fit(train, val, out=tmp_path / "a")
    assert resumed.manifest["end_sha256"] == whole.manifest["end_sha256"]
    again = cc.rerun(tmp_path / "a", cells=(train, val))
    assert again.exact and again.matches, str(again)
    alone = cc.Trainer.from_dict(trainer.to_dict() | {"teacher": None})
    with pytest.raises(cc.RunFolderError, match=r"other trainer\.teacher"):
        alone.fit(train, val, out=tmp_path / "a")
    shutil.rmtree(tmp_path / "large")
    cc.ensemble(members[::-1]).save(tmp_path / "large")
    with pytest.raises(cc.RunFolderError, match="is not the teacher that"):
        cc.rerun(tmp_path / "a", cells=(train, val))
