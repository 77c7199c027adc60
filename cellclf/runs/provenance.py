"""Provenance of a run: the hash of its weights, versions of packages, the machine, and the date."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
from typing import Any

import numpy as np

from cellclf.backends import current


def weights_sha256(model: Any) -> str:
    """Hash the weights of a Keras model: shapes, types and bytes in order; names and random states are left out.

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> len(weights_sha256(model)), weights_sha256(model) == weights_sha256(keras.models.clone_model(model))
        (64, True)
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.dtype.name} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Give the versions of the packages that determine a run; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in ("cellclf", "keras", *current().PACKAGES, "numpy", "scikit-learn"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Give the date and time of day, to the second and in UTC: a run is read on other machines.

    Examples:
        >>> len(now()), now()[10], now()[-1]
        (20, 'T', 'Z')
    """
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine() -> dict[str, Any]:
    """Describe the machine: system, processor, and the GPUs that the backend finds."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "gpus": current().gpus(),
    }
