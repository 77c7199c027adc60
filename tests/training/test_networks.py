"""The network of a job within a budget: what is chosen from what was measured, and that it is chosen once."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.backbones import Pretrained, list_pretrained
from cellclf.backbones.applications import SPECS, is_downloaded
from cellclf.backbones.registry import list_backbones
from cellclf.training import networks, pretrained_here
from cellclf.training.budget import Budget
from cellclf.training.networks import accuracy_of, choose_network, keeps_network
from cellclf.training.plan import Speed

ALL = (cc.Stage(epochs=4, learning_rate=1e-3, unfreeze="all", train_batch_norm=True),)


class Clock:
    def __init__(self, step=0.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def chosen(monkeypatch, parts):
    """Give a function that says which network is chosen where these are measured: name -> accuracy, share."""

    def choose(known, *, own="mobilenet", minutes=20.0, loaded=True, a_look=0.0):
        measured = []

        def measure(trainer, train, val, budget, rows, speeds):
            name = trainer.used_backbone().name
            measured.append(name)
            rows.append(
                {"network": name, "accuracy": known[name][0], "images_per_second": 100.0, "share": known[name][1]}
            )
            speeds[name] = Speed(train=0.01, predict=0.002, compile=1.0)

        monkeypatch.setattr(networks, "accuracy_of", lambda network: known[network.name][0])
        monkeypatch.setattr(networks, "_measure", measure)
        monkeypatch.setattr(networks, "_fits", lambda *_: True)
        monkeypatch.setattr(cc.Backbone, "check_published", lambda self: None)
        budget = Budget(minutes, clock=Clock(a_look))
        ranked = sorted(known, key=lambda name: known[name][0])
        trainer, record = choose_network(
            cc.Trainer(backbone=own, stages=ALL),
            [cc.Backbone(name) for name in ranked],
            parts.train,
            parts.val,
            budget,
            own=loaded,
        )
        name = trainer.used_backbone().name
        assert record["taken"]["name"] == name
        assert (budget.speed is None) == (name not in measured)
        return name, measured

    return choose


KNOWN = {"mobilenet": (0.684, 0.9), "resnet50": (0.749, 0.2), "efficientnetv2b0": (0.787, 0.6), "xception": (0.79, 0.4)}


def test_the_most_accurate_that_gets_through_half_is_taken(chosen):
    assert chosen(KNOWN) == ("efficientnetv2b0", ["mobilenet", "resnet50", "efficientnetv2b0", "xception"])


def test_a_slow_own_network_gives_way_to_a_faster_one(chosen):
    known = {"mobilenet": (0.684, 0.8), "xception": (0.79, 0.3), "inceptionv3": (0.8, 0.2)}
    assert chosen(known, own="xception") == ("mobilenet", ["xception", "mobilenet"])


def test_where_none_gets_through_half_the_furthest_is_taken(chosen):
    known = {"mobilenet": (0.684, 0.2), "resnet50": (0.749, 0.3), "xception": (0.79, 0.1)}
    assert chosen(known)[0] == "resnet50"


def test_a_short_time_is_not_spent_on_measuring(chosen):
    assert chosen(KNOWN, minutes=3.0) == ("mobilenet", [])
    assert chosen(KNOWN, a_look=40.0)[1] == ["mobilenet", "resnet50"], "a twentieth of 20 minutes"


def test_weights_that_cannot_be_loaded_are_replaced(chosen):
    assert chosen(KNOWN, loaded=False)[0] == "efficientnetv2b0"
    assert chosen(KNOWN, loaded=False, minutes=3.0)[0] == "resnet50"
    with pytest.raises(cc.OptionError, match="name one"):
        chosen({"mobilenet": (0.684, 0.9)}, loaded=False)


def test_networks_that_name_layers_or_begin_at_random_are_kept():
    assert not keeps_network(cc.Trainer(backbone="mobilenet", stages=ALL))
    assert "name layers" in keeps_network(cc.Trainer(backbone="mobilenet"))
    assert "random" in keeps_network(cc.Trainer(backbone="residual", stages=ALL))
    assert "continues" in keeps_network(cc.Trainer(start="runs/a", stages=ALL))


def test_too_small_images_and_damaged_networks_are_left_out(parts):
    small = parts.train
    assert not networks._fits(cc.Trainer(backbone="inceptionv3", stages=ALL), small)
    assert not networks._fits(cc.Trainer(backbone="mobilenet", stages=ALL), small), "a map of 1x1"
    assert networks._fits(cc.Trainer(backbone="mobilenet", image_size=96, stages=ALL), small)


# --- what is known of published weights


def test_accuracies_belong_to_their_parameters():
    assert accuracy_of(cc.Backbone("mobilenet")) == 0.706
    assert accuracy_of(cc.Backbone("mobilenet", weights="imagenet", params={"alpha": 0.25})) == 0.506
    assert accuracy_of(cc.Backbone("mobilenet", params={"alpha": 0.3})) is None
    assert accuracy_of(cc.Backbone("xception", weights="a.weights.h5")) is None
    assert accuracy_of(cc.Backbone("residual")) is None


def test_the_files_are_those_that_keras_downloads(tmp_path, monkeypatch):
    source = {name: inspect.getsource(getattr(keras.src.applications, name)) for name in dir(keras.src.applications)
              if inspect.ismodule(getattr(keras.src.applications, name))}  # fmt: skip
    texts = "".join(source.values()).replace('"\n                "', "")
    for spec in SPECS:
        for one in spec.pretrained:
            (file,) = one.at_hand.args
            kinds = {"mobilenet": "_tf_no_top.h5", "efficientnetv2b0": "_notop.h5", "convnexttiny": "_notop.h5"}
            end = kinds.get(spec.name, file.removeprefix("resnet50"))
            assert file.endswith(end) and end.replace("_weights", "", 1) in texts.replace("_weights", ""), file
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = "mobilenet_7_5_224_tf_no_top.h5"
    assert not is_downloaded(file) and not {entry.plugin for entry, _ in list_pretrained()} & {None}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file).touch()
    assert is_downloaded(file)
    assert cc.Backbone("mobilenet", weights="imagenet", params={"alpha": 0.75}) in pretrained_here()


def test_every_description_holds_and_a_broken_one_stops_nothing(monkeypatch):
    for entry in list_backbones():
        entry.spec.check()
    found = [accuracy_of(network) for network in pretrained_here()]
    assert found == sorted(found)

    def broken():
        raise RuntimeError("no such folder")

    spec = next(entry.spec for entry in list_backbones() if entry.spec.pretrained)
    monkeypatch.setitem(spec.__dict__, "pretrained", (Pretrained(accuracy=0.5, at_hand=broken),))
    assert spec.name not in {entry.spec.name for entry, _ in list_pretrained()}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("accuracy", 75.1, "below 1"),
        ("accuracy", True, "below 1"),
        ("at_hand", "yes", "expected a function"),
        ("weights", "imagenet21k", "published weights"),
        ("params", {"alpa": 1.0}, "did you mean 'alpha'"),
    ],
)
def test_what_is_wrong_in_a_description_is_named(field, value, message):
    mobilenet = next(spec for spec in SPECS if spec.name == "mobilenet")
    good = {"accuracy": 0.7, "at_hand": np.array, "weights": "imagenet", "params": {}}
    from dataclasses import replace

    with pytest.raises((cc.OptionError, cc.UnknownNameError), match=message):
        replace(mobilenet, pretrained=(Pretrained(**{**good, field: value}),)).check()
