from __future__ import annotations

import os
import subprocess
import sys

import keras
import pytest

import cellclf as cc
from cellclf.training import Compute

several = pytest.mark.tensorflow("several devices share a batch")

SCRIPT = """
import json
import tensorflow as tf

kind = {kind!r}
if kind == "CPU":
    [device] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)

import cellclf as cc
import numpy as np
from cellclf.training import Cache, Compute

rng = np.random.default_rng(0)
labels = np.arange(64) % 2
images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (64, 32, 32, 3)).clip(0, 255).astype(np.uint8)
parts = cc.Split(val=0.25).apply(cc.ImageSet(images, labels))

def losses(devices):
    trainer = cc.Trainer(
        backbone=cc.Backbone("residual", weights=None, params={{"filters": [16, 16, 16]}}),
        head=cc.Head(units=(), dropout=0.0),
        stages=(
            cc.Stage(epochs=2, learning_rate=1e-3, unfreeze="all"),
            cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1, schedule="cosine"),
        ),
        optimizer="adamw",
        class_weight="balanced",
        batch_size=16,
        ema=0.9,
        cache=Cache(mode="disk") if devices == 1 else None,
        compute=Compute(devices=devices, precision={precision!r}),
    )
    run = trainer.fit(parts.train, parts.val)
    return [[row["loss"], row["val_loss"]] for row in run.history], run.predict_proba(parts.val).tolist()

print(json.dumps([losses(1), losses(2)]))
"""


def check(kind, precision, tolerance):
    import json

    import numpy as np

    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    script = SCRIPT.format(kind=kind, precision=precision)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(two[0], one[0], rtol=tolerance)
    np.testing.assert_allclose(two[1], one[1], atol=tolerance)


@several
def test_two_devices_give_what_one_gives():
    check("CPU", None, 2e-4)


@several
@pytest.mark.gpu
def test_two_gpus_give_what_one_gives():
    import tensorflow as tf

    if len(tf.config.list_physical_devices("GPU")) < 2:
        pytest.skip("expected two GPUs")
    check("GPU", None, 2e-3)


def test_more_devices_than_there_are_are_refused(small_trainer, parts):
    reason = {
        "tensorflow": r"devices=8, and TensorFlow sees 1 .*expected at most 1",
        "jax": "devices=8 needs TensorFlow, and Keras runs on JAX; expected devices=1",
        "torch": "devices=8 needs TensorFlow, and Keras runs on PyTorch; expected devices=1",
    }[keras.config.backend()]
    with pytest.raises(cc.OptionError, match=reason):
        small_trainer(compute=Compute(devices=8)).fit(parts.train, parts.val)
    with pytest.raises(cc.OptionError, match="a multiple of them"):
        small_trainer(compute=Compute(devices=3)).check_options()
    with pytest.raises(cc.OptionError, match="accumulate=2 cannot be combined"):
        small_trainer(compute=Compute(devices=2), accumulate=2).check_options()
