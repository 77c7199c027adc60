"""A training that is killed at any moment and started again ends as the one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import cellclf as cc

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")]

SCRIPT = """
import sys
import numpy as np
import cellclf as cc
from cellclf.training import Cache, Compute
from cellclf.training import epoch_steps

epoch_steps.SAVE_EVERY = 0.0  # as an epoch of hours would: a checkpoint after every batch
rng = np.random.default_rng(0)
labels = np.arange(96) % 2
images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (96, 32, 32, 3)).clip(0, 255).astype(np.uint8)
parts = cc.Split(val=0.25).apply(cc.ImageSet(images, labels))
trainer = cc.Trainer(
    backbone=cc.Backbone("residual", weights=None, params={"filters": [16, 16, 16]}),
    head=cc.Head(units=(64,)),
    augmenter=cc.Augmenter.preset("report", seed=5),
    stages=(
        cc.Stage(
            epochs=5,
            learning_rate=3e-3,
            unfreeze="all",
            train_batch_norm=True,
            schedule="cosine",
            warmup=1,
            image_size=16,
            strength=(0.2, 1.0),
            batch_size=24,
        ),
        cc.Stage(epochs=5, learning_rate=1e-3, unfreeze=1, reduce_patience=1),
        cc.Stage(epochs=5, learning_rate=1e-3),
    ),
    batch_size=16,
    accumulate=2,
    ema=0.9,
    sampling="balanced",
    cache=Cache(views=2),
    compute=Compute(deterministic=True),
)
run = trainer.fit(parts.train, parts.val, out=sys.argv[1], show=True)
"""


def start(folder, script):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
    )


def is_writing(folder):
    """Whether a checkpoint or a cache is being written this very moment."""
    try:
        return any(".part" in file for part in ("checkpoint", "cache") for file in os.listdir(folder / part))
    except FileNotFoundError:
        return False


def test_killed_at_ten_moments_and_continued_it_equals_the_run_that_was_not(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with start(whole, script) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    chance = random.Random(5)
    kills, half_written = 0, 0
    while kills < 10:
        with start(killed, script) as process:
            sign = "stage " if kills % 5 == 0 else "  loss "  # twice before an epoch is through, else after one
            going = next((line for line in process.stderr if sign in line), None)
            if kills % 2:  # every other time in the middle of writing
                while process.poll() is None and not is_writing(killed):
                    time.sleep(0.0003)
            else:
                time.sleep(chance.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.stderr.read()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, going
        kills += 1
        half_written += is_writing(killed)
    assert kills == 10, "the run was through before it was killed ten times: give it more epochs"
    assert half_written, "no kill met a file that was being written"
    with start(killed, script) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "resuming after epoch" in errors or "stage 3/3" not in errors
    one, other = cc.load_run(whole), cc.load_run(killed)
    for row in (*one.history, *other.history):
        row.pop("seconds")
    assert one.history == other.history
    for first, second in zip(one.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
    assert one.manifest["end_sha256"] == other.manifest["end_sha256"]
    assert not [file for file in killed.rglob("*") if ".part" in file.name or file.name == ".lock"]
    assert {file.name for file in killed.iterdir()} == {file.name for file in whole.iterdir()}
