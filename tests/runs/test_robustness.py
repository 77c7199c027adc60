from __future__ import annotations

import json

import numpy as np
import pytest
import tomli_w

import cellclf as cc
from cellclf.augmentation.steps.optics import JPEG, Blur
from cellclf.errors import DataError, UnknownNameError
from cellclf.evaluation.robustness.measure import robustness
from cellclf.runs.robustness import augmented_with


class Light:
    """A model as small as they come: three classes by the mean level."""

    input_shape = (None, 32, 32, 3)
    output_shape = (None, 3)
    jit_compile = False

    def predict_on_batch(self, images):
        far = (
            -np.abs(np.asarray(images, np.float32).mean((1, 2, 3))[:, None] - np.array([60, 120, 180], np.float32)) / 20
        )
        probabilities = np.exp(far)
        return probabilities / probabilities.sum(1, keepdims=True)

    __call__ = predict_on_batch


@pytest.fixture
def run(parts):
    run = cc.Run(Light(), parts.train.class_names, [], {"trainer": {"augmenter": None}})
    run.runtime = "keras"  # it is no network that could be converted
    return run


def test_what_the_training_has_seen_is_read_from_the_run(run, tmp_path):
    assert augmented_with(run) == ()
    trainer = {"augmenter": cc.Augmenter([JPEG()]).to_dict(), "val_augmenter": cc.Augmenter([Blur()]).to_dict()}
    run.manifest = {"trainer": trainer | {"mix": {"kind": "cutmix"}}}
    assert augmented_with(run) == ("jpeg", "blur", "cutmix")
    trainer["augmenter"]["strength"] = 0.0
    assert augmented_with(cc.Run(run.model, run.class_names, [], {"trainer": trainer})) == ("blur",)
    both = {"members": [run.manifest, {"trainer": {"augmenter": cc.Augmenter.preset("report").to_dict()}}]}
    seen = augmented_with(cc.Run(run.model, run.class_names, [], both))
    assert set(seen) == {"blur", "cutmix", "rotate", "flip", "zoom", "brightness", "noise"}
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps({"expand": {"preset": "report"}}))
    expanded = cc.Run(run.model, run.class_names, [], {}, tmp_path)
    assert augmented_with(expanded) == cc.Augmenter.preset("report").names()


def test_classes_are_matched_by_name(run, parts):
    run.manifest = {"trainer": {"augmenter": cc.Augmenter([JPEG()]).to_dict()}}
    found = run.robustness(parts.val, seed=2)
    expected = robustness(run.predict_proba, parts.val, seen=["compression"], seed=2)
    assert found.to_dict() == expected.to_dict() and found.seen == ("compression",)
    names = np.array(parts.val.class_names)
    turned = parts.val.replace(labels=2 - parts.val.labels, class_names=names[::-1])
    assert run.robustness(turned, seed=2).mean == found.mean
    assert run.robustness(parts.val, seen=["blur"], seed=2).seen == ("blur",)


def test_a_set_is_matched_by_its_names_or_numbers(run, parts, tmp_path):
    dark = cc.ImageSet(parts.val.images // 2, parts.val.labels)
    dark.save(tmp_path / "dark.npz")
    found = run.robustness(parts.val, tmp_path / "dark.npz")
    assert found.suite == "dark" and found.mean < found.clean
    with pytest.raises(DataError, match="knows no class"):
        run.robustness(parts.val, cc.ImageSet(dark.images, dark.labels, class_names=["a", "b", "c"]))
    with pytest.raises(UnknownNameError, match="no suite"):
        run.robustness(parts.val, "imagenet-c")
    assert json.dumps(found.to_dict(), allow_nan=False)
