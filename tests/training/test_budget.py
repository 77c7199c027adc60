"""A training within a budget: by an injected clock, never by the time that a test takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import cellclf as cc
from cellclf.training.budget import Budget
from cellclf.training.pace import LEVELS, Pace, repeated
from cellclf.training.plan import Job, Speed, plan_stages


class Clock:
    """Goes on by a step each time that it is looked at."""

    def __init__(self, step=0.05, start=1000.0):
        self.now, self.step = start, step

    def __call__(self):
        self.now += self.step
        return self.now


class Hand:
    """Shows what it was set to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def paced(seconds, a_batch, *, part=(0.0, 1.0)):
    """Run a stage whose batches take what ``a_batch`` says; give the pace and the rate of each step."""
    hand = Hand()
    budget = Budget(1000, clock=hand)
    pace = Pace(1e-3, part, 0.05, budget, 0.0, seconds)
    pace.start()
    rates = []
    while not pace.over:
        rates.append(pace.rate)
        hand.now += a_batch(len(rates))
        pace.after_step()
    return pace, rates, hand


@pytest.mark.parametrize("seconds", [100.0, 300.0, 900.0])
def test_the_rate_is_at_its_end_when_the_time_is(seconds):
    pace, rates, hand = paced(seconds, lambda step: 0.5)
    assert rates[-1] < 0.02 * max(rates) and max(rates) > 0.99e-3
    assert 0.98 * seconds <= hand.now <= seconds
    assert rates[0] < 0.2e-3
    assert len(pace.done()["changes"]) <= LEVELS


@pytest.mark.parametrize(
    "a_batch",
    [
        lambda step: 20.0 if step == 1 else 0.5,  # compiling
        lambda step: 0.5 if step < 100 else 2.0,  # slowed down
        lambda step: 0.5 + 29 * (step % 37 == 0),  # another program
        lambda step: 12.0,  # hardly any batch
    ],
)
def test_a_slow_machine_ends_in_time_with_its_rate_at_the_end(a_batch):
    _, rates, hand = paced(300.0, a_batch)
    assert rates[-1] < 0.02e-3
    assert hand.now <= 330.0


def test_a_machine_that_slept_goes_on_where_it_was():
    pace, rates, hand = paced(300.0, lambda step: 7200.0 if step == 200 else 0.5)
    assert hand.now > 7400
    assert pace.budget.asleep == pytest.approx(7199.5)
    assert rates[-1] < 0.02e-3 and len(rates) > 590


def test_a_stage_whose_time_is_over_does_some_steps():
    pace, rates, _ = paced(0.0, lambda step: 1.0)
    assert 3 <= pace.steps <= 6 and rates[-1] < 0.02e-3


def test_a_stage_in_the_middle_hands_its_rate_on():
    _, first, _ = paced(100.0, lambda step: 0.5, part=(0.0, 0.6))
    _, second, _ = paced(100.0, lambda step: 0.5, part=(0.6, 1.0))
    assert first[-1] == pytest.approx(second[0], rel=0.05)
    assert second[-1] < 0.02e-3


def test_steps_are_repeated_whatever_the_time():
    pace, rates, _ = paced(100.0, lambda step: 0.3 + (step % 7) / 10)
    again = repeated(1e-3, [0.0, 1.0], 0.05, json.loads(json.dumps(pace.done())))
    again.start()
    found = []
    while not again.over:
        found.append(again.rate)
        again.after_step()
    assert found == rates


def test_a_pace_goes_on_from_a_checkpoint():
    hand = Hand()
    budget = Budget(1000, clock=hand)
    pace = Pace(1e-3, (0.0, 1.0), 0.05, budget, 0.0, 100.0)
    pace.start()
    for _ in range(50):
        hand.now += 1.0
        pace.after_step()
    saved = json.loads(json.dumps(pace.to_dict()))
    again = Pace(1e-3, (0.0, 1.0), 0.05, budget, 0.0, 0.0)
    again.load(saved)
    again.start()
    assert again.steps == 50 and again.end == 100.0
    assert again.rate == pytest.approx(pace.rate, rel=0.1)


def test_what_earlier_processes_took_counts(tmp_path):
    first = Budget(10, clock=Clock(1.0))
    first.open(tmp_path)
    for _ in range(20):
        first.keep()
    first.keep(now=True)
    second = Budget(10, clock=Clock(0.0, start=5.0))
    second.open(tmp_path)
    assert second.spent() == pytest.approx(first.spent(), abs=3.0)
    (tmp_path / ".budget").write_text("{")
    Budget(10, clock=Clock(0.0)).open(tmp_path)
    second.close()
    assert not list(tmp_path.iterdir())


def job(**changes):
    stage = cc.Stage(epochs=30, learning_rate=8e-4, unfreeze="all", warmup=1, schedule="cosine")
    settings = {
        **{"stages": [stage], "blocks": 13, "pretrained": True, "images": 9000, "scored": 4000},
        **{"own": (96, 96), "least": 32, "augmented": True},
    }
    return Job(**{**settings, **changes})


SPEED = Speed(train=0.007, predict=0.002, compile=8.0)


def test_a_short_time_begins_with_small_images():
    plan = plan_stages(job(), SPEED, 900.0)
    stages = [cc.Stage.from_dict(one) for one in plan["stages"]]
    assert [stage.image_size for stage in stages] == [64, None]
    assert [stage.strength for stage in stages] == [(0.4, 0.8), (0.8, 1.0)]
    assert plan["parts"] == [[0.0, pytest.approx(0.6)], [pytest.approx(0.6), 1.0]]
    assert sum(plan["shares"]) == pytest.approx(1)
    assert not plan["too_short"] and plan["needed"] > 1800
    assert all(stage.patience is None and stage.epochs < 30 for stage in stages)


