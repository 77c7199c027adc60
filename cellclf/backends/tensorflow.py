"""TensorFlow: functions compiled by ``tf.function``, batches from ``tf.data``, epochs by ``Model.fit``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends.counting import count_rows, follow
from cellclf.backends.protocol import Batch, Group, Moving, Train
from cellclf.errors import OptionError
from cellclf.utils.backend import float32

TITLE = "TensorFlow"
PACKAGES = ("tensorflow", "tensorflow-cpu")


def version() -> str:
    """See ``Backend``, as for the others."""
    import tensorflow as tf

    return str(tf.__version__)


def gpus() -> list[str]:
    """Name the GPUs by their models."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [str(gpu.get("device_name", "GPU")) for gpu in details]


def on_processor() -> AbstractContextManager[Any]:
    """Place what is computed on the processor."""
    import tensorflow as tf

    found: AbstractContextManager[Any] = tf.device("/CPU:0")
    return found


def devices(count: int) -> AbstractContextManager[Any]:
    """Each device holds the weights and takes its part of a batch; the gradients are summed (``MirroredStrategy``)."""
    if count == 1:
        return nullcontext()
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    found = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if len(found) < count:
        raise OptionError(
            f"devices={count}, and TensorFlow sees {len(found)} {'GPU' if gpus else 'CPU, no GPU'}; "
            f"expected at most {len(found)}"
        )
    between = None if gpus else tf.distribute.ReductionToOneDevice()
    scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(found[:count], between).scope()
    return scope


def shares_batches() -> bool:
    """Whether there is a strategy."""
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())


def make_deterministic() -> None:
    """Choose operations that repeat bit for bit."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile by XLA."""
    import tensorflow as tf

    made: list[Callable[..., Any]] = []

    def run(*arrays: Any) -> Any:
        given = tf.nest.map_structure(tf.convert_to_tensor, arrays)
        if not made:  # asked for in advance: as in ``forward``
            traced = tf.function(function, jit_compile=True, autograph=False)
            made.append(traced.get_concrete_function(*tf.nest.map_structure(_spec, given)))
        return made[0](*given)

    return run


def _spec(array: Any) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(array.shape, array.dtype)


def forward(model: Any, rows: int | None = None) -> Callable[[NDArray[Any]], Any]:
    """Compile the forward pass once for each type of images."""
    import tensorflow as tf

    made: dict[np.dtype[Any], Any] = {}

    def run(batch: NDArray[Any]) -> Any:
        if batch.dtype not in made:
            entries = tf.TensorSpec((rows, *batch.shape[1:]), batch.dtype)
            # asked for in advance, not traced at the first call: TensorFlow counts those, over all models together
            function = tf.function(lambda images: model(images, training=False), autograph=False)
            with float32():
                made[batch.dtype] = function.get_concrete_function(entries)
        found = made[batch.dtype](tf.constant(batch))
        return [one.numpy() for one in found] if isinstance(found, list | tuple) else found.numpy()

    return run


def slopes(front: Any, rest: Callable[[Any], Any]) -> Callable[[NDArray[Any], Any], tuple[NDArray[Any], ...]]:
    """Record the operations on a tape."""
    import tensorflow as tf

    def run(images: NDArray[Any], chosen: Any) -> tuple[NDArray[Any], ...]:
        maps = front(images, training=False)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            scores = rest(maps)
            now = scores.numpy().argmax(1) if chosen is None else chosen
            target = tf.reduce_sum(tf.gather(scores, now, axis=1, batch_dims=1))
        slope = tf.cast(tape.gradient(target, maps), tf.float32)
        return tf.cast(maps, tf.float32).numpy(), slope.numpy(), scores.numpy(), now

    return run


def batches(
    make: Callable[[], Iterator[Batch]], entries: Sequence[tuple[tuple[int | None, ...], Any]], count: int
) -> Any:
    """Give a ``tf.data.Dataset``."""
    import tensorflow as tf

    signature = tuple(tf.TensorSpec(shape, dtype) for shape, dtype in entries)
    dataset = tf.data.Dataset.from_generator(make, output_signature=signature)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and an epoch would wait for its thread for seconds
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2).with_options(options)


