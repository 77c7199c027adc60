"""The steps of one epoch, and what happens after every batch: averaging, saving now and then, stopping if asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cellclf.training.checkpoint import assign

SAVE_EVERY = 600.0
"""Seconds of one epoch after which its state is written down in between."""

Group = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass
class Watcher:
    """Accompanies an epoch.

    Args:
        done: Batches of the epoch that are done.
        after_step: Called with the number of batches done.
        save: The same, when some minutes have passed since the last time.
        asked_to_stop: Whether the epoch shall end after this batch.
    """

    done: int
    after_step: Callable[[int], None]
    save: Callable[[int], None]
    asked_to_stop: Callable[[], bool]
    _saved: float = field(default_factory=time.monotonic, init=False)

    def see(self, batches: int) -> bool:
        """Take note of batches that were just done; True if the epoch shall end after them."""
        self.done += batches
        self.after_step(self.done)
        if self.asked_to_stop():
            return True
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save(self.done)
            self._saved = time.monotonic()
        return False


def make_scores(model: Any) -> None:
    """Make the variables of a compiled model's running scores, which Keras makes with the first batch only."""
    import keras

    nothing = keras.ops.zeros((1, int(model.output_shape[-1])))
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


def fit(model: Any, dataset: Any, watcher: Watcher, metrics: Sequence[NDArray[Any]]) -> None:
    """Train a compiled model for an epoch, or the rest of one.

    Args:
        model: The scores of the epoch are in it afterwards.
        dataset: ``tf.data.Dataset`` of the batches.
        watcher: Sees each batch.
        metrics: The running scores after the batches before; empty at the beginning of an epoch.
    """
    import keras

    class Watching(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if metrics:  # Keras has just set them back
                assign(self.model.metrics_variables, metrics)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if watcher.see(1):
                self.model.stop_training = True

    model.fit(dataset, epochs=1, verbose=0, shuffle=False, callbacks=[Watching()])


def fitter_of_groups(model: Any) -> Callable[[Iterable[Group], Watcher, Sequence[NDArray[Any]]], None]:
    """Give what does ``fit``'s work several batches at a time: calling a small network's step takes longer than it.

    Args:
        model: As for ``fit``; what is given holds for as long as it stays compiled as it is.

    Returns:
        As ``fit``, of groups in the place of a dataset: (g, n, ...) features, (g, n, K) labels and (g, n) weights of g
        batches of n; the watcher sees each group.
    """
    import tensorflow as tf

    run: Callable[..., Any] | None = None
    train_step = tf.function(model.train_step, autograph=False, jit_compile=True if model.jit_compile else None)

    def train(features: Any, labels: Any, weights: Any) -> None:
        def step(k: Any) -> tuple[Any]:
            train_step((features[k], labels[k], weights[k]))
            return (k + 1,)

        tf.while_loop(lambda k: k < tf.shape(features)[0], step, (0,), parallel_iterations=1)

    def fit_groups(groups: Iterable[Group], watcher: Watcher, metrics: Sequence[NDArray[Any]]) -> None:
        nonlocal run
        for number, group in enumerate(groups):
            if run is None:
                signature = [tf.TensorSpec((None, *entries.shape[1:]), entries.dtype) for entries in group]
                run = tf.function(train, input_signature=signature, autograph=False)
            if number == 0:
                model.reset_metrics()
                if metrics:
                    assign(model.metrics_variables, metrics)
            run(*(tf.constant(entries) for entries in group))
            if watcher.see(len(group[0])):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return fit_groups


@contextmanager
def progress_bar(model: Any, done: int, steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """Draw a bar of an epoch's batches on stderr, if that is a terminal.

    Args:
        model: Whose running loss is shown.
        done: Batches done before.
        steps: Batches of the epoch.
        label: Stands before the bar.

    Returns:
        Call it with the number of batches done.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    import tqdm

    with tqdm.tqdm(total=steps, initial=done, desc=label, unit="batch", leave=False) as bar:

        def tell(done: int) -> None:
            bar.set_postfix_str(f"loss {float(model.get_metrics_result()['loss']):.3f}", refresh=False)
            bar.update(done - bar.n)

        yield tell
