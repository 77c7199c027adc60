"""JAX: pure functions of the variables' values, compiled by ``jax.jit``.

On JAX, Keras keeps what it trains apart from the variables until ``fit`` ends, so that what looks at the model after a
batch, such as a checkpoint or an EMA, would see old weights. Here they are written back after each batch or group. No
buffer is given up to the compiled step (donated): arrays that others hold, as an EMA does, stay valid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends.counting import count_rows, follow
from cellclf.backends.prefetch import batches as batches
from cellclf.backends.prefetch import one_by_one
from cellclf.backends.protocol import Batch, Group, Moving, Train
from cellclf.errors import OptionError
from cellclf.utils.backend import float32

TITLE = "JAX"
PACKAGES = ("jax", "jaxlib")

_NAME = "_cellclf_step"
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def version() -> str:
    """See ``Backend``, as for the others."""
    import jax

    return f"jax {jax.__version__}"


def gpus() -> list[str]:
    """Name the devices that are no processors."""
    import jax

    return [str(device.device_kind) for device in jax.devices() if device.platform != "cpu"]


def on_processor() -> AbstractContextManager[Any]:
    """Place what is computed on the processor."""
    import jax

    found: AbstractContextManager[Any] = jax.default_device(jax.devices("cpu")[0])
    return found


def devices(count: int) -> AbstractContextManager[Any]:
    """Refuse several."""
    if count > 1:
        raise OptionError(f"devices={count} needs TensorFlow, and Keras runs on JAX; expected devices=1")
    return nullcontext()


def shares_batches() -> bool:
    """There is no such scope."""
    return False


def make_deterministic() -> None:
    """On a processor it always is; on a GPU a flag must have been set before JAX started."""
    if gpus() and _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise OptionError(
            f"deterministic=True on JAX needs the environment variable XLA_FLAGS={_DETERMINISTIC}, set before Python "
            "starts; expected it, or deterministic=False"
        )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile by XLA."""
    import jax

    found: Callable[..., Any] = jax.jit(function)
    return found


def _call(model: Any) -> tuple[list[Any], Callable[..., Any]]:
    """Give the variables of a model, and its forward pass as a function of their values and images."""
    import keras

    variables = list(model.variables)  # in this order whatever is frozen later

    def call(values: Sequence[Any], images: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))), float32():
            return model(images, training=False)

    return variables, call


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _filled(batch: NDArray[Any]) -> NDArray[Any]:
    """Repeat the last row up to a power of two, since each number of rows is compiled for itself."""
    missing = (1 << (len(batch) - 1).bit_length()) - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, 0)]) if missing else batch


def forward(model: Any, rows: int | None = None) -> Callable[[NDArray[Any]], Any]:
    """Compile the forward pass once for each power of two of images."""
    import jax

    variables, call = _call(model)
    function = jax.jit(call)

    def run(batch: NDArray[Any]) -> Any:
        found = function(_values(variables), batch if rows is not None else _filled(batch))
        if isinstance(found, list | tuple):
            return [np.asarray(one)[: len(batch)] for one in found]
        return np.asarray(found)[: len(batch)]

    return run


def slopes(front: Any, rest: Callable[[Any], Any]) -> Callable[[NDArray[Any], Any], tuple[NDArray[Any], ...]]:
    """Pull one at each image's class back through the rest of the network."""
    import jax

    variables, call = _call(front)

    def both(values: Sequence[Any], images: Any, chosen: Any) -> tuple[Any, ...]:
        maps = call(values, images)
        scores, pull = jax.vjp(rest, maps)
        now = scores.argmax(1) if chosen is None else chosen
        (slope,) = pull(jax.nn.one_hot(now, scores.shape[1], dtype=scores.dtype))
        return maps.astype("float32"), slope.astype("float32"), scores, now

    # the weights of `rest` are constants of the compiled function, which serves one explanation
    function = jax.jit(both)

    def run(images: NDArray[Any], chosen: Any) -> tuple[NDArray[Any], ...]:
        classes = None if chosen is None else _filled(np.asarray(chosen))
        found = function(_values(variables), _filled(images), classes)
        return tuple(np.asarray(one)[: len(images)] for one in found)

    return run


