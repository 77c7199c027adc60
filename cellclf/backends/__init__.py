"""The backends of Keras: one file each, with what Keras itself does not offer. Nothing else imports a backend."""

from __future__ import annotations

import importlib
from typing import cast

from cellclf.backends.protocol import Backend


def current() -> Backend:
    """Give the functions of the backend that Keras runs on.

    Examples:
        >>> import keras
        >>> current().__name__.endswith(keras.config.backend())
        True
    """
    import keras

    return cast(Backend, importlib.import_module(f"cellclf.backends.{keras.config.backend()}"))
