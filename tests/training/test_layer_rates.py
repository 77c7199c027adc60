"""Layer-wise rates on whatever backend Keras runs on: what each variable moves by, and that a stop changes nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import cellclf as cc
from cellclf.training.layer_rates import rate_factors
from cellclf.training.optimizers import OPTIMIZERS, make_optimizer

pytestmark = pytest.mark.backend

RNG = np.random.default_rng(0)
STARTS = [RNG.normal(size=shape).astype("float32") for shape in ((3, 4), (4,), (4, 2), (2,))]
GRADS = [[RNG.normal(size=one.shape).astype("float32") for one in STARTS] for _ in range(4)]
FACTORS = (0.25, 0.25, 0.5, 1.0)


def apply(optimizer, grads, variables):
    """Do a step as the backend does it in a training: on JAX by values."""
    if keras.backend.backend() != "jax":
        optimizer.apply(grads, variables)
        return
    both = (variables, optimizer.variables)
    found = optimizer.stateless_apply([v.value for v in both[1]], grads, [v.value for v in both[0]])
    for some, values in zip(both, found, strict=True):
        for variable, value in zip(some, values, strict=True):
            variable.assign(value)


def moved(optimizer, factors, *, weight_decay=0.0, rate=1e-3, steps=1, **how):
    """Step four variables, and give by how much each has moved."""
    variables = [keras.Variable(start) for start in STARTS]
    by_id = {id(variable): factor for variable, factor in zip(variables, factors, strict=True)}
    made = make_optimizer(optimizer, rate, weight_decay, factors=by_id, **how)
    made.build(variables)
    shown = []
    for grads in GRADS[:steps]:
        scale = float(ops.convert_to_numpy(made.dynamic_scale)) if how.get("scale_loss") else 1.0
        apply(made, [ops.convert_to_tensor(grad * scale) for grad in grads], variables)
        shown.append(float(ops.convert_to_numpy(made.learning_rate)))
    assert shown == pytest.approx([rate] * steps), "the rate that it shows is that of the head"
    return [ops.convert_to_numpy(v) - start for v, start in zip(variables, STARTS, strict=True)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_variable_moves_by_its_share_of_the_rate(name, weight_decay):
    alone = {factor: moved(name, [factor] * 4, weight_decay=weight_decay, steps=3) for factor in set(FACTORS)}
    together = moved(name, FACTORS, weight_decay=weight_decay, steps=3)
    for k, factor in enumerate(FACTORS):
        np.testing.assert_allclose(together[k], alone[factor][k], rtol=1e-6, atol=1e-7)
    plain = moved(name, [1.0] * 4, weight_decay=weight_decay, rate=0.25e-3, steps=3)
    np.testing.assert_allclose(together[0], plain[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("how", [{"accumulate": 2}, {"scale_loss": True}])
def test_accumulated_and_scaled_gradients_keep_the_shares(how):
    steps = 4 if "accumulate" in how else 2
    together = moved("sgd", FACTORS, steps=steps, **how)
    plain = moved("sgd", [1.0] * 4, steps=steps, **how)
    for one, other, factor in zip(together, plain, FACTORS, strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, factor * other, rtol=1e-3, atol=1e-7)


def test_an_optimizer_of_keras_with_a_rate_that_falls():
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 4)
    variables = [keras.Variable(start) for start in STARTS[:2]]
    made = make_optimizer(keras.optimizers.SGD(), schedule, 0.0, factors={id(variables[0]): 0.5, id(variables[1]): 1.0})
    made.build(variables)
    ones = [ops.ones(variable.shape) for variable in variables]
    for _ in range(4):
        apply(made, ones, variables)
    total = [float(np.mean(start - ops.convert_to_numpy(v))) for start, v in zip(STARTS[:2], variables, strict=True)]
    assert total[0] == pytest.approx(total[1] / 2, rel=1e-4)
    assert total[1] == pytest.approx(1e-2 * sum((1 + np.cos(np.pi * k / 4)) / 2 for k in range(4)), rel=1e-4)


def test_the_depth_is_counted_from_the_head(small_trainer):
    model, blocks, _ = small_trainer()._build((32, 32, 3), 3)
    factors = rate_factors(model, blocks, 0.5)
    assert len(factors) == len(model.trainable_variables) and rate_factors(model, blocks, 1.0) == {}
    assert len(blocks) == 3
    by_block = [{factors[id(v)] for layer in block for v in layer.trainable_variables} for block in blocks]
    assert by_block == [{0.125}, {0.25}, {0.5}]
    inside = {id(v) for block in blocks for layer in block for v in layer.variables}
    assert {factors[id(v)] for v in model.trainable_variables if id(v) not in inside} == {1.0}


def test_stages_that_cannot_have_it_are_refused(small_trainer):
    with pytest.raises(cc.OptionError, match="head alone"):
        cc.Stage(epochs=1, learning_rate=1e-3, layer_decay=0.5).check()
    for wrong in (0, -0.5, 1.5, float("nan"), True, "0.5"):
        with pytest.raises(cc.OptionError, match="layer_decay"):
            cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", layer_decay=wrong).check()
    stages = (cc.Stage(epochs=1, learning_rate=1e-3, unfreeze=1, layer_decay=0.5),)
    with pytest.raises(cc.OptionError, match="Nadam, which steps all variables together"):
        small_trainer(optimizer=keras.optimizers.Nadam(), stages=stages).check_options()
    small_trainer(optimizer=keras.optimizers.Adamax(), stages=stages).check_options()


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_as_without_a_stop(small_trainer, parts, tmp_path):
    stage = cc.Stage(
        epochs=2, learning_rate=1e-2, unfreeze="all", train_batch_norm=True, schedule="cosine", layer_decay=0.5
    )
    trainer = small_trainer(stages=(stage,), weight_decay=0.1, ema=0.9)
    scaled = []

    class Looking(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            scaled.append("_backend_update_step" in vars(self.model.optimizer))

    whole = trainer.fit(parts.train, parts.val, callbacks=[Looking()])
    assert scaled == [True, True]

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(parts.train, parts.val, out=tmp_path / "a", callbacks=[stop])
    resumed = trainer.fit(parts.train, parts.val, out=tmp_path / "a")
    assert resumed.manifest["trainer"]["stages"][0]["layer_decay"] == 0.5
    assert resumed.manifest["end_sha256"] == whole.manifest["end_sha256"]
    assert trainer.from_dict(resumed.manifest["trainer"]).stages == (stage,)
