"""The backend of Keras: which one is chosen, whether it can be used here, and in which numbers it builds networks."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cellclf.errors import MissingPackageError, OptionError

SUPPORTED = {"tensorflow": ("cpu", "gpu"), "jax": ("jax",), "torch": ("torch",)}
"""Backend -> the extras of cellclf that bring it."""

_RUNS_IN: dict[str, int] = {}
"""The process in which the backend was first used."""

_INSTALL = (
    "pip install 'cellclf[cpu]' brings TensorFlow, 'cellclf[gpu]' TensorFlow with CUDA, 'cellclf[jax]' JAX, "
    "'cellclf[torch]' PyTorch"
)


def chosen_backend() -> tuple[str, str]:
    """Give the name of the backend that Keras uses or will use, and where it was chosen.

    Examples:
        >>> chosen_backend()[0]
        'tensorflow'
    """
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        return str(keras.config.backend()), "keras.config.backend()"
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"], "the environment variable KERAS_BACKEND"
    home = os.environ.get("KERAS_HOME")
    path = Path(home) if home else Path("~/.keras").expanduser()
    try:
        found = json.loads((path / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that Keras does not read either
        return "tensorflow", "Keras's default"
    return str(found), str(path / "keras.json")


def check_backend() -> None:
    """Raise if Keras cannot run here.

    Raises:
        OptionError: A backend is chosen that cellclf does not run on.
        MissingPackageError: The backend is not installed.
    """
    name, where = chosen_backend()
    if name not in SUPPORTED:
        fix = "set KERAS_BACKEND=tensorflow" if where.startswith("the env") else f"set KERAS_BACKEND, or edit {where}"
        raise OptionError(
            f"{where} chooses the backend {name!r} for Keras; expected {', '.join(SUPPORTED)}: {fix} ({_INSTALL})"
        )
    if not _is_installed(name):
        others = [other for other in SUPPORTED if _is_installed(other)]
        use = f"set KERAS_BACKEND={others[0]}, which is installed; or " if others else ""
        raise MissingPackageError(f"Keras has no backend to run on: {where} is {name}, not installed; {use}{_INSTALL}")


def _is_installed(name: str) -> bool:
    if sys.modules.get(name, name) is None:  # a module that was put aside
        return False
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def check_process() -> None:
    """Refuse a process that was forked from one in which the backend has run, as workers of a server may be.

    Its threads are not in the copy, which would wait for them for ever.

    Raises:
        OptionError: It was; PyTorch can run there.
    """
    name, own = chosen_backend()[0], os.getpid()
    if _RUNS_IN.setdefault("process", own) != own and name != "torch":
        raise OptionError(
            f"this process was forked from one in which {name} has run, and would wait for ever; expected workers of "
            "multiprocessing.get_context('spawn'), or runs that are loaded only after the fork"
        )


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Let Keras build and run networks in float32 within the block, also where the process has another global policy.

    A program that sets ``keras.config.set_dtype_policy("mixed_float16")`` for its own network would else get runs whose
    probabilities are those of half numbers, or layers that do not fit each other. ``Trainer`` has its own option.

    Examples:
        >>> import keras
        >>> keras.config.set_floatx("float64")
        >>> with float32():
        ...     keras.layers.Dense(1).compute_dtype
        'float32'
        >>> keras.config.floatx(), keras.config.set_floatx("float32")
        ('float64', None)
    """
    from keras import config

    check_process()
    floatx, policy = config.floatx(), config.dtype_policy()
    config.set_floatx("float32")
    config.set_dtype_policy("float32")
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)
