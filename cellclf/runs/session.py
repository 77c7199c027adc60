"""The network of a run in ONNX Runtime, which is faster than Keras on a processor, and compared with it before use.

Converting a network takes seconds, so that what was converted is kept beside it in the run folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfError, CellclfWarning, MissingPackageError
from cellclf.runs.export import LIMIT, images_to_compare, onnx_model, require_tensorflow
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.forward import forward
from cellclf.runs.provenance import versions, weights_sha256
from cellclf.utils.atomic import replacing
from cellclf.utils.backend import chosen_backend, float32

PACKAGES = ("onnxruntime", "tf2onnx", "onnx")
COMPARED = 64
"""Images on which the two are compared."""
KEPT = "onnx.zip"
"""Name of the file in a run folder."""

_FEATURES = 1e-3  # largest difference of a feature, relative to the largest feature
_AGAIN = 4  # images whose outputs are kept, to try the file again on another machine
_log = logging.getLogger("cellclf")


class Session:
    """A network in ONNX Runtime, on the processor; made by ``open_session`` or ``kept_session``.

    Args:
        model: Keras model from images to probabilities.
        outputs: Names of what the network gives: "probabilities", and perhaps "features" before it.
        onnx: The network as bytes of an ONNX file.
        weights: ``weights_sha256`` of the model.
        difference: Largest difference of a probability to Keras.
        compared: On how many images.
    """

    def __init__(
        self, model: Any, outputs: Sequence[str], onnx: bytes, weights: str, *, difference: float, compared: int
    ) -> None:
        import onnxruntime

        self.model = model
        self.difference = difference
        self.compared = compared
        self.outputs = tuple(outputs)
        self.gives_features = len(self.outputs) > 1
        self._session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self._weights = weights
        self._variables = list(model.weights)
        self._all, self._last = _values(self._variables), _values(self._variables[-2:])
        self._checksums: list[int] | None = None
        self._head = _checksums(self._last())
        self._unchecked = 0

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

    def run(self, images: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Give all outputs for (n, H, W, 3) uint8 images."""
        return [np.asarray(one) for one in self._session.run(list(self.outputs), {"images": images})]

    def is_of(self, model: Any, *, images: int) -> bool:
        """Whether this is still that network: weights that were changed since are not in the session.

        All weights are compared before every 64 images, as one set or one at a time, those of the last layer always.

        Args:
            model: The network as it is now.
            images: How many are to be predicted.
        """
        if model is not self.model or _checksums(self._last()) != self._head:
            return False
        self._unchecked += images
        if self._unchecked < COMPARED:
            return True
        self._unchecked = 0
        now = model.weights
        if len(now) != len(self._variables) or any(a is not b for a, b in zip(now, self._variables, strict=True)):
            return False
        if self._checksums is None:  # made at the first need: a single prediction needs none
            self._checksums = _checksums(self._all())
            return weights_sha256(model) == self._weights
        return _checksums(self._all()) == self._checksums


def _checksums(values: Sequence[NDArray[Any]]) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(value).data) for value in values]


def open_session(
    model: Any, cells: ImageSet, reader: FeatureReader | None, folder: Path | None = None
) -> Session | None:
    """Convert a network, compare the two, and keep what was converted.

    Args:
        model: Keras model from images to probabilities.
        cells: The images that are to be predicted; the two are compared on the first of them, or, where they are few,
            on generated ones.
        reader: Of the model, if features are asked for, too.
        folder: Of the run, which keeps the converted network if it can be written; None keeps nothing.

    Returns:
        The session; None, with a warning, where the network cannot be converted or gives other probabilities.
    """
    network, names = _network(model, reader)
    shape = tuple(model.input_shape[1:])
    drawn = images_to_compare(shape)
    few = len(cells) < COMPARED
    images = np.ascontiguousarray((drawn if few else cells).read(np.arange(COMPARED)))
    weights = weights_sha256(model)
    try:
        with float32():
            onnx = onnx_model(network, shape, names).SerializeToString()
        session = Session(model, names, onnx, weights, difference=0.0, compared=COMPARED)
        expected = _in_keras(network, images)
        session.difference, fits = _agree(expected, session.run(images))
    except MemoryError:
        raise
    except Exception as error:  # converter and runtime raise errors of every kind
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        warnings.warn(f"ONNX Runtime cannot hold this network ({reason}); Keras is used", CellclfWarning, stacklevel=5)
        return None
    if not fits:
        warnings.warn(
            f"in ONNX Runtime this network gives other probabilities (by up to {session.difference:.2g} on "
            f"{len(images)} images; {LIMIT:g} is allowed) or other features; Keras is used",
            CellclfWarning,
            stacklevel=5,
        )
        return None
    if folder is not None:
        again = drawn.read(np.linspace(0, len(drawn) - 1, _AGAIN).astype(int))  # never images of a patient
        _keep(folder / KEPT, session, onnx, _key(network, weights), again, _in_keras(network, again))
    return session


