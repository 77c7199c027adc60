from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.training.stage import Stage


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
