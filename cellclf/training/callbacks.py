"""Callbacks of a training: functions that get each epoch's row of the history, and Keras callbacks that look on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellclf.errors import OptionError
from cellclf.training.checkpoint import Arrays, values

Row = dict[str, Any]
Callback = Callable[[Row], Any]

INSTEAD = {
    "EarlyStopping": "Stage(patience=5, monitor='val_loss') ends a stage, which keeps its best epoch",
    "ReduceLROnPlateau": "Stage(reduce_patience=3, reduce_factor=0.1) lowers the rate on a plateau",
    "LearningRateScheduler": "Stage(schedule='cosine', warmup=1) changes the rate, and each stage has its own",
    "ModelCheckpoint": "fit(out='runs/a') saves the state after each epoch, and the run is its best epoch",
    "BackupAndRestore": "fit(out='runs/a') saves the state after each epoch and resumes there",
    "SwapEMAWeights": "Trainer(ema=0.999) validates and keeps averaged weights",
    "TerminateOnNaN": "a loss or a weight that is no number ends the training by itself",
    "ProgbarLogger": "fit(show=True) draws a bar",
    "CallbackList": "give its callbacks one by one",
}
"""Keras callbacks that interfere with the training, or would do half their work here -> what does it instead."""

_NOT_CALLED = (
    *("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    *("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end"),
)
_RATE = "Stage(schedule=..., warmup=..., reduce_patience=...) sets the rate"
_WEIGHTS = "a stage keeps the weights of its best epoch, and Trainer(ema=0.999) averages them"
_LAYERS = "Stage(unfreeze=...) chooses the layers that are trained"


def check_callbacks(callbacks: Any) -> None:
    """Refuse callbacks that would change the training, or that would not do here what they do in Keras.

    Args:
        callbacks: A sequence of functions and Keras callbacks.

    Raises:
        OptionError: One that is refused; the message names the option that does its work.

    Examples:
        >>> check_callbacks([print])
    """
    if isinstance(callbacks, str) or not isinstance(callbacks, Sequence):
        raise OptionError(f"callbacks={callbacks!r}; expected a list, such as callbacks=[print]")
    for callback in callbacks:
        _check(callback)


def _check(callback: Any) -> None:
    if isinstance(callback, type):
        raise OptionError(f"the callback {callback.__name__} is a class; expected one made of it: add ()")
    if _is_keras(callback):
        _check_keras(callback)
    elif not callable(callback):
        raise OptionError(
            f"the callback {_name(callback)} is neither a function of a row of the history nor a keras.callbacks."
            "Callback; expected one of them"
        )
    elif inspect.iscoroutinefunction(callback) or inspect.isgeneratorfunction(callback):
        raise OptionError(f"the callback {_name(callback)} is a coroutine or a generator; expected a plain function")
    else:
        try:
            inspect.signature(callback).bind({})
        except TypeError as error:
            raise OptionError(
                f"the callback {_name(callback)} cannot be called with a row of the history ({error}); expected a "
                "function of one dict"
            ) from None
        except ValueError:  # of some builtin functions nothing is known
            pass


def _check_keras(callback: Any) -> None:
    import keras

    for name, instead in INSTEAD.items():
        kind = getattr(keras.callbacks, name, None)
        if kind is not None and isinstance(callback, kind):
            raise OptionError(f"the callback {_name(callback)} is refused, since callbacks only look on; {instead}")
    if getattr(callback, "update_freq", "epoch") != "epoch":
        raise OptionError(
            f"the callback {_name(callback)} has update_freq={callback.update_freq!r}; expected 'epoch': callbacks are "
            "called once an epoch"
        )
    for name in _NOT_CALLED:
        owner = next(kind for kind in type(callback).__mro__ if name in vars(kind))
        if name in vars(callback) or not owner.__module__.startswith("keras."):
            raise OptionError(
                f"the callback {_name(callback)} has {name}, which is never called: callbacks look on at the beginning "
                f"and the end of an epoch; remove it. Of what batches are used for, {_RATE}"
            )


@dataclass
class Callbacks:
    """What is called before and after each epoch.

    Args:
        callbacks: Functions of a row of the history, which are called after each epoch once its state is on the disk;
            or Keras callbacks, which are called at the beginning and the end of each stage and each epoch, with the
            whole classifier as their ``model`` and the row's numbers; epochs count over all stages. They look on:
            one that changes weights, rate or trained layers is refused. ``model.stop_training = True`` ends the stage
            after the epoch.

    Raises:
        OptionError: A callback that is refused, see ``check_callbacks``.
    """

    callbacks: Sequence[Any] = ()
    _guard: _Guard | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_callbacks(self.callbacks)

    @contextmanager
    def around_stage(self, model: Any, optimizer: Any, loss: Any, epochs: int) -> Iterator[None]:
        """Call Keras callbacks at the beginning and the end of a stage.

        Args:
            model: The classifier, whatever part of it the stage trains.
            optimizer: Of the stage.
            loss: Of the stage.
            epochs: Most epochs there can be.
        """
        watching = [callback for callback in self.callbacks if _is_keras(callback)]
        if not watching:
            yield
            return
        import keras

        # what they set on it, such as stop_training or another optimizer, stays apart from what is trained
        shown = keras.Model(model.input, model.output, name=model.name)
        shown.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
        shown.stop_training = False
        self._guard = _Guard(shown, optimizer)
        for callback in watching:
            callback.set_params({"epochs": epochs, "steps": None, "verbose": 0})
            callback.set_model(shown)
        self._call("on_train_begin")
        try:
            yield
        except BaseException:
            for callback in watching:
                callback.on_train_end()
            raise
        self._call("on_train_end")

    def before_epoch(self, number: int) -> None:
        """Call Keras callbacks before an epoch.

        Args:
            number: Of the epoch, from 0, over all stages.
        """
        self._call("on_epoch_begin", number)

    def after_epoch(self, number: int, row: Row) -> bool:
        """Call all of them after an epoch.

        Args:
            number: Of the epoch, from 0, over all stages.
            row: Its row of the history.

        Returns:
            Whether one of them asks to end the stage.
        """
        scores = {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("epoch", "best")}
        self._call("on_epoch_end", number, scores, row=row)
        return self._guard is not None and bool(self._guard.model.stop_training)

    def _call(self, event: str, *arguments: Any, row: Row | None = None) -> None:
        """Call the callbacks in their order; functions only where there is a row."""
        state = None if self._guard is None else self._guard.state()
        for callback in self.callbacks:
            if not _is_keras(callback):
                if row is not None:
                    callback(dict(row))
                continue
            getattr(callback, event)(*(dict(a) if isinstance(a, dict) else a for a in arguments))
            if self._guard is not None and state is not None and not _of_keras(callback):
                self._guard.check(state, _name(callback))


@dataclass(frozen=True)
class _State:
    """What a callback must not change."""

    rate: float
    weights: Arrays
    steps: Arrays
    trained: list[bool]


@dataclass(frozen=True)
class _Guard:
    """Compares what is trained before and after a callback."""

    model: Any
    optimizer: Any

    def state(self) -> _State:
        return _State(
            rate=float(np.asarray(self.optimizer.learning_rate)),
            weights=values(self.model.variables),
            steps=values(self.optimizer.variables),
            trained=[layer.trainable for layer in self.model.layers],
        )

    def check(self, before: _State, name: str) -> None:
        """Refuse what a callback changed."""
        now = self.state()
        changed = instead = ""
        if self.model.optimizer is not self.optimizer:
            changed, instead = "the optimizer", "Trainer(optimizer=...) sets it"
        elif now.rate != before.rate:
            changed, instead = f"the learning rate from {before.rate:g} to {now.rate:g}", _RATE
        elif now.trained != before.trained:
            changed, instead = "which layers are trained", _LAYERS
        elif moved := _first_difference(self.model.variables, before.weights, now.weights):
            changed, instead = f"the weights {moved}", _WEIGHTS
        elif moved := _first_difference(self.optimizer.variables, before.steps, now.steps):
            changed, instead = f"the optimizer's {moved}", "Trainer(optimizer=...) sets it"
        if changed:
            raise OptionError(f"the callback {name} changed {changed}; expected one that only looks on: {instead}")


def _first_difference(variables: Sequence[Any], before: Arrays, now: Arrays) -> str:
    pairs = zip(variables, before, now, strict=True)
    return next(
        (v.path for v, one, other in pairs if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")), ""
    )


def _is_keras(callback: Any) -> bool:
    if callable(callback) and not hasattr(callback, "on_epoch_end"):
        return False  # without loading Keras
    import keras

    return isinstance(callback, keras.callbacks.Callback)


def _of_keras(callback: Any) -> bool:
    """Whether all that it does is Keras's own code, which looks on."""
    import keras

    return type(callback).__module__.startswith("keras.") and type(callback) is not keras.callbacks.LambdaCallback


def _name(callback: Any) -> str:
    return str(getattr(callback, "__qualname__", None) or type(callback).__name__)