def kept_session(model: Any, reader: FeatureReader | None, folder: Path | None) -> Session | None:
    """Open what an earlier prediction converted and kept in the run folder.

    Nothing is trusted that was made from other weights, of another network or by another version of a package, or that
    does not give again what Keras gave.

    Args:
        model: Keras model from images to probabilities.
        reader: Of the model, if features are asked for, too.
        folder: Of the run.

    Returns:
        The session; None if there is none that can be used.
    """
    if folder is None or not (folder / KEPT).is_file():
        return None
    network, names = _network(model, reader)
    weights = weights_sha256(model)
    try:
        with zipfile.ZipFile(folder / KEPT) as archive:  # which compares checksums as it reads
            about = json.loads(archive.read("about.json"))
            if about["key"] != _key(network, weights) or about["outputs"] != list(names):
                return None
            given = [
                np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False) for name in ("images", *names)
            ]
            onnx = archive.read("network.onnx")
        difference, compared = float(about["difference"]), int(about["compared"])
        session = Session(model, names, onnx, weights, difference=difference, compared=compared)
        return session if _agree(given[1:], session.run(given[0]))[1] else None
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive and the runtime raise errors of every kind
        _log.debug("%s cannot be used (%s), and is made again when it pays", folder / KEPT, error)
        return None


def _network(model: Any, reader: FeatureReader | None) -> tuple[Any, tuple[str, ...]]:
    """Give the network that is converted, and the names of its outputs."""
    return (model, ("probabilities",)) if reader is None else (reader.network, ("features", "probabilities"))


def _in_keras(network: Any, images: NDArray[Any]) -> list[Any]:
    found = forward(network)(images)
    return list(found) if isinstance(found, list | tuple) else [found]


def _agree(expected: Sequence[Any], found: Sequence[Any]) -> tuple[float, bool]:
    """Give the largest difference of a probability, the last output, and whether the two may stand for each other."""
    apart = _apart(expected[-1], found[-1])
    features = [
        _apart(one, other) <= _FEATURES * float(np.abs(one).max()) for one, other in zip(expected, found, strict=True)
    ]
    return apart, apart <= LIMIT and all(features[:-1])


def _keep(path: Path, session: Session, onnx: bytes, key: str | None, images: NDArray[Any], outputs: list[Any]) -> None:
    """Write a converted network into a run folder; a folder that is read-only or full is left as it is."""
    if key is None or not path.parent.stat().st_mode & 0o222:  # an administrator could write all the same
        return
    about = {
        "key": key,
        "outputs": session.outputs,
        "difference": session.difference,
        "compared": session.compared,
        "about": "the network of this run in ONNX, for predictions; made again where it is missing",
    }
    try:
        with replacing(path) as new, zipfile.ZipFile(new, "w") as archive:
            archive.writestr("about.json", json.dumps(about, indent=1))
            for name, values in zip(("images", *session.outputs), (images, *outputs), strict=True):
                file = io.BytesIO()
                np.save(file, values)
                archive.writestr(f"{name}.npy", file.getvalue())
            archive.writestr("network.onnx", onnx)
    except (OSError, CellclfError) as error:
        _log.debug("the converted network is not kept: %s", error)


def _key(network: Any, weights: str) -> str | None:
    """Hash all that a converted network depends on; None where Keras cannot write the network down.

    Layers are numbered: Keras names those that have no name of their own by how many it has made before.
    """
    try:
        layers = json.loads(network.to_json())
    except (NotImplementedError, TypeError, ValueError):
        return None
    numbers: dict[str, int] = {}

    def numbered(value: Any) -> Any:
        if isinstance(value, dict):
            if isinstance(name := value.get("name"), str):
                numbers.setdefault(name, len(numbers))
            return {key: numbered(one) for key, one in value.items()}
        if isinstance(value, list):
            return [numbered(one) for one in value]
        return numbers.get(value, value) if isinstance(value, str) else value

    made_by = {name: importlib.metadata.version(name) for name in ("onnxruntime",)} | versions()
    text = json.dumps([numbered(layers), weights, made_by], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _values(variables: Sequence[Any]) -> Callable[[], list[NDArray[Any]]]:
    """Give a function that reads variables of Keras, which for one image must not take as long as the network."""
    if chosen_backend()[0] != "tensorflow":
        return lambda: [np.ascontiguousarray(variable.numpy()) for variable in variables]
    from cellclf.backends.tensorflow_files import values_reader

    return values_reader(variables)


def is_faster(*, kept: bool = False) -> bool:
    """Whether ONNX Runtime can be used and is faster than Keras, which it is not beside a GPU.

    Args:
        kept: The network is converted already, so that only the runtime is needed.
    """
    needed = PACKAGES[:1] if kept else PACKAGES
    if any(importlib.util.find_spec(name) is None for name in needed) or chosen_backend()[0] != "tensorflow":
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
