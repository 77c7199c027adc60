from __future__ import annotations

import keras
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellclf.training.early_stopping import EarlyStopping
from cellclf.training.stage import Stage

SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, max_size=25)


class Model:
    """What Keras's callbacks ask of a model: a learning rate and a way to stop."""

    def __init__(self):
        self.optimizer = keras.optimizers.SGD(1.0)
        self.stop_training = False
        self.stopped_at = None

    def get_weights(self):
        return []

    def set_weights(self, weights):
        assert weights == []


@given(losses=SCORES, patience=st.integers(1, 5))
def test_stops_where_keras_early_stopping_stops(losses, patience):
    callback = keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=patience)
    model = Model()
    callback.set_model(model)
    callback.on_train_begin()
    stopping, stage = EarlyStopping(), Stage(epochs=99, learning_rate=1.0, patience=patience)
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        _, _, stop = stopping.update(stage, epoch + 1, {"val_loss": loss, "val_accuracy": 0})
        assert stop == model.stop_training
        assert stopping.best_epoch == callback.best_epoch + 1
        if stop:
            break


@given(accuracies=SCORES, patience=st.integers(1, 4))
def test_reduces_where_keras_reduce_on_plateau_reduces(accuracies, patience):
    callback = keras.callbacks.ReduceLROnPlateau(monitor="val_accuracy", mode="max", factor=0.5, patience=patience)
    model = Model()
    callback.set_model(model)
    callback.on_train_begin()
    stage = Stage(epochs=99, learning_rate=1.0, patience=None, reduce_patience=patience, reduce_factor=0.5)
    stopping, rate = EarlyStopping(), 1.0
    for epoch, accuracy in enumerate(accuracies):
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
        _, reduce, _ = stopping.update(stage, epoch + 1, {"val_loss": 1.0, "val_accuracy": accuracy})
        rate *= 0.5 if reduce else 1.0
        np.testing.assert_allclose(float(np.asarray(model.optimizer.learning_rate.value)), rate)


def test_the_state_survives_being_saved():
    stage = Stage(epochs=9, learning_rate=1.0, reduce_patience=2)
    straight, restored = EarlyStopping(), EarlyStopping()
    for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.7, 0.3], 1):
        scores = {"val_loss": loss, "val_accuracy": 1 - loss}
        assert straight.update(stage, epoch, scores) == restored.update(stage, epoch, scores)
        restored = EarlyStopping(**restored.to_dict())
    assert straight == restored
