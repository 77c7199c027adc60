"""The training steps of one epoch, and what follows each batch: the EMA, a checkpoint now and then, a stop if asked."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cellclf.training.checkpoint import assign
from cellclf.utils.log import is_shown
from cellclf.utils.progress import bars

SAVE_EVERY = 600.0
"""Seconds within one epoch after which its state is saved."""

Group = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass
class AfterBatch:
    """What happens after each batch of an epoch.

    Args:
        done: Batches of the epoch that are done.
        after_step: Called with the number of batches done.
        save: Called with the same, ``SAVE_EVERY`` seconds after the last time.
        asked_to_stop: Whether to end the epoch after this batch.
    """

    done: int
    after_step: Callable[[int], None]
    save: Callable[[int], None]
    asked_to_stop: Callable[[], bool]
    _saved: float = field(default_factory=time.monotonic, init=False)

    def __call__(self, batches: int) -> bool:
        """Count batches that were just done; True ends the epoch after them."""
        self.done += batches
        self.after_step(self.done)
        if self.asked_to_stop():
            return True
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save(self.done)
            self._saved = time.monotonic()
        return False


def build_metrics(model: Any) -> None:
    """Make the variables of a compiled model's metrics now, since Keras makes them with the first batch only.

    A checkpoint restores them before that.
    """
    import keras

    nothing = keras.ops.zeros((1, int(model.output_shape[-1])))
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


def fit_epoch(model: Any, dataset: Any, after_batch: AfterBatch, metrics: Sequence[NDArray[Any]]) -> None:
    """Train a compiled model for an epoch, or the rest of one.

    Args:
        model: Its metrics are those of the epoch afterwards.
        dataset: ``tf.data.Dataset`` of the batches.
        after_batch: Called after each batch.
        metrics: Values of the metrics after the batches before; empty at the beginning of an epoch.
    """
    import keras

    class Calling(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if metrics:  # Keras has just reset them
                assign(self.model.metrics_variables, metrics)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if after_batch(1):
                self.model.stop_training = True

    with _one_trace_a_stage():
        model.fit(dataset, epochs=1, verbose=0, shuffle=False, callbacks=[Calling()])


@contextmanager
def _one_trace_a_stage() -> Iterator[None]:
    """Leave out TensorFlow's warning of functions that are compiled too often.

    A stage compiles its step once, as it has to. TensorFlow counts over all stages and trainings of the process, and
    where these have few batches it takes them for one function that is compiled again and again.
    """
    logger = logging.getLogger("tensorflow")

    def wanted(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def make_fit_groups(model: Any) -> Callable[[Iterable[Group], AfterBatch, Sequence[NDArray[Any]]], None]:
    """Make a ``fit_epoch`` that trains several batches in one call, which costs more than the step of a small network.

    Args:
        model: As for ``fit_epoch``; the result is valid until it is compiled again.

    Returns:
        As ``fit_epoch``, of groups in place of a dataset: (g, n, ...) features, (g, n, K) labels and (g, n) weights of
        g batches of n; ``after_batch`` is called after each group.
    """
    import tensorflow as tf

    runs: dict[int, Callable[..., Any]] = {}
    train_step = tf.function(model.train_step, autograph=False, jit_compile=True if model.jit_compile else None)

    def train(features: Any, labels: Any, weights: Any) -> None:
        def step(k: Any) -> tuple[Any]:
            train_step((features[k], labels[k], weights[k]))
            return (k + 1,)

        tf.while_loop(lambda k: k < tf.shape(features)[0], step, (0,), parallel_iterations=1)

    def fit_groups(groups: Iterable[Group], after_batch: AfterBatch, metrics: Sequence[NDArray[Any]]) -> None:
        for number, group in enumerate(groups):
            size = len(group[0][0])
            if size not in runs:  # the last batch of an epoch may be smaller
                signature = [tf.TensorSpec((None, *entries.shape[1:]), entries.dtype) for entries in group]
                runs[size] = tf.function(train, autograph=False).get_concrete_function(*signature)
            if number == 0:
                model.reset_metrics()
                if metrics:
                    assign(model.metrics_variables, metrics)
            runs[size](*(tf.constant(entries) for entries in group))
            if after_batch(len(group[0])):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return fit_groups


@contextmanager
def progress_bar(
    model: Any, done: int, steps: int, label: str, *, show: bool | None
) -> Iterator[Callable[[int], None]]:
    """Draw a bar of an epoch's batches.

    Args:
        model: Whose running loss is shown.
        done: Batches done before.
        steps: Batches of the epoch.
        label: Stands before the bar.
        show: True shows it, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        Call it with the number of batches done.
    """
    if sys.stderr is None or not is_shown(show):
        yield lambda done: None
        return
    with bars()(total=steps, initial=done, desc=label, unit="batch", leave=False) as bar:

        def update(done: int) -> None:
            bar.set_postfix_str(f"loss {float(model.get_metrics_result()['loss']):.3f}", refresh=False)
            bar.update(done - bar.n)

        yield update