def test_much_time_gives_more_epochs_but_not_without_end():
    plan = plan_stages(job(), SPEED, 4000.0)
    assert [stage["image_size"] for stage in plan["stages"]] == [None]
    assert 30 < plan["stages"][0]["epochs"] < 90 and plan["limit"] == 4000.0
    endless = plan_stages(job(), SPEED, 1e6)
    assert endless["limit"] == pytest.approx(3 * endless["needed"])


def test_hardly_any_time_trains_the_head():
    plan = plan_stages(job(), SPEED, 30.0)
    assert plan["too_short"] and [stage["unfreeze"] for stage in plan["stages"]] == [0]
    assert plan["stages"][0]["image_size"] is None
    random = plan_stages(job(pretrained=False), SPEED, 30.0)
    assert random["too_short"] and random["stages"][0]["unfreeze"] == "all"
    assert plan_stages(job(), SPEED, 0.0)["too_short"]


def test_stages_keep_their_shares_and_their_own_sizes():
    two = [cc.Stage(epochs=30, learning_rate=1e-3), cc.Stage(epochs=10, learning_rate=1e-4, unfreeze=2)]
    plan = plan_stages(job(stages=two), SPEED, 600.0)
    assert [stage["unfreeze"] for stage in plan["stages"]] == [0, 2]
    assert plan["shares"][0] > plan["shares"][1] and plan["parts"] == [[0.0, 1.0], [0.0, 1.0]]
    sized = [cc.Stage(epochs=9, learning_rate=1e-3, unfreeze="all", image_size=48), job().stages[0]]
    assert [stage["image_size"] for stage in plan_stages(job(stages=sized), SPEED, 600.0)["stages"]] == [48, None]
    same = [replace(job().stages[0], image_size=48), job().stages[0]]
    plan = plan_stages(job(stages=same), SPEED, 600.0)
    assert plan["parts"][0] == [0.0, plan["shares"][0]] and plan["parts"][1] == [plan["shares"][0], 1.0]
    assert [one["image_size"] for one in plan_stages(job(own=(40, 40)), SPEED, 900.0)["stages"]] == [None]


@pytest.fixture(scope="module")
def budgeted(small_trainer, parts, tmp_path_factory):
    """A training within 6 seconds of a clock, stopped once, and its budget at the end."""
    folder = tmp_path_factory.mktemp("runs") / "budgeted"
    how = {"train_batch_norm": True, "strength": (0.2, 1.0), "layer_decay": 0.7}
    stages = (cc.Stage(epochs=4, learning_rate=3e-3, unfreeze="all", **how),)
    trainer = small_trainer(augmenter=cc.Augmenter.preset("report", seed=1), stages=stages, soup=3)

    def stop(row):
        raise KeyboardInterrupt

    first = Budget(6 / 60, clock=Clock())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(parts.train, parts.val, out=folder, minutes=first, callbacks=[stop])
    with pytest.raises(cc.RunFolderError, match=r"other minutes"):
        trainer.fit(parts.train, parts.val, out=folder)
    second = Budget(6 / 60, clock=Clock(start=1.0))
    return trainer.fit(parts.train, parts.val, out=folder, minutes=second), folder, first, second


def test_stopped_and_resumed_it_keeps_to_the_sum(budgeted):
    run, folder, first, second = budgeted
    assert 0 < second.before <= first.spent()
    assert 5.0 < second.spent() < 6.6
    assert run.confidence is not None and not (folder / ".budget").exists()
    plan = run.manifest["chosen"]["budget"]
    assert len(plan["paces"]) == len(plan["stages"]) == 1 and run.manifest["minutes"] == pytest.approx(6 / 60)
    steps = [pace["steps"] for pace in plan["paces"]]
    seen = sum(row["images"] for row in run.history)
    assert 16 * (sum(steps) - len(run.history)) < seen <= 16 * sum(steps)


def test_a_rerun_repeats_its_steps_bit_for_bit(budgeted, parts):
    run, folder, _, _ = budgeted
    again = cc.rerun(folder, cells=(parts.train, parts.val))
    assert again.exact and again.matches, str(again)
    assert run.manifest["chosen"]["soup"] == again.second.manifest["chosen"]["soup"]
    assert again.second.manifest["chosen"]["budget"]["paces"] == run.manifest["chosen"]["budget"]["paces"]


def test_no_time_still_ends_with_a_calibrated_run_and_its_report(small_trainer, parts, tmp_path):
    pipe = cc.Pipeline(trainer=small_trainer(), split=cc.Split(val=0.25, seed=1))
    cells = parts.train
    with pytest.warns(cc.CellclfWarning, match=r"too short: \d+ images seen, of 54"):
        outcome = pipe.run(cells, out=tmp_path / "run", minutes=Budget(0.01, clock=Clock()))
    assert outcome.page.exists() and outcome.run.confidence is not None
    for name in ("report.html", "report.md"):
        assert "A budget of 0.01 minutes was too short" in (tmp_path / "run" / name).read_text("utf-8"), name
    assert np.isfinite(outcome.run.predict_proba(cells)).all()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "20", True])
def test_no_time_at_all_is_refused(small_trainer, parts, minutes):
    with pytest.raises(cc.OptionError, match="minutes="):
        small_trainer().fit(parts.train, parts.val, minutes=minutes)
