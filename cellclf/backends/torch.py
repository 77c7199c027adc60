"""PyTorch: operations one after the other, on the device that Keras chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numpy.typing import NDArray

from cellclf.backends.counting import count_rows, follow
from cellclf.backends.prefetch import batches as batches
from cellclf.backends.prefetch import one_by_one
from cellclf.backends.protocol import Batch, Group, Moving, Train
from cellclf.errors import OptionError
from cellclf.utils.backend import float32

TITLE = "PyTorch"
PACKAGES = ("torch",)


def version() -> str:
    """See ``Backend``, as for the others."""
    import torch

    return f"torch {torch.__version__}"


def gpus() -> list[str]:
    """Name the GPUs, also those of a Mac."""
    import torch

    if torch.backends.mps.is_available():
        return ["Apple GPU"]
    return [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]


def on_processor() -> AbstractContextManager[Any]:
    """Place what is computed on the processor."""
    import keras

    found: AbstractContextManager[Any] = keras.device("cpu")
    return found


def devices(count: int) -> AbstractContextManager[Any]:
    """Refuse several."""
    if count > 1:
        raise OptionError(f"devices={count} needs TensorFlow, and Keras runs on PyTorch; expected devices=1")
    return nullcontext()


def shares_batches() -> bool:
    """There is no such scope."""
    return False


def make_deterministic() -> None:
    """Choose operations that repeat bit for bit."""
    import torch

    torch.use_deterministic_algorithms(True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave it as it is: compiling takes minutes and a C++ compiler. No gradients are kept."""
    import torch

    found: Callable[..., Any] = torch.no_grad()(function)
    return found


def forward(model: Any, rows: int | None = None) -> Callable[[NDArray[Any]], Any]:
    """Run the model without keeping what gradients need."""
    import torch
    from keras import ops

    def run(batch: NDArray[Any]) -> Any:
        with torch.no_grad(), float32():
            found = model(ops.convert_to_tensor(batch), training=False)
        if isinstance(found, list | tuple):
            return [ops.convert_to_numpy(one) for one in found]
        return ops.convert_to_numpy(found)

    return run


def slopes(front: Any, rest: Callable[[Any], Any]) -> Callable[[NDArray[Any], Any], tuple[NDArray[Any], ...]]:
    """Let PyTorch record the operations behind the layer."""
    import torch
    from keras import ops

    def run(images: NDArray[Any], chosen: Any) -> tuple[NDArray[Any], ...]:
        with torch.no_grad():
            maps = front(ops.convert_to_tensor(images), training=False)
        maps = maps.detach().requires_grad_()
        with torch.enable_grad():
            scores = rest(maps)
            now = scores.argmax(1) if chosen is None else torch.as_tensor(chosen, device=scores.device)
            (slope,) = torch.autograd.grad(scores.gather(1, now[:, None]).sum(), maps)
        return tuple(ops.convert_to_numpy(one) for one in (maps.float(), slope.float(), scores, now))

    return run


def train_batches(model: Any) -> Train:
    """Train batch by batch."""
    return one_by_one(train_groups(model))


def train_groups(model: Any) -> Train:
    """Do the steps of a group one after the other, not compiled: ``torch.compile`` does not take a step of Keras."""
    from keras import ops

    def train(groups: Iterable[Batch], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        model.train()  # layers of PyTorch's own look at this, those of Keras at an argument
        try:
            for number, group in enumerate(groups):
                if number == 0:
                    begin()
                for batch in zip(*group, strict=True):
                    model.train_step(tuple(map(ops.convert_to_tensor, batch)))
                if after(len(group[0])):
                    break
        finally:
            model.eval()
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train


def place(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Copy them to the device that Keras chooses."""
    from keras import ops

    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


def train_drawn(model: Any, make: Callable[[Any, Any], tuple[Any, ...]], moving: Moving = ()) -> Train:
    """Do the steps of a group one after the other, without asking the host."""
    import torch

    make = torch.no_grad()(make)

    def step(batch: tuple[Any, ...], share: Any) -> None:
        images, labels, weights, real = batch
        found = model(images, training=True)
        model.zero_grad()
        loss = model.compute_loss(images, labels, found, weights, training=True)
        model.optimizer.scale_loss(loss).backward()
        with torch.no_grad():
            trained = model.trainable_weights
            model.optimizer.apply([variable.value.grad for variable in trained], trained)
            count_rows(model, loss, labels, found, real)
            follow(moving, share)

    do = torch.compile(step) if model.jit_compile else step

    def train(groups: Iterable[Group], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        model.train()  # as in train_groups
        try:
            for number, (held, drawn, count) in enumerate(groups):
                if number == 0:
                    begin()
                for k in range(count):
                    one = {name: entries[k] for name, entries in drawn.items()}
                    do(make(held, one), one["follow"])
                if after(count):
                    break
        finally:
            model.eval()
        model.optimizer.finalize_variable_values(model.trainable_weights)

    return train
