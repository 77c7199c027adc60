"""A training that continues a run: what it takes over, what it adds, what it refuses; killed and repeated."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.training.start import STAGES, build_from, parent_of
from cellclf.training.trainer import with_all_settings

SHORT = (cc.Stage(epochs=2, learning_rate=1e-3), cc.Stage(epochs=1, learning_rate=1e-4, unfreeze="all"))


def cells(names, count=24, *, size=32, seed=0, first=20):
    """Give cells whose colour says their class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    images = rng.normal(first + 60 * labels[:, None, None, None], 20, (count, size, size, 3)).clip(0, 255)
    return cc.ImageSet(images.astype(np.uint8), labels, class_names=names, ids=[f"{seed}-{k}" for k in range(count)])


def starting(start, **changes):
    return cc.Trainer(**{"start": start, "stages": SHORT, "optimizer": "adamw", "batch_size": 8, **changes})


@pytest.fixture(scope="module")
def parent(parts, small_trainer, tmp_path_factory):
    """Give a run of three classes: dark, grey, light."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    stages = (cc.Stage(epochs=2, learning_rate=3e-3, unfreeze="all", train_batch_norm=True),)
    return small_trainer(stages=stages).fit(parts.train, parts.val, out=folder, show=False)


def test_the_network_is_the_runs_own_until_it_is_trained(parent, parts):
    model, blocks, layers = build_from(parent_of(parent.folder), 3, seed=1)
    np.testing.assert_array_equal(
        model.predict(parts.val.images, verbose=0), parent.model.predict(parts.val.images, verbose=0)
    )
    assert [block[-1].name for block in blocks] == ["block1_out", "block2_out", "block3_out"]
    assert {layer.name for layer in layers} == {layer.name for block in blocks for layer in block}
    before = [value.copy() for value in parent.model.get_weights()]
    model.set_weights([value + 1 for value in model.get_weights()])
    for old, now in zip(before, parent.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now, err_msg="the run itself is not changed")


def test_new_classes_get_small_rows_and_old_rows_are_kept(parent, parts):
    opened = parent_of(parent)
    model, _, _ = build_from(opened, 5, seed=1)
    kernel, bias = model.get_layer("probabilities").get_weights()
    old_kernel, old_bias = parent.model.get_layer("probabilities").get_weights()
    np.testing.assert_array_equal(kernel[:, :3], old_kernel)
    np.testing.assert_array_equal(bias[:3], old_bias)
    assert 0 < np.abs(kernel[:, 3:]).max() < old_kernel.std()
    found, was = (one.predict(parts.val.images, verbose=0) for one in (model, parent.model))
    np.testing.assert_allclose(found[:, :3] / found[:, :3].sum(1, keepdims=True), was, rtol=1e-4, atol=1e-6)
    again, _, _ = build_from(opened, 5, seed=1)
    other, _, _ = build_from(opened, 5, seed=2)
    for one, two in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert not np.array_equal(other.get_layer("probabilities").get_weights()[0], kernel)


def test_classes_are_matched_by_name_and_new_ones_come_last(parent, tmp_path):
    new = cells(["violet", "Light ", "dark"])
    with pytest.warns(cc.CellclfWarning, match="no training image of grey, which .* knows and may forget"):
        run = starting(parent.folder).fit(new, cells(["dark", "light", "violet"], 9, seed=1), out=tmp_path, show=False)
    assert run.class_names == ("dark", "grey", "light", "violet")
    assert run.model.name == "classifier" and len(run.history) == 3
    assert cc.load_run(tmp_path).predict_proba(new.images).shape == (24, 4)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parent"] == {
        "folder": str(parent.folder.resolve()),
        "weights_sha256": parent.manifest["end_sha256"],
        "class_names": ["dark", "grey", "light"],
        "augmented_with": [],
    }
    assert manifest["trainer"]["start"] == str(parent.folder.resolve()) and manifest["trainer"]["backbone"] is None
    again = parent_of(tmp_path)
    assert again.blocks == ("block1_out", "block2_out", "block3_out"), "it can be continued, too"
    assert len(build_from(again, 5, seed=0)[1]) == 3


def test_images_of_another_size_are_resized_to_those_of_the_run(parent):
    larger = cells(["dark", "grey", "light"], size=40)
    with pytest.warns(cc.CellclfWarning, match="40x40 pixels are resized to the 32x32"):
        starting(parent).check(larger, larger)
    with pytest.warns(cc.CellclfWarning, match="40x40 pixels are resized to the 32x32"):
        assert parent_of(parent).fitted(larger)[0].image_shape == (32, 32, 3)


def test_numbers_are_positions_of_the_runs_classes(parent):
    (found,) = parent_of(parent).fitted(cells(["0", "1", "2"]))
    assert found.class_names == ("dark", "grey", "light") and found.counts()["grey"] == 8
    with pytest.raises(cc.DataError, match=r"labels are numbers up to 3, and the run has 3 classes, 0 is dark"):
        parent_of(parent).fitted(cells(["0", "1", "3"]))


def test_without_stages_a_run_is_continued_at_a_low_rate(parent):
    trainer = cc.Trainer(start=parent.folder)
    assert trainer.stages is None and trainer.resolved().stages == STAGES
    assert max(stage.learning_rate for stage in STAGES) <= 1e-4 and STAGES[-1].learning_rate < 1e-4
    assert [s.epochs for s in cc.Trainer(backbone="residual").resolved().stages] == [30]


def test_an_epoch_that_is_worse_than_the_run_as_it_was_is_not_kept(parent, parts):
    ruin = (cc.Stage(epochs=2, learning_rate=50.0, unfreeze="all", monitor="val_log_loss"),)
    run = starting(parent, stages=ruin, optimizer="sgd").fit(parts.train, parts.val, show=False)
    assert not any(row["best"] for row in run.history)
    np.testing.assert_array_equal(run.predict_proba(parts.val), parent.predict_proba(parts.val))


def test_it_is_written_down_and_read_again(parent, tmp_path):
    trainer = starting(parent.folder)
    data = json.loads(json.dumps(trainer.to_dict()))
    assert cc.Trainer.from_dict(data) == trainer and data["start"] == str(parent.folder)
    assert cc.Trainer.from_dict(starting(parent).to_dict()).parent().class_names == parent.class_names
    settled = starting(parent.folder).resolved().to_dict()
    assert with_all_settings(settled) == settled
    memory = cc.Run(parent.model, parent.class_names)
    with pytest.raises(cc.RunFolderError, match="start='object Run' does not exist"):
        cc.Trainer.from_dict(starting(memory).to_dict()).parent()


BROUGHT = [
    ({"backbone": "mobilenet"}, r"start=.* and backbone='mobilenet': backbone, head and image size come from the run"),
    ({"backbone": cc.Backbone("mobilenet", weights="imagenet")}, r"backbone=Backbone\('mobilenet'.*come from the run"),
    ({"head": cc.Head(units=())}, r"start=.* and head=Head"),
    ({"image_size": 64}, "start=.* and image_size=64"),
    ({"backbone": "residual", "image_size": 64}, "backbone='residual', image_size=64"),
]


@pytest.mark.parametrize(("changes", "match"), BROUGHT)
def test_what_the_run_brings_cannot_be_given_as_well(parent, changes, match):
    with pytest.raises(cc.OptionError, match=match) as caught:
        starting(parent.folder, **changes).check_options()
    assert "\n" not in str(caught.value)


def test_a_trainer_needs_a_network():
    with pytest.raises(cc.OptionError, match="neither backbone nor start"):
        cc.Trainer().check_options()


def test_runs_that_cannot_be_continued_are_refused(parent, parts, tmp_path):
    with pytest.raises(cc.RunFolderError, match="nowhere' does not exist; expected the --out folder"):
        starting(tmp_path / "nowhere").check(parts.train, parts.val)
    (tmp_path / "empty").mkdir()
    with pytest.raises(cc.RunFolderError, match="holds no run"):
        starting(tmp_path / "empty").check_options()
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "manifest.json").write_text(json.dumps({"status": "training"}), encoding="utf-8")
    with pytest.raises(cc.RunFolderError, match="is not finished"):
        starting(unfinished).check_options()
    both = cc.ensemble([parent, parent])
    both.save(tmp_path / "both")
    for start in (both, tmp_path / "both"):
        with pytest.raises(cc.OptionError, match="is an ensemble of 2 networks"):
            starting(start).check(parts.train, parts.val)
    grey = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(cc.OptionError, match=r"takes images \(32, 32, 1\); expected a run for RGB"):
        starting(cc.Run(grey, parent.class_names)).check_options()
    with pytest.raises(cc.OptionError, match="has 3 blocks"):
        starting(parent, stages=[cc.Stage(epochs=1, learning_rate=1e-4, unfreeze=4)]).check_options()
    strange = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(cc.OptionError, match=r"ends in Dense .*; expected a run as a training makes it"):
        build_from(parent_of(cc.Run(strange, parent.class_names)), 3, seed=0)
    with pytest.raises(cc.DataError, match="which takes 32x32 and has 3 classes"):
        starting(parent).build((40, 40, 3), 3)
    with pytest.raises(cc.OptionError, match="learns the classes of y alone"):
        cc.CellClassifier(trainer=starting(parent)).check()


def test_classes_without_overlap_bring_a_warning(parent):
    other = cells(["round", "lobed"])
    with pytest.warns(cc.CellclfWarning, match="none of the classes round, lobed is one of"):
        starting(parent).check(other, other)


@pytest.mark.filterwarnings("ignore:no training image:cellclf.CellclfWarning")
def test_interrupted_it_resumes_as_if_it_had_not_been_and_only_with_the_same_run(parent, tmp_path):
    new, val = cells(["dark", "violet"]), cells(["dark", "violet"], 8, seed=1)
    stages = (SHORT[0], cc.Stage(epochs=2, learning_rate=1e-4, unfreeze=1))

    def fit(start, folder, **more):
        return starting(start, stages=stages).fit(new, val, out=folder, show=False, **more)

    def stop(row):
        if (row["stage"], row["epoch"]) == (1, 1):
            raise KeyboardInterrupt

    whole = fit(parent.folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(parent.folder, tmp_path / "killed", callbacks=[stop])
    moved = tmp_path / "moved"
    shutil.copytree(parent.folder, moved)
    again = fit(moved, tmp_path / "killed")
    for one, other in zip(whole.model.variables, again.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert whole.manifest["start_sha256"] == again.manifest["start_sha256"]
    other = cc.Run(build_from(parent_of(parent), 3, seed=0)[0], parent.class_names, manifest=dict(parent.manifest))
    other.model.set_weights([value * 2 for value in other.model.get_weights()])
    with pytest.raises(cc.RunFolderError, match=r"a run of other parent.weights_sha256"):
        fit(other, tmp_path / "killed")
