from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.training import Cache, Compute

STAGES = (
    cc.Stage(epochs=2, learning_rate=2e-3, unfreeze="all", train_batch_norm=True),
    cc.Stage(epochs=1, learning_rate=1e-3, unfreeze=1, schedule="one_cycle"),
)


@pytest.fixture(scope="module")
def plain(small_trainer, parts):
    return small_trainer(stages=STAGES, cache=None).fit(parts.train, parts.val)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_sixteen_bits_come_near_and_leave_a_model_of_32(small_trainer, parts, plain, precision, tmp_path):
    before = keras.config.dtype_policy().name
    trainer = small_trainer(stages=STAGES[:1], cache=None, compute=Compute(precision=precision))
    run = trainer.fit(parts.train, parts.val, out=tmp_path)
    assert keras.config.dtype_policy().name == before
    for row, exact in zip(run.history, plain.history, strict=False):
        assert row["loss"] == pytest.approx(exact["loss"], rel=0.1)
        assert row["loss"] != exact["loss"], "it was not computed in 16 bits"
    again = cc.load_run(tmp_path)
    assert {layer.dtype_policy.name for layer in again.model.layers} == {"float32"}
    assert {variable.dtype for variable in again.model.weights} == {"float32"}
    np.testing.assert_allclose(again.predict_proba(parts.val), run.predict_proba(parts.val), atol=1e-6)


def test_accumulated_batches_make_the_step_of_a_large_one(small_trainer, parts):
    stages = (cc.Stage(epochs=2, learning_rate=2e-3, unfreeze="all"),)
    settings = {"stages": stages, "head": cc.Head(units=(), dropout=0.0), "cache": None, "class_weight": "balanced"}
    large = small_trainer(**settings, batch_size=24, ema=0.9).fit(parts.train, parts.val)
    small = small_trainer(**settings, batch_size=12, ema=0.9, accumulate=2).fit(parts.train, parts.val)
    rates = [[row["learning_rate"] for row in run.history] for run in (large, small)]
    assert rates[0] == rates[1] == [pytest.approx(2e-3)] * 2
    for one, other in zip(small.history, large.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.02)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=0.02)


@pytest.mark.tensorflow("PyTorch compiles no step, and on JAX one that is not compiled takes minutes")
def test_xla_trains_the_same(small_trainer, parts):
    stages = (
        cc.Stage(epochs=2, learning_rate=2e-3, unfreeze="all", train_batch_norm=True),
        cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1, warmup=1),
    )
    settings = {
        "stages": stages,
        "head": cc.Head(units=(8,), dropout=0.0),
        "cache": Cache(mode="disk"),
        "optimizer": "lion",
    }
    runs = [
        small_trainer(**settings, compute=Compute(jit_compile=jit)).fit(parts.train, parts.val) for jit in (False, True)
    ]
    plain, compiled = (np.array([[row["loss"], row["val_loss"]] for row in run.history]) for run in runs)
    np.testing.assert_allclose(compiled, plain, rtol=0.01)
    assert (compiled != plain).any(), "XLA rounds otherwise: it was not used"
    assert [run.manifest["chosen"]["jit_compile"] for run in runs] == [False, True]


@pytest.mark.skipif(keras.config.backend() != "torch", reason="compiles training steps")
def test_compiled_steps_are_refused_on_pytorch(small_trainer, parts):
    with pytest.raises(cc.OptionError, match=r"jit_compile=True needs TensorFlow or JAX.* expected 'auto' or False"):
        small_trainer(compute=Compute(jit_compile=True)).fit(parts.train, parts.val)


def test_names_and_numbers_that_cannot_be_are_refused(small_trainer):
    with pytest.raises(cc.UnknownNameError, match="did you mean 'mixed_float16'"):
        small_trainer(compute=Compute(precision="float16")).check_options()
    with pytest.raises(cc.OptionError, match="jit_compile='on'; expected 'auto', or True or False"):
        small_trainer(compute=Compute(jit_compile="on")).check_options()
    with pytest.raises(cc.OptionError, match="accumulate=0"):
        small_trainer(accumulate=0).check_options()
