from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import OptionError, TrainingError
from cellclf.training.callbacks import Callbacks, check_callbacks
from cellclf.training.early_stopping import EarlyStopping
from cellclf.training.loop import check_finite
from cellclf.training.stage import Stage

kc = keras.callbacks


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append(("begin", self.params["epochs"]))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, round(logs["val_macro_f1"], 6)))
        assert all(isinstance(value, int | float) for value in logs.values()) and "best" not in logs

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_functions_and_keras_callbacks_are_called_once_an_epoch(small_trainer, parts, tmp_path):
    rows, recorder = [], Recorder()
    stages = (cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1), cc.Stage(epochs=1, learning_rate=1e-3))
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)

    def stop(row):
        rows.append(row)
        assert (tmp_path / "run" / "history.csv").read_text().count("\n") == len(rows) + 1
        if len(rows) == 2:
            raise LookupError("enough")

    def fit(*callbacks):
        return small_trainer(stages=stages).fit(parts.train, parts.val, out=tmp_path / "run", callbacks=callbacks)

    with pytest.raises(LookupError, match="enough"):
        fit(stop, recorder, log)
    assert [row["epoch"] for row in rows] == [1, 2]
    run = fit(rows.append, recorder, log)
    assert [(row["stage"], row["epoch"]) for row in rows] == [(1, 1), (1, 2), (2, 1)]
    scores = [round(row["val_macro_f1"], 6) for row in run.history]
    epochs = [call for call in recorder.calls if isinstance(call, tuple) and call[0] != "begin"]
    assert epochs == [(0, scores[0]), (2, scores[2])], "the callback after the function that failed missed its epoch"
    with (tmp_path / "log.csv").open(newline="") as file:
        assert {"val_macro_f1", "learning_rate"} <= set(next(csv.DictReader(file)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"warmup": 1.0}, [0.05, 0.525, 1.0, 1.0]),
        ({"schedule": "cosine"}, [1.0, 0.964, 0.855, 0.010]),
        ({"schedule": "one_cycle"}, [0.04, 0.44, 0.84, 0.0001]),
    ],
)
def test_rates_follow_the_schedule(settings, expected):
    schedule = Stage(epochs=4, learning_rate=1.0, **settings).rate(10)
    found = [float(schedule(step)) for step in (0, 5, 10, 40)]
    if settings.get("schedule"):
        np.testing.assert_allclose(found, expected, atol=0.01)
        assert max(float(schedule(step)) for step in range(41)) == pytest.approx(1.0)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-3)


class Patient(kc.EarlyStopping):
    """A user's own kind of early stopping."""


class CyclicRate(kc.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = 1.0


class OldHook(kc.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


class OfAnotherLibrary:
    def on_epoch_end(self, epoch, logs=None):
        pass


async def later(row):
    pass


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (kc.EarlyStopping(restore_best_weights=True), r"Stage\(patience="),
        (Patient(monitor="loss"), r"Patient is refused.*Stage\(patience="),
        (kc.ReduceLROnPlateau(), r"Stage\(reduce_patience="),
        (kc.LearningRateScheduler(lambda epoch: 1e-3), r"Stage\(schedule="),
        (kc.ModelCheckpoint("best.keras", save_best_only=True), r"fit\(out="),
        (kc.ModelCheckpoint("last.weights.h5", save_weights_only=True), r"fit\(out="),
        (kc.BackupAndRestore("state"), r"fit\(out="),
        (kc.SwapEMAWeights(), r"Trainer\(ema="),
        (kc.TerminateOnNaN(), "by itself"),
        (kc.ProgbarLogger(), r"fit\(show=True"),
        (kc.CallbackList(), "one by one"),
        (kc.TensorBoard(update_freq="batch"), "update_freq=1.*'epoch'"),
        (kc.LambdaCallback(on_train_batch_end=print), "on_train_batch_end, which is never called"),
        (CyclicRate(), r"on_train_batch_end, which is never called.*Stage\(schedule="),
        (OldHook(), "on_batch_end, which is never called"),
        (kc.EarlyStopping, "is a class"),
        (OfAnotherLibrary(), "neither a function"),
        (lambda: None, "function of one dict"),
        (lambda row, epoch: None, "function of one dict"),
        (later, "coroutine"),
        ("history.csv", "neither a function"),
    ],
)
def test_a_callback_that_would_interfere_or_be_ignored_is_refused(callback, expected):
    with pytest.raises(OptionError, match=expected) as caught:
        check_callbacks([callback])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("callbacks", [kc.TensorBoard(), print, "print", {"a": print}, None])
def test_callbacks_are_a_list(callbacks):
    with pytest.raises(OptionError, match="expected a list"):
        check_callbacks(callbacks)


def test_those_that_look_on_are_taken():
    check_callbacks([print, [].append, Recorder(), kc.TensorBoard(), kc.CSVLogger("a.csv"), kc.History()])
    check_callbacks((kc.LambdaCallback(on_epoch_end=print), kc.RemoteMonitor(), lambda row, more=1: None))


def classifier():
    inputs = keras.Input((4,))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, "softmax")(keras.layers.BatchNormalization()(x)))


