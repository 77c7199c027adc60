"""What happens after every batch of an epoch: averaging, saving now and then, and ending where it was asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from cellclf.training.checkpoint import assign, values

SAVE_EVERY = 600.0
"""Seconds of one epoch after which its state is written down in between."""


def batch_watcher(
    *,
    start: int,
    metrics: Sequence[NDArray[Any]],
    after_step: Callable[[int], None],
    save: Callable[[int], None],
    asked_to_stop: Callable[[], bool],
) -> Any:
    """Make the Keras callback that accompanies an epoch.

    Args:
        start: Batches of the epoch that an earlier process has done.
        metrics: The running scores after them; empty at the beginning of an epoch.
        after_step: Called with the number of batches done.
        save: The same, when some minutes have passed since the last time.
        asked_to_stop: Whether the epoch shall end after this batch.

    Returns:
        A ``keras.callbacks.Callback``; its ``done`` counts the batches.
    """
    import keras

    class BatchWatcher(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        done = start
        saved = time.monotonic()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if metrics and self.done == start:  # they are sums, and Keras makes them with the first batch only
                now = values(self.model.metrics_variables)
                assign(self.model.metrics_variables, [old + new for old, new in zip(metrics, now, strict=True)])
            self.done += 1
            after_step(self.done)
            if asked_to_stop():
                self.model.stop_training = True
            elif time.monotonic() - self.saved > SAVE_EVERY:
                save(self.done)
                self.saved = time.monotonic()

    return BatchWatcher()


def progress_bar(steps: int, label: str) -> Any:
    """Make the Keras callback that draws a bar of the batches on stderr."""
    import keras
    import tqdm

    class Bar(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        def on_train_begin(self, logs: Any = None) -> None:
            self.bar = tqdm.tqdm(total=steps, desc=label, unit="batch", leave=False)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)
            self.bar.update()

        def on_train_end(self, logs: Any = None) -> None:
            self.bar.close()

    return Bar()
