"""A whole job within a budget: images and network are chosen once, a stop and a rerun repeat both."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cellclf as cc
from cellclf.pipeline import budget as job_budget
from cellclf.pipeline.budget import sampled, share_in_time
from cellclf.pipeline.home import Joined
from cellclf.training import networks
from cellclf.training.budget import Budget

ALL = (cc.Stage(epochs=4, learning_rate=1e-3, unfreeze="all", train_batch_norm=True),)


class Clock:
    """Goes on by a step each time that it is looked at."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two networks whose weights are in files, so that they count as trained ones."""
    folder, found = tmp_path_factory.mktemp("weights"), []
    for width in (16, 8):
        params, path = {"filters": [width] * 3}, folder / f"{width}.weights.h5"
        cc.Backbone("residual", weights=None, params=params).build((32, 32, 3)).save_weights(path)
        found.append(cc.Backbone("residual", weights=str(path), params=params))
    return found


@pytest.fixture(scope="module")
def job(two, parts, small_trainer, tmp_path_factory):
    """A job that took some images and the second of two networks, was stopped, and went on without a second choice."""
    folder = tmp_path_factory.mktemp("runs") / "chosen"
    pipe = cc.Pipeline(
        trainer=small_trainer(backbone=two[0], stages=ALL), dedup=cc.Dedup(), split=cc.Split(val=0.25, seed=1)
    )

    def stop(row):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "accuracy_of", lambda network: 0.8 if network.params["filters"][0] == 8 else 0.7)
        patch.setattr(networks, "_MEASURING", 1.0)
        patch.setattr(job_budget, "_LEAST", 5)
        patch.setattr(job_budget, "CLEANING", 0.0015)
        with pytest.raises(KeyboardInterrupt):
            pipe.run(parts.train, out=folder, minutes=Budget(6, clock=Clock(4.0)), networks=two, callbacks=[stop])
        early = json.loads((folder / "manifest.json").read_text("utf-8"))
        patch.setattr(job_budget, "choose_network", None)
        patch.setattr(job_budget, "share_in_time", None)
        outcome = pipe.run(parts.train, out=folder, minutes=Budget(6, clock=Clock(4.0)), networks=two)
        again = cc.rerun(folder, cells=parts.train)
    return outcome, early, folder, again


@pytest.mark.slow
def test_a_network_is_measured_chosen_and_kept(job):
    outcome, early, folder, _ = job
    record = outcome.run.manifest["network"]
    assert record == early["network"]
    assert [row["network"] for row in record["measured"]] == [f"residual (filters={[n] * 3})" for n in (16, 8)]
    assert all(row["images_per_second"] > 0 and row["share"] > 0 for row in record["measured"])
    assert record["taken"] == outcome.run.manifest["trainer"]["backbone"]
    assert record["taken"]["params"] == {"filters": [8, 8, 8]}
    assert cc.Pipeline.from_recipe(folder).trainer.backbone.params == {"filters": [8, 8, 8]}


@pytest.mark.slow
def test_as_many_images_are_cleaned_as_the_time_allows(job, parts):
    outcome, early, folder, _ = job
    sample = early["chosen"]["sample"]
    assert outcome.run.manifest["chosen"]["sample"] == sample
    assert sample["of"] == len(parts.train) and 15 <= sample["images"] < len(parts.train)
    assert len(outcome.prepared.before) == sample["images"]
    text = (folder / "report.md").read_text("utf-8")
    assert f"too short for all images: {sample['images']} of {sample['of']} were cleaned and used" in text
    assert "Next: give it more time" in text and "cellclf run SRC --minutes" in text


@pytest.mark.slow
def test_a_rerun_takes_the_same_images_network_and_steps(job):
    again = job[3]
    assert again.exact and again.matches, str(again)
    chosen = [run.manifest["chosen"] for run in (again.first, again.second)]
    assert chosen[0]["budget"]["paces"] == chosen[1]["budget"]["paces"]
    assert chosen[0]["sample"] == chosen[1]["sample"]


def test_all_images_are_taken_where_there_is_time_for_all(parts, monkeypatch):
    dedup = cc.Dedup()
    assert share_in_time(parts.train, dedup, None, Budget(0.001)) is None, "few images are always used"
    monkeypatch.setattr(job_budget, "_LEAST", 5)
    assert share_in_time(parts.train, dedup, None, Budget(60)) is None
    assert share_in_time(parts.train, None, None, Budget(0.001)) is None
    assert share_in_time(parts.train, dedup, None, Budget(0.001, clock=Clock(1.0)))["share"] == 0


def test_a_sample_keeps_classes_their_shares_and_its_images(monkeypatch):
    labels = np.repeat([0, 1, 2], [600, 200, 12])
    cells = cc.ImageSet(np.zeros((812, 8, 8, 3), np.uint8), labels, class_names=["a", "b", "c"])
    taken = sampled(Joined(cells, home=frozenset(cells.ids[::2].tolist())), {"share": 0.3})
    assert taken.given.counts() == {"a": 180, "b": 60, "c": 12}
    assert taken.home == {*cells.ids[::2].tolist()} & {*taken.given.ids.tolist()}
    again = sampled(Joined(cells), {"share": 0.3, "images": 252})
    assert again.given.ids.tolist() == taken.given.ids.tolist()
    assert sampled(Joined(cells), None).given is cells
    given = cc.Split(val=0.25).apply(cells)
    fewer = sampled(Joined(given), {"share": 0.1}).given
    assert len(fewer.val) == len(given.val) and len(fewer.train) < len(given.train) / 4
