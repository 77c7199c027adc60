"""Those who look on while a run is trained: functions that get each epoch's row, and Keras callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Listener = Callable[[Row], Any]


@dataclass(frozen=True)
class Listeners:
    """What is told after each epoch, when its state is written down already.

    Args:
        callbacks: Functions of a row of the history, or Keras callbacks, which hear of the beginning, of each epoch
            with the row's numbers, and of the end of each stage; epochs count over all stages. They do not change the
            training.
    """

    callbacks: Sequence[Any] = ()

    @contextmanager
    def around(self, model: Any, epochs: int) -> Iterator[None]:
        """Tell Keras callbacks of the beginning and the end of a stage.

        Args:
            model: What is trained.
            epochs: Most epochs there can be.
        """
        for callback in self._of_keras():
            callback.set_params({"epochs": epochs, "steps": None, "verbose": 0})
            callback.set_model(model)
            callback.on_train_begin()
        try:
            yield
        finally:
            for callback in self._of_keras():
                callback.on_train_end()

    def tell(self, number: int, row: Row) -> None:
        """Tell all of an epoch.

        Args:
            number: Of the epoch, from 0, over all stages.
            row: Its row of the history.
        """
        keras_ones = self._of_keras()
        scores = {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("epoch", "best")}
        for callback in self.callbacks:
            if callback in keras_ones:
                callback.on_epoch_begin(number)
                callback.on_epoch_end(number, dict(scores))
            else:
                callback(dict(row))

    def _of_keras(self) -> list[Any]:
        if not self.callbacks:
            return []
        import keras

        return [callback for callback in self.callbacks if isinstance(callback, keras.callbacks.Callback)]