def train_batches(model: Any) -> Train:
    """Train batch by batch."""
    return one_by_one(train_groups(model))


def _step(model: Any) -> Callable[..., Any]:
    """Give the compiled step, which is kept with the optimizer: each compilation of a model has a new one."""
    import jax

    found: Callable[..., Any] | None = getattr(model.optimizer, _NAME, None)
    if found is None:
        found = jax.jit(model.train_step) if model.jit_compile else model.train_step
        object.__setattr__(model.optimizer, _NAME, found)  # past Keras, which looks through what it is given
    return found


def train_groups(model: Any) -> Train:
    """Do the steps of a group one after the other, and write the values back into the variables."""
    step = _step(model)

    def parts() -> tuple[list[Any], ...]:
        # as JAXTrainer.train_step takes them
        return (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )

    def train(groups: Iterable[Batch], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        for number, group in enumerate(groups):
            if number == 0:
                begin()
            state = tuple(map(_values, parts()))
            for batch in zip(*group, strict=True):
                _, state = step(state, batch)
            for variables, values in zip(parts(), state, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            if after(len(group[0])):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train


def place(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Copy them explicitly."""
    import jax

    found: dict[str, Any] = jax.device_put(dict(arrays))
    return found


def train_drawn(model: Any, make: Callable[[Any, Any], tuple[Any, ...]], moving: Moving = ()) -> Train:
    """Loop over the batches of a group within one compiled function, in which the values go from step to step."""
    import jax
    from keras import StatelessScope

    averages = [average for _, average in moving]

    def parts() -> tuple[list[Any], ...]:
        variables = (model.trainable_variables, model.non_trainable_variables)
        return (*variables, model.optimizer.variables, model.metrics_variables, averages)

    def stepped(variables: Sequence[Any], values: Sequence[Any], work: Callable[[], None]) -> list[Any]:
        """Give the values of some variables after some work on them."""
        with StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            work()
        return [scope.get_current_value(variable) for variable in variables]

    def step(state: tuple[list[Any], ...], batch: tuple[Any, ...], share: Any) -> tuple[list[Any], ...]:
        trained, other, optimizer, metrics, followers = state
        images, labels, weights, real = batch
        slopes = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
        (_, (loss, found, other, metrics)), gradients = slopes(
            trained, other, metrics, images, labels, weights, training=True, optimizer_variables=optimizer
        )
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        names = model.metrics_variables
        metrics = stepped(names, metrics, lambda: count_rows(model, loss, labels, found, real))
        if moving:
            variables = [*model.trainable_variables, *model.non_trainable_variables]
            everything = stepped([*variables, *averages], [*trained, *other, *followers], lambda: follow(moving, share))
            followers = everything[len(variables) :]
        return list(trained), list(other), list(optimizer), metrics, followers

    def one(state: tuple[list[Any], ...], held: Any, drawn: Any, k: Any) -> tuple[list[Any], ...]:
        now = {name: entries[k] for name, entries in drawn.items()}
        return step(state, make(held, now), now["follow"])

    def many(state: tuple[list[Any], ...], held: Any, drawn: Any, count: Any) -> tuple[list[Any], ...]:
        done: tuple[list[Any], ...] = jax.lax.fori_loop(0, count, lambda k, state: one(state, held, drawn, k), state)
        return done

    # on a processor XLA computes a convolution inside of a loop ten times slower
    on_gpu = bool(gpus())
    function = jax.jit(many if on_gpu else one)

    def train(groups: Iterable[Group], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        for number, (held, drawn, count) in enumerate(groups):
            if number == 0:
                begin()
            state = tuple(map(_values, parts()))
            for k in (count,) if on_gpu else range(count):
                state = function(state, held, drawn, jax.device_put(np.int32(k)))
            for variables, values in zip(parts(), state, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            if after(count):
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train