def call_once(event, change):
    """Call a user's callback that changes something, as a stage of one epoch does."""
    model, optimizer = classifier(), keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    callback = type("Mine", (kc.Callback,), {event: lambda self, *args, **kwargs: change(self.model)})()
    callbacks = Callbacks([callback])
    with callbacks.around_stage(model, optimizer, "categorical_crossentropy", 1):
        callbacks.before_epoch(0)
        return callbacks.after_epoch(0, {"loss": 1.0, "epoch": 1})


def compile_anew(model):
    model.compile("sgd", "categorical_crossentropy")


def set_rate(model):
    model.optimizer.learning_rate = 0.5


def freeze_first(model):
    model.layers[1].trainable = False


END = "on_epoch_end"


@pytest.mark.parametrize(
    ("event", "change", "expected"),
    [
        (END, set_rate, r"the learning rate from 0\.001 to 0\.5.*Stage\(schedule"),
        ("on_train_begin", set_rate, "the learning rate"),
        ("on_epoch_begin", set_rate, "the learning rate"),
        ("on_train_end", lambda model: model.set_weights([w * 2 for w in model.get_weights()]), "the weights"),
        (END, lambda model: model.set_weights([w + 1 for w in model.get_weights()]), "the weights .*best epoch"),
        (END, lambda model: model.layers[-1].bias.assign([1.0, 0.0]), "the weights .*bias"),
        (END, lambda model: model(np.ones((8, 4)), training=True), "the weights"),
        (END, lambda model: model.layers[2].seed_generator.next(), "the weights .*seed"),
        (END, lambda model: model.fit(np.ones((4, 4)), np.eye(2)[[0, 1, 0, 1]], verbose=0), "changed the weights"),
        (END, lambda model: model.optimizer.iterations.assign(7), "the optimizer's .*iteration"),
        (END, freeze_first, r"which layers are trained.*Stage\(unfreeze"),
        (END, compile_anew, r"the optimizer.*Trainer\(optimizer"),
    ],
)
def test_a_callback_that_changes_the_training_is_refused_when_it_does(event, change, expected):
    with pytest.raises(OptionError, match=expected):
        call_once(event, change)


def stop(model):
    model.stop_training = True


@pytest.mark.parametrize(
    ("event", "change", "stops"),
    [
        ("on_epoch_end", lambda model: model.predict(np.ones((2, 4)), verbose=0), False),
        ("on_epoch_end", lambda model: model.get_config(), False),
        ("on_epoch_end", stop, True),
        ("on_epoch_begin", stop, True),
        ("on_train_begin", stop, True),
    ],
)
def test_looking_on_and_stopping_are_allowed(event, change, stops):
    assert call_once(event, change) is stops


class Stopping(kc.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("begin", epoch, self.model.input_shape))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("end", epoch, float(np.asarray(self.model.optimizer.learning_rate)) > 0))
        self.model.stop_training = True


def test_stop_training_ends_the_stage_and_callbacks_see_the_whole_classifier(small_trainer, parts, tmp_path):
    callback = Stopping()
    stages = (cc.Stage(epochs=4, learning_rate=1e-3), cc.Stage(epochs=3, learning_rate=1e-3, unfreeze=1))
    run = small_trainer(stages=stages).fit(parts.train, parts.val, out=tmp_path / "run", callbacks=[callback])
    assert [(row["stage"], row["epoch"]) for row in run.history] == [(1, 1), (2, 1)]
    shape = (None, 32, 32, 3)
    assert callback.calls == [("begin", 0, shape), ("end", 0, True), ("begin", 1, shape), ("end", 1, True)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "found",
    [
        lambda bad: {"val_loss": bad},
        lambda bad: {"val_loss": 0.5, "shifted_loss": bad},
        lambda bad: {"conv/kernel": np.array([1.0, bad], np.float32)},
        lambda bad: {"norm/moving_variance": np.full(3, bad, np.float64)},
    ],
)
def test_weights_and_scores_that_are_no_numbers_end_the_training(found, bad):
    with pytest.raises(TrainingError, match="holds NaN or infinity after epoch 2; lower learning_rate"):
        check_finite(found(bad), "after epoch 2")
    check_finite({"val_loss": 0.5, "best": False, "epoch": 3, "seed": np.array([1, 2], np.uint32)}, "after epoch 2")


@pytest.mark.parametrize("monitor", ["val_loss", "val_macro_f1", "shifted_loss", "mean_macro_f1"])
@pytest.mark.parametrize("values", [[np.nan, 0.5, 0.5], [0.5, np.nan, 0.5], [np.nan, np.nan, 0.5]])
def test_no_number_never_beats_and_never_blocks_a_number(monitor, values):
    stage, stopping = Stage(epochs=9, learning_rate=1e-3, monitor=monitor), EarlyStopping()
    better = [stopping.update(stage, k, {monitor: value, "val_accuracy": 0})[0] for k, value in enumerate(values, 1)]
    assert better == [value == value and 0.5 not in values[:k] for k, value in enumerate(values)]
    assert stopping.best == 0.5
