"""Callbacks of a training: functions that get each epoch's row of the history, and Keras callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Callback = Callable[[Row], Any]


@dataclass(frozen=True)
class Callbacks:
    """What is called after each epoch, once its state is on the disk.

    Args:
        callbacks: Functions of a row of the history, or Keras callbacks, which are called at the beginning and the end
            of each stage and after each epoch with the row's numbers; epochs count over all stages. They do not change
            the training.
    """

    callbacks: Sequence[Any] = ()

    @contextmanager
    def around_stage(self, model: Any, epochs: int) -> Iterator[None]:
        """Call Keras callbacks at the beginning and the end of a stage.

        Args:
            model: What is trained.
            epochs: Most epochs there can be.
        """
        for callback in self._keras_callbacks():
            callback.set_params({"epochs": epochs, "steps": None, "verbose": 0})
            callback.set_model(model)
            callback.on_train_begin()
        try:
            yield
        finally:
            for callback in self._keras_callbacks():
                callback.on_train_end()

    def after_epoch(self, number: int, row: Row) -> None:
        """Call all of them after an epoch.

        Args:
            number: Of the epoch, from 0, over all stages.
            row: Its row of the history.
        """
        keras_callbacks = self._keras_callbacks()
        scores = {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("epoch", "best")}
        for callback in self.callbacks:
            if callback in keras_callbacks:
                callback.on_epoch_begin(number)
                callback.on_epoch_end(number, dict(scores))
            else:
                callback(dict(row))

    def _keras_callbacks(self) -> list[Any]:
        if not self.callbacks:
            return []
        import keras

        return [callback for callback in self.callbacks if isinstance(callback, keras.callbacks.Callback)]
