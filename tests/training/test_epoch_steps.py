"""However the batches of an epoch are handed out, the epoch is the same, also from its middle on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cellclf.training.checkpoint import assign, values
from cellclf.training.steps import Watcher, fit, fitter_of_groups, make_scores

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
    model.compile(keras.optimizers.Lion(1e-2), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    make_scores(model)
    return model


def new_watcher(done=0, stop_at=None):
    seen = []
    return Watcher(done, seen.append, lambda _: None, lambda: bool(seen) and seen[-1] == stop_at), seen


def state_of(model):
    return [*values(model.variables), *values(model.optimizer.variables), *values(model.metrics_variables)]


def groups(together, start=0):
    for first in range(start, BATCHES, together):
        yield tuple(entries[first : first + together] for entries in ENTRIES)


@pytest.fixture(scope="module")
def fitted():
    model = new_model()
    watcher, seen = new_watcher()
    fit(model, tf.data.Dataset.from_tensor_slices(ENTRIES), watcher, [])
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert model.get_metrics_result()["loss"] > 0
    return state_of(model)


@pytest.mark.parametrize("together", [1, 3, 7, 100])
def test_groups_train_as_single_batches_do(fitted, together):
    model = new_model()
    watcher, seen = new_watcher()
    fitter_of_groups(model)(groups(together), watcher, [])
    assert seen == [min(done + together, BATCHES) for done in range(0, BATCHES, together)]
    for one, other in zip(fitted, state_of(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("in_groups", [False, True])
def test_an_epoch_that_was_stopped_goes_on_to_the_same_end(in_groups):
    def train(model, watcher, metrics):
        if in_groups:
            fitter_of_groups(model)(groups(2, watcher.done), watcher, metrics)
        else:
            fit(model, tf.data.Dataset.from_tensor_slices(ENTRIES).skip(watcher.done), watcher, metrics)

    whole = new_model()
    train(whole, new_watcher()[0], [])
    first = new_model()
    watcher, _ = new_watcher(stop_at=4)
    train(first, watcher, [])
    assert watcher.done == 4
    then = new_model()
    assign(then.variables, values(first.variables))
    assign(then.optimizer.variables, values(first.optimizer.variables))
    train(then, new_watcher(4)[0], values(first.metrics_variables))
    assert all(np.array_equal(a, b) for a, b in zip(state_of(whole), state_of(then), strict=True))


def test_a_second_epoch_begins_its_scores_anew():
    model = new_model()
    train = fitter_of_groups(model)
    for _ in range(2):
        train(groups(3), new_watcher()[0], [])
    counts = [float(v) for v in model.metrics_variables if v.path.endswith("count")]
    assert counts == [BATCHES * 4] * 2
