"""A device that is full: one line with the setting that helps, in place of a page of a library's own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from cellclf.errors import TrainingError

_KINDS = ("ResourceExhaustedError", "OutOfMemoryError")
_SIGNS = (
    "resource_exhausted",
    "out of memory",
    "failed to allocate",
    "oom when allocating",
    "cuda_error_out_of_memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Decide whether an error of TensorFlow, JAX or PyTorch means that the memory of a device is full.

    Examples:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), is_out_of_memory(OSError())
        (True, False)
    """
    if isinstance(error, OSError):
        return False
    return type(error).__name__ in _KINDS or any(sign in str(error).lower() for sign in _SIGNS)


@contextlib.contextmanager
def naming_batch_size(batch_size: int, *, training: bool) -> Iterator[None]:
    """Report a full device as one line that names ``batch_size``.

    Args:
        batch_size: Images at a time.
        training: Whether ``accumulate`` is an answer, too.

    Raises:
        TrainingError: The device is full.
    """
    try:
        yield
    except MemoryError:  # the machine's own memory, which the images take
        raise
    except Exception as error:  # every backend has its own
        if isinstance(error, TrainingError) or not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:160]
        half = max(1, batch_size // 2)
        keep = ", and accumulate=2 keeps the size of its steps" if training else ""
        raise TrainingError(
            f"the device has not enough memory for batch_size={batch_size} ({reason}); a smaller one, such as "
            f"batch_size={half}, needs less{keep}"
        ) from error


class _HasBatchSize(Protocol):
    batch_size: int


Result = TypeVar("Result")


def full_device_names_batch_size(method: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate the training of an object that has a ``batch_size``; see ``naming_batch_size``."""

    @functools.wraps(method)
    def named(self: _HasBatchSize, *args: Any, **options: Any) -> Result:
        with naming_batch_size(self.batch_size, training=True):
            return method(self, *args, **options)

    return named
