"""The network of a run in ONNX Runtime, which is faster than Keras on a processor, and compared with it before use."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfWarning, MissingPackageError
from cellclf.runs.export import LIMIT, images_to_compare, onnx_model, require_tensorflow
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.forward import forward
from cellclf.runs.provenance import weights_sha256
from cellclf.utils.backend import chosen_backend, float32

PACKAGES = ("onnxruntime", "tf2onnx", "onnx")
COMPARED = 64
"""Images on which the two are compared."""

_FEATURES = 1e-3  # largest difference of a feature, relative to the largest feature


class Session:
    """A network in ONNX Runtime, on the processor; made by ``open_session``.

    Args:
        model: Keras model from images to probabilities.
        network: What is computed: the same, or a model that gives features and probabilities.
        proto: ``network`` as ONNX.
    """

    def __init__(self, model: Any, network: Any, proto: Any) -> None:
        import onnxruntime

        self.model = model
        self.difference = 0.0
        self.compared = 0
        self._outputs = [value.name for value in proto.graph.output]
        self.gives_features = len(self._outputs) > 1
        self._session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        self._weights, self._last = weights_sha256(model), model.weights[-2:]
        self._head = self._last_bytes()
        self._network = network

    def __str__(self) -> str:
        version = importlib.metadata.version("onnxruntime")
        return (
            f"ONNX Runtime {version}: probabilities within {max(self.difference, 1e-9):.0e} of Keras's on "
            f"{self.compared} images"
        )

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Give (n, K) probabilities of (n, H, W, 3) uint8 images."""
        return np.asarray(self._session.run(["probabilities"], {"images": images})[0])

    def both(self, images: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
        """Give (n, d) features and (n, K) probabilities of (n, H, W, 3) uint8 images."""
        found: Sequence[NDArray[np.float32]] = self._session.run(["features", "probabilities"], {"images": images})
        return found

    def is_of(self, model: Any, *, images: int) -> bool:
        """Whether this is still that network: weights that were changed since are not in the session.

        Args:
            model: The network as it is now.
            images: How many are to be predicted; for few, only the weights of the last layer are compared.
        """
        if model is not self.model or self._last_bytes() != self._head:
            return False
        return images < COMPARED or weights_sha256(model) == self._weights

    def _last_bytes(self) -> bytes:
        """Give the last weights of the network, which hardly any change leaves as they are."""
        return b"".join(np.asarray(variable.numpy()).tobytes() for variable in self._last)

    def agrees(self, images: NDArray[Any]) -> bool:
        """Compare with Keras, and keep the largest difference of a probability.

        Args:
            images: (n, H, W, 3) uint8.
        """
        expected, found = forward(self._network)(images), self._session.run(self._outputs, {"images": images})
        expected = list(expected) if isinstance(expected, list | tuple) else [expected]
        self.difference, self.compared = _apart(expected[-1], found[-1]), len(images)
        if not self.difference <= LIMIT:
            return False
        return not self.gives_features or _apart(expected[0], found[0]) <= _FEATURES * float(np.abs(expected[0]).max())


def open_session(model: Any, cells: ImageSet, reader: FeatureReader | None) -> Session | None:
    """Convert a network, and compare the two.

    Args:
        model: Keras model from images to probabilities.
        cells: The images that are to be predicted; the two are compared on the first of them, or, where they are few,
            on generated ones.
        reader: Of the model, if features are asked for, too.

    Returns:
        The session; None, with a warning, where the network cannot be converted or gives other probabilities.
    """
    network = model if reader is None else reader.network
    shape = tuple(model.input_shape[1:])
    few = len(cells) < COMPARED
    images = np.ascontiguousarray((images_to_compare(shape) if few else cells).read(np.arange(COMPARED)))
    names = ("features", "probabilities") if reader is not None else ("probabilities",)
    try:
        with float32():
            session = Session(model, network, onnx_model(network, shape, names))
        fits = session.agrees(images)
    except MemoryError:
        raise
    except Exception as error:  # converter and runtime raise errors of every kind
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        warnings.warn(f"ONNX Runtime cannot hold this network ({reason}); Keras is used", CellclfWarning, stacklevel=4)
        return None
    if not fits:
        warnings.warn(
            f"in ONNX Runtime this network gives other probabilities (by up to {session.difference:.2g} on "
            f"{len(images)} images; {LIMIT:g} is allowed) or other features; Keras is used",
            CellclfWarning,
            stacklevel=4,
        )
        return None
    return session


def is_faster() -> bool:
    """Whether ONNX Runtime can be used and is faster than Keras, which it is not beside a GPU."""
    if any(importlib.util.find_spec(name) is None for name in PACKAGES) or chosen_backend()[0] != "tensorflow":
        return False
    return not current().gpus()


def require_packages() -> None:
    """Raise if ONNX Runtime, or what converts to it, is not there.

    Raises:
        MissingPackageError: A package is not installed.
        OptionError: Keras runs on a backend whose networks are not converted.
    """
    require_tensorflow("runtime='onnx'")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise MissingPackageError(f"runtime='onnx' needs {', '.join(missing)}: pip install 'cellclf[export]'")


def _apart(one: Any, other: Any) -> float:
    """Give the largest difference; infinite if one is not a number or the shapes differ."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    apart = float(np.abs(one - other).max()) if one.shape == other.shape else np.inf
    return apart if np.isfinite(apart) else float("inf")
