"""Which numbers a training computes in: tried once, kept by a stop and by a rerun."""

from __future__ import annotations

import json

import keras
import pytest

import cellclf as cc
from cellclf.training import Compute, precision_trial
from cellclf.training.budget import Budget
from cellclf.training.chosen import choose
from cellclf.training.precision_trial import _fastest, _ways, try_precisions

pytestmark = pytest.mark.backend


def row(precision, compiled, speed):
    found = {"precision": precision, "jit_compile": compiled, "error": "" if speed else "no such kernel"}
    return found | ({"images_per_second": speed} if speed else {})


@pytest.mark.parametrize(
    ("speeds", "taken"),
    [
        ((100.0, 150.0, 90.0, None), 1),
        ((100.0, 109.0, 90.0, 80.0), 0),  # chance decides on no digits
        ((100.0, 20.0, None, 112.0), 3),
        ((None, None, 5.0, None), 2),
        ((None, None, None, None), 0),
    ],
)
def test_what_is_clearly_faster_is_taken(speeds, taken):
    ways = [("float32", False), ("mixed_bfloat16", False), ("float32", True), ("mixed_bfloat16", True)]
    rows = [row(*way, speed) for way, speed in zip(ways, speeds, strict=True)]
    assert _fastest(rows) is rows[taken]


def test_xla_is_tried_where_it_is_left_open_and_there():
    usual = [(None, False), ("mixed_bfloat16", False)]
    assert _ways(Compute(precision="auto"), False, "tensorflow") == [*usual, (None, True), ("mixed_bfloat16", True)]
    assert _ways(Compute(precision="auto"), False, "torch") == usual
    assert _ways(Compute(precision="auto", jit_compile=False), False, "tensorflow") == usual
    assert _ways(Compute(precision="auto", deterministic=True), False, "tensorflow") == usual
    assert _ways(Compute(precision="auto"), True, "jax") == [(None, True), ("mixed_bfloat16", True)]


def test_without_a_trial_it_is_float32(small_trainer, parts):
    Compute(precision="auto").check()
    trainer = small_trainer(compute=Compute(precision="auto"))
    model = trainer.build((32, 32, 3), 3)
    assert choose(model, trainer.compute)["precision"] == "float32"
    found = try_precisions(trainer, model, parts.train, parts.val, Budget(1))
    assert found == {"precision": "float32", "trial": []}
    known = choose(model, trainer.compute, {"precision": "mixed_bfloat16", "trial": [row("float32", False, 9.0)]})
    assert known["precision"] == "mixed_bfloat16" and known["trial"][0]["images_per_second"] == 9.0


@pytest.mark.slow
def test_each_way_is_measured(small_trainer, parts, monkeypatch):
    trainer = small_trainer(compute=Compute(precision="auto"), augmenter=cc.Augmenter.preset("light", seed=1))
    model = trainer.build((32, 32, 3), 3)
    before = [variable.numpy() for variable in model.variables]
    found = try_precisions(trainer, model, parts.train, parts.val)
    xla = keras.config.backend() == "tensorflow"
    assert [one["precision"] for one in found["trial"]] == ["float32", "mixed_bfloat16"] * (2 if xla else 1)
    assert all(one["error"] or one["images_per_second"] > 0 for one in found["trial"])
    assert not found["trial"][0]["error"] and found["backend"] == keras.config.backend()
    assert all((one == variable.numpy()).all() for one, variable in zip(before, model.variables, strict=True))


@pytest.mark.slow
def test_it_is_tried_once_and_kept_by_a_stop_and_a_rerun(small_trainer, parts, tmp_path, monkeypatch):
    tried = []

    def pretended(trainer, train, val, precision, compiled):
        tried.append(precision)
        return row(precision or "float32", compiled, 200.0 if precision and len(tried) == 2 else 100.0)

    def stop(row):
        raise KeyboardInterrupt

    monkeypatch.setattr(precision_trial, "_tried", pretended)
    stages = (cc.Stage(epochs=2, learning_rate=3e-3, unfreeze="all", train_batch_norm=True),)
    trainer = small_trainer(stages=stages, compute=Compute(precision="auto"))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(parts.train, parts.val, out=tmp_path / "a", callbacks=[stop])
    count = len(tried)
    early = json.loads((tmp_path / "a" / "manifest.json").read_text("utf-8"))["chosen"]
    assert early["precision"] == "mixed_bfloat16" and len(early["trial"]) == count >= 2
    run = trainer.fit(parts.train, parts.val, out=tmp_path / "a")
    again = cc.rerun(tmp_path / "a", cells=(parts.train, parts.val))
    assert len(tried) == count and again.exact and again.matches, str(again)
    for one in (run, again.second):
        chosen = one.manifest["chosen"]
        assert [chosen[key] for key in ("precision", "trial")] == [early[key] for key in ("precision", "trial")]
    assert run.manifest["trainer"]["compute"]["precision"] == "auto"
    plain = small_trainer(stages=stages).fit(parts.train, parts.val)
    assert plain.history[0]["loss"] != run.history[0]["loss"], "it was computed in 16 bits"
