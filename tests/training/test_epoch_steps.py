"""However the batches of an epoch are given, the epoch is the same, also when it is resumed within."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cellclf.backends import current
from cellclf.training.checkpoint import assign, values
from cellclf.training.epoch_steps import AfterBatch, build_metrics, fit_epoch, make_fit_groups

BATCHES = 7
RNG = np.random.default_rng(0)
ENTRIES = (
    RNG.normal(size=(BATCHES, 4, 5)).astype(np.float32),
    np.eye(3, dtype=np.float32)[RNG.integers(0, 3, (BATCHES, 4))],
    RNG.uniform(0.5, 2, (BATCHES, 4)).astype(np.float32),
)


def new_model():
    features = keras.Input((5,))
    x = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.GlorotUniform(1))(features)
    x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.3, seed=2)(x))
    start = keras.initializers.GlorotUniform(3)
    model = keras.Model(features, keras.layers.Dense(3, "softmax", kernel_initializer=start)(x))
    model.compile(
        keras.optimizers.Lion(1e-2),
        "categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=keras.config.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    build_metrics(model)
    return model


def new_hook(done=0, stop_at=None):
    seen = []
    return AfterBatch(done, seen.append, lambda _: None, lambda: bool(seen) and seen[-1] == stop_at), seen


def state_of(model):
    return [*values(model.variables), *values(model.optimizer.variables), *values(model.metrics_variables)]


def single(start=0):
    """Give the batches as an epoch does."""
    entries = [(entry.shape[1:], entry.dtype) for entry in ENTRIES]
    return current().batches(lambda: zip(*(entry[start:] for entry in ENTRIES), strict=True), entries, BATCHES - start)


def groups(size, start=0):
    for first in range(start, BATCHES, size):
        yield tuple(entries[first : first + size] for entries in ENTRIES)


@pytest.fixture(scope="module")
def fitted():
    model = new_model()
    hook, seen = new_hook()
    fit_epoch(model, single(), hook, [])
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert model.get_metrics_result()["loss"] > 0
    return state_of(model)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_groups_train_as_single_batches_do(fitted, size):
    model = new_model()
    hook, seen = new_hook()
    make_fit_groups(model)(groups(size), hook, [])
    assert seen == [min(done + size, BATCHES) for done in range(0, BATCHES, size)]
    for one, other in zip(fitted, state_of(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.backend
@pytest.mark.parametrize("in_groups", [False, True])
def test_an_epoch_that_was_stopped_resumes_to_the_same_end(in_groups):
    def train(model, hook, metrics):
        if in_groups:
            make_fit_groups(model)(groups(2, hook.done), hook, metrics)
        else:
            fit_epoch(model, single(hook.done), hook, metrics)

    whole = new_model()
    train(whole, new_hook()[0], [])
    first = new_model()
    hook, _ = new_hook(stop_at=4)
    train(first, hook, [])
    assert hook.done == 4
    then = new_model()
    assign(then.variables, values(first.variables))
    assign(then.optimizer.variables, values(first.optimizer.variables))
    train(then, new_hook(4)[0], values(first.metrics_variables))
    assert all(np.array_equal(a, b) for a, b in zip(state_of(whole), state_of(then), strict=True))


@pytest.mark.backend
def test_a_second_epoch_resets_the_metrics():
    model = new_model()
    train = make_fit_groups(model)
    for _ in range(2):
        train(groups(3), new_hook()[0], [])
    counts = [float(v) for v in model.metrics_variables if v.path.endswith("count")]
    assert counts == [BATCHES * 4] * 2
