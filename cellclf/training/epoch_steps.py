"""The training steps of one epoch, and what follows each batch: the EMA, a checkpoint now and then, a stop if asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cellclf.backends import current
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


def fit_epoch(model: Any, batches: Any, after_batch: AfterBatch, metrics: Sequence[NDArray[Any]]) -> None:
    """Train a compiled model for an epoch, or the rest of one.

    Args:
        model: Its metrics are those of the epoch afterwards.
        batches: What ``Batches.epoch`` gives; on TensorFlow any ``tf.data.Dataset`` of batches.
        after_batch: Called after each batch.
        metrics: Values of the metrics after the batches before; empty at the beginning of an epoch.
    """
    current().train_batches(model)(batches, lambda: begin(model, metrics), after_batch)


def make_fit_groups(model: Any) -> Callable[[Iterable[Group], AfterBatch, Sequence[NDArray[Any]]], None]:
    """Make a ``fit_epoch`` that trains several batches in one call, which costs more than the step of a small network.

    Args:
        model: As for ``fit_epoch``; the result is valid until it is compiled again.

    Returns:
        As ``fit_epoch``, of groups in place of batches: (g, n, ...) features, (g, n, K) labels and (g, n) weights of
        g batches of n; ``after_batch`` is called after each group.
    """
    train = current().train_groups(model)

    def fit_groups(groups: Iterable[Group], after_batch: AfterBatch, metrics: Sequence[NDArray[Any]]) -> None:
        train(groups, lambda: begin(model, metrics), after_batch)

    return fit_groups


def begin(model: Any, metrics: Sequence[NDArray[Any]]) -> None:
    """Let the metrics of an epoch begin, or go on where the epoch was stopped."""
    model.reset_metrics()
    if metrics:
        assign(model.metrics_variables, metrics)


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
