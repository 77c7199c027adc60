from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import cellclf as cc
from cellclf.augmentation.mixing import Mix
from cellclf.training import epoch_steps
from cellclf.training.signals import Interrupt

pytestmark = pytest.mark.skipif(os.name == "nt", reason="os.kill ends a process on Windows, whatever the signal")


class Stopping(Mix):
    """The same mix, whose seventh batch presses Ctrl-C."""

    batches = 0

    def draw(self, ids, epoch):
        Stopping.batches += 1
        if Stopping.batches == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return super().draw(ids, epoch)


def weights(run):
    return [np.asarray(variable) for variable in run.model.variables]


def rows(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]


def test_signals_are_recorded_and_the_second_one_stops():
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_handler_of_the_program_around_it_is_left_alone():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append(1))
    try:
        interrupt = Interrupt()
        with interrupt.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        assert calls == [1] and not interrupt.asked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_ends_after_the_batch_and_the_same_call_resumes_within_the_epoch(
    small_trainer, parts, tmp_path, caplog, monkeypatch
):
    stages = (cc.Stage(epochs=3, learning_rate=3e-3, unfreeze="all", train_batch_norm=True, schedule="cosine"),)
    whole = small_trainer(mix=Mix(), ema=0.9, stages=stages).fit(parts.train, parts.val)
    monkeypatch.setattr(Stopping, "batches", 0)
    with pytest.raises(KeyboardInterrupt, match=rf"stopped after . of . batches of epoch 2.*{tmp_path.name}.*resumes"):
        small_trainer(mix=Stopping(), ema=0.9, stages=stages).fit(parts.train, parts.val, out=tmp_path)
    caplog.set_level("INFO", "cellclf")
    run = small_trainer(mix=Mix(), ema=0.9, stages=stages).fit(parts.train, parts.val, out=tmp_path)
    assert "resuming after epoch 1 and " in caplog.text
    for one, other in zip(rows(whole), rows(run), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    for one, other in zip(weights(whole), weights(run), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_long_epoch_is_saved_in_between(small_trainer, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(epoch_steps, "SAVE_EVERY", 0.0)
    stages = (cc.Stage(epochs=1, learning_rate=3e-3, unfreeze="all"),)
    monkeypatch.setattr(Stopping, "batches", -100)
    seen = []

    class Looking(Mix):
        def draw(self, ids, epoch):
            seen.append((tmp_path / "checkpoint" / "epoch.npz").exists())
            return super().draw(ids, epoch)

    small_trainer(mix=Looking(), stages=stages, batch_size=4).fit(parts.train, parts.val, out=tmp_path)
    assert not seen[0] and seen[-1]
