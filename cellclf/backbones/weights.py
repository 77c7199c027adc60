"""Load a file of weights into a network, or report in one line why it does not fit."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cellclf.errors import WeightsError

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")


def load_weights(model: Any, path: Path, *, network: str, alpha: float | None = None) -> None:
    """Load the weights of a file that Keras wrote for the same network.

    Layers without weights do not matter: a file of the plain network fits the one with its preprocessing in front.
    Layers that only the file has, such as a classifier, are ignored.

    Args:
        model: The network, a keras.Model; after an error its weights are undefined.
        path: A ``.weights.h5``, ``.h5`` or ``.keras`` file.
        network: Name of the network in an error.
        alpha: The network's width multiplier, if it has one, so that an error can name the one that fits.

    Raises:
        WeightsError: The file is missing, unreadable, or of another network.
    """
    check_path(path, network=network)
    shapes = _file_shapes(path, network=network)
    # before Keras loads it: for a file that does not fit, Keras warns once a layer and then raises a page of text
    rest = Counter(shapes)
    for variable in model.weights:
        shape = tuple(variable.shape)
        rest[shape] -= 1
        if rest[shape] < 0:
            reason = f"{variable.path} has the shape {shape}, and the file has no further array of it"
            raise WeightsError(f"the weights in {path} do not fit {network}: {reason}{_hint(model, shapes, alpha)}")
    try:
        model.load_weights(path)
    # h5py and Keras raise errors of many kinds for files that they cannot use
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"the weights in {path} do not fit {network}: {reason}{_hint(model, shapes, alpha)}"
        ) from error


def check_path(path: Path, *, network: str) -> None:
    """Raise WeightsError unless the file exists and has a suffix that Keras reads."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"the weights file {str(path)!r} for {network} {what}; expected a file ({', '.join(SUFFIXES)}) "
            "or weights=None"
        )
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(
            f"the weights file {str(path)!r} for {network} is of an unknown kind; expected {', '.join(SUFFIXES)}"
        )


def _hint(model: Any, shapes: list[tuple[int, ...]], alpha: float | None) -> str:
    """Compare the first convolutions over three channels: other numbers of filters mean another width."""
    ours = _stem(tuple(variable.shape) for variable in model.weights)
    theirs = _stem(shapes)
    if ours is None or theirs is None or ours[:3] != theirs[:3] or ours == theirs:
        return "; expected weights that were saved from the same network with the same parameters"
    hint = f"; its first convolution has {theirs[3]} filters, this network's {ours[3]}"
    if alpha is not None:
        hint += (
            f": if it is the same network of another width, pass params={{'alpha': {alpha * theirs[3] / ours[3]:.4g}}}"
        )
    return hint


def _stem(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...] | None:
    return next((shape for shape in shapes if len(shape) == 4 and shape[2] == 3), None)


def _file_shapes(path: Path, *, network: str) -> list[tuple[int, ...]]:
    """Return the shapes of all arrays in a file of weights."""
    import h5py  # type: ignore[import-untyped]  # ships no type information

    shapes: list[tuple[int, ...]] = []

    def collect(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            shapes.append(tuple(item.shape))

    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            file.visititems(collect)
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} is not a file of Keras weights ({reason}); expected one of {network}") from error
    return shapes
