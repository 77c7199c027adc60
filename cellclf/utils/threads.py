"""Threads of the libraries under numpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the BLAS compute on one thread within the block.

    For matrices of some hundred rows its threads wait for each other longer than they compute, and several times as
    long where other programs need the processor.

    Examples:
        >>> import numpy as np
        >>> with one_blas_thread():
        ...     float((np.eye(3) @ np.ones(3)).sum())
        3.0
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401 - has a BLAS of its own, which only a controller made afterwards knows
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