def train_batches(model: Any) -> Train:
    """Train by ``Model.fit``, which also knows how several devices share a batch."""
    import keras

    def train(dataset: Any, begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        class Calling(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                begin()  # Keras has just reset the metrics

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if after(1):
                    self.model.stop_training = True

        with _one_trace_a_stage():
            model.fit(dataset, epochs=1, verbose=0, shuffle=False, callbacks=[Calling()])

    return train


def train_groups(model: Any) -> Train:
    """Loop over the batches of a group within one function: a call costs more than the step of a small network."""
    import tensorflow as tf

    runs: dict[int, Callable[..., Any]] = {}
    train_step = tf.function(model.train_step, autograph=False, jit_compile=True if model.jit_compile else None)

    def many(features: Any, labels: Any, weights: Any) -> None:
        def step(k: Any) -> tuple[Any]:
            train_step((features[k], labels[k], weights[k]))
            return (k + 1,)

        tf.while_loop(lambda k: k < tf.shape(features)[0], step, (0,), parallel_iterations=1)

    def train(groups: Iterable[Batch], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        for number, group in enumerate(groups):
            size = len(group[0][0])
            if size not in runs:  # the last batch of an epoch may be smaller
                signature = [tf.TensorSpec((None, *entries.shape[1:]), entries.dtype) for entries in group]
                runs[size] = tf.function(many, autograph=False).get_concrete_function(*signature)
            if number == 0:
                begin()
            runs[size](*(tf.constant(entries) for entries in group))
            if after(len(group[0])):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train


def place(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Copy them to the first GPU, where there is one."""
    import tensorflow as tf

    return {name: tf.convert_to_tensor(array) for name, array in arrays.items()}


def train_drawn(model: Any, make: Callable[[Any, Any], tuple[Any, ...]], moving: Moving = ()) -> Train:
    """Loop over the batches of a group within one function, in which XLA makes each batch."""
    import tensorflow as tf

    runs: dict[Any, Callable[..., Any]] = {}

    def step(batch: tuple[Any, ...], share: Any) -> None:
        images, labels, weights, real = batch
        with tf.GradientTape() as tape:
            found = model(images, training=True)
            loss = model.compute_loss(images, labels, found, weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        trained = model.trainable_weights
        model.optimizer.apply(tape.gradient(scaled, trained), trained)
        count_rows(model, loss, labels, found, real)
        follow(moving, share)

    train_step = tf.function(step, autograph=False, jit_compile=True if model.jit_compile else None)

    def many(held: Any, drawn: Any, count: Any) -> None:
        made = compiled(make)  # for the rows of these batches

        def body(k: Any) -> tuple[Any]:
            one = {name: entries[k] for name, entries in drawn.items()}
            train_step(made(held, one), one["follow"])
            return (k + 1,)

        tf.while_loop(lambda k: k < count, body, (0,), parallel_iterations=1)

    def train(groups: Iterable[Group], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        for number, (held, drawn, count) in enumerate(groups):
            shapes = tuple((name, tuple(entries.shape)) for name, entries in (*held.items(), *drawn.items()))
            if shapes not in runs:  # asked for in advance: as in ``forward``
                signature = [tf.nest.map_structure(_spec, arrays) for arrays in (held, drawn)]
                function = tf.function(many, autograph=False)
                runs[shapes] = function.get_concrete_function(*signature, tf.TensorSpec((), tf.int32))
            if number == 0:
                begin()
            runs[shapes](held, drawn, tf.constant(count))
            if after(count):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train


@contextmanager
def _one_trace_a_stage() -> Iterator[None]:
    """Leave out TensorFlow's warning of functions that are compiled too often.

    A stage compiles its step once, as it has to. TensorFlow counts over all stages and trainings of the process, and
    where these have few batches it takes them for one function that is compiled again and again.
    """
    logger = logging.getLogger("tensorflow")

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
