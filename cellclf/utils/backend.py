"""The backend of Keras: which one is chosen, where, and whether it can be used here; known without importing it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from cellclf.errors import MissingPackageError, OptionError

SUPPORTED = {"tensorflow": "pip install 'cellclf[cpu]' brings TensorFlow"}
"""Backend -> how to get it."""


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
            f"{where} chooses the backend {name!r} for Keras; expected {' or '.join(SUPPORTED)}: {fix} "
            f"({'; '.join(SUPPORTED.values())})"
        )
    if not _is_installed(name):
        raise MissingPackageError(f"Keras has no backend to run on: {SUPPORTED[name]}")


def _is_installed(name: str) -> bool:
    if sys.modules.get(name, name) is None:  # a module that was put aside
        return False
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
