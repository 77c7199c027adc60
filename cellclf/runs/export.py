"""Export a run's network for other programs: SavedModel, ONNX, LiteRT, each compared with the run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.generated import make_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.sources import Images
from cellclf.errors import CellclfError, ExportError, MissingPackageError, OptionError, one_line, unknown
from cellclf.runs.predict import probabilities
from cellclf.utils.atomic import check_writable, expanded, replacing, replacing_folder, write_json
from cellclf.utils.backend import chosen_backend, float32
from cellclf.utils.parameters import Count, check_arguments
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from cellclf.runs.run import Run

SAVED_MODEL, ONNX, LITERT = "savedmodel", "onnx", "litert"
ENDINGS = {SAVED_MODEL: "", ONNX: ".onnx", LITERT: ".tflite"}
LIMIT = 1e-4
"""Largest difference of a probability to Keras that is accepted."""

CARD = "cellclf.json"
_NEEDS = {SAVED_MODEL: (), ONNX: ("tf2onnx", "onnx", "onnxruntime"), LITERT: ("ai_edge_litert",)}
"""The packages that write each format; the last is its runtime."""
_SAVED_MODEL_FILE = "saved_model.pb"
_BATCH = 64

Predictor = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True, repr=False)
class Exported(Result):
    """A network that was exported for other programs; made by ``Run.export``.

    Args:
        path: The file, or the folder of a SavedModel.
        format: "savedmodel", "onnx" or "litert".
        difference: The largest difference of any probability to the run's own.
        images: How many images that was measured on.
    """

    path: Path
    format: str
    difference: float
    images: int

    def __str__(self) -> str:
        return (
            f"{self.format}: {self.path}; its probabilities differ from the run's by at most {self.difference:.1e} on "
            f"{self.images:,} images"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        return asdict(self) | {"path": str(self.path)}


@float32()
def export(
    run: Run, path: str | Path, *, format: str | None = None, check: ImageSet | None = None, show: bool | None = None
) -> Exported:
    """Write the network of a run in the format of another program, and compare its probabilities with the run's."""
    path = Path(path)
    kind = _format(path, format)
    require_tensorflow(f"writing {path.name}")
    _require(*_NEEDS[kind], what=f"writing {path.name}")
    check_writable(path)
    cells = images_to_compare(run.input_shape) if check is None else check
    if not len(cells):
        raise OptionError("check holds no image; expected cells to compare on, or None")
    place = replacing_folder(path, sign=_SAVED_MODEL_FILE) if kind == SAVED_MODEL else replacing(path)
    with place as new:
        try:
            {SAVED_MODEL: _write_saved_model, ONNX: _write_onnx, LITERT: _write_litert}[kind](run, new)
            difference = _difference(run.model, open_exported(new, format=kind), cells, show=show)
        except (CellclfError, OSError, MemoryError):
            raise
        except Exception as error:  # converters and runtimes raise errors of every kind
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ExportError(
                f"{kind} cannot hold this network ({reason}); {path} is unchanged: try another format"
            ) from error
        if not difference <= LIMIT:
            raise ExportError(
                f"the {kind} network's probabilities differ from the run's by up to {difference:.2g} on {len(cells):,} "
                f"images, more than {LIMIT:g}; {path} is unchanged: try another format"
            )
    return Exported(path, kind, difference, len(cells))


def open_exported(path: str | Path, *, format: str | None = None, n_jobs: Count | None = None) -> Predictor:
    """Open an exported network with the runtime of its format, on the processor.

    Args:
        path: What ``Run.export`` wrote.
        format: "savedmodel", "onnx" or "litert"; None takes it from the name.
        n_jobs: Threads of ONNX Runtime and LiteRT; None uses their own default.

    Returns:
        A function from (n, H, W, 3) uint8 images to (n, K) float32 probabilities.

    Raises:
        OptionError: A name of no format, or no number of threads.
        MissingPackageError: The format's runtime is not installed.
        ExportError: No file there, or one that the runtime cannot open.
    """
    check_arguments(open_exported, n_jobs=n_jobs)
    path = expanded(path)
    kind = _format(path, format)
    _require(*_NEEDS[kind][-1:], what=f"opening {path.name}")
    if not path.exists():
        raise ExportError(f"there is no {str(path)!r}; expected what Run.export wrote")
    try:
        return _opened(path, kind, n_jobs)
    except CellclfError:
        raise
    except Exception as error:  # each runtime has its own
        raise ExportError(
            f"{path} cannot be opened as {kind} ({one_line(str(error))[:200]}); expected what Run.export wrote"
        ) from error


def _opened(path: Path, kind: str, n_jobs: int | None) -> Predictor:
    if kind == SAVED_MODEL:
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingPackageError(f"opening {Path(path).name} needs TensorFlow: pip install 'cellclf[cpu]'")
        from cellclf.backends.tensorflow_files import open_saved_model

        return open_saved_model(path)
    if kind == ONNX:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_jobs or 0
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda images: np.asarray(session.run(["probabilities"], {"images": images})[0])
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=n_jobs).get_signature_runner()
    return lambda images: np.array(runner(images=images)["probabilities"])


def _require(*packages: str, what: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{what} needs {', '.join(missing)}: pip install 'cellclf[export]'")


def require_tensorflow(what: str) -> None:
    """Raise if Keras does not run on TensorFlow, from whose functions other formats are written.

    Raises:
        OptionError: It runs on another backend; a run folder can be opened on each.
    """
    if chosen_backend()[0] != "tensorflow":
        raise OptionError(
            f"{what} needs Keras on TensorFlow, and it runs on {current().TITLE}; run folders can be opened on every "
            "backend: set KERAS_BACKEND=tensorflow for this (pip install 'cellclf[cpu]')"
        )


def card(run: Run) -> dict[str, Any]:
    """Describe the input and the output of the network, for the program that uses it."""
    height, width, _ = run.input_shape
    return {
        "class_names": list(run.class_names),
        "temperature": None if run.confidence is None else run.confidence.temperature,
        "images": f"(n, {height}, {width}, 3) uint8, 0-255, RGB",
        "probabilities": f"(n, {len(run.class_names)}) float32, not calibrated, in the order of class_names",
        "cellclf": importlib.metadata.version("cellclf"),
    }


def _format(path: Path, given: str | None) -> str:
    if given is not None and given not in ENDINGS:
        raise unknown("export format", given, ENDINGS)
    by_name = next((kind for kind, ending in ENDINGS.items() if ending == path.suffix.lower()), None)
    if given is None and by_name is None:
        raise OptionError(
            f"{str(path)!r} names no format; expected one ending in .onnx or .tflite, or without ending (SavedModel)"
        )
    if given is not None and (ENDINGS[given] or by_name) and given != by_name:
        expected = f"ending in {ENDINGS[given]}" if ENDINGS[given] else "of a folder"
        raise OptionError(f"{str(path)!r} does not fit the format {given!r}; expected a name {expected}")
    return given or by_name or SAVED_MODEL


def images_to_compare(shape: tuple[int, int, int]) -> ImageSet:
    """Make images to compare on: generated cells, noise, black and white."""
    height, width, _ = shape
    cells = make_cells(32, size=max(height, width, 24), seed=0).images[:, :height, :width]
    noise = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    return ImageSet(
        np.concatenate([cells, noise, np.zeros((1, *shape), np.uint8), np.full((1, *shape), 255, np.uint8)])
    )


def _difference(model: Any, predict: Predictor, cells: ImageSet, *, show: bool | None) -> float:
    """Measure the largest difference of any probability, also for a single image; infinite if one is not a number."""
    largest = 0.0
    for number, batch in enumerate(cells.batches(_BATCH, label="comparing", show=show)):
        with current().on_processor():  # a GPU rounds differently, which is not a difference of the export
            expected = probabilities(model, batch, batch_size=_BATCH)
        found = [(predict(batch), expected)] + ([] if number else [(predict(batch[:1]), expected[:1])])
        for one, other in found:
            apart = np.abs(one - other).max() if one.shape == other.shape else np.nan
            largest = max(largest, float(apart)) if np.isfinite(apart) else float("inf")
    return largest


def _write_saved_model(run: Run, folder: Path) -> None:
    import keras

    model = run.model
    # behind a layer of preprocessing, Keras traces the others as in training, if `training` is left open
    named_output = keras.Model(model.inputs, {"probabilities": model(model.inputs[0], training=False)})
    signature = keras.InputSpec(shape=(None, *run.input_shape), dtype="uint8", name="images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named_output.export(str(folder), format="tf_saved_model", input_signature=[signature], verbose=False)
    extra = folder / "assets.extra"  # the place for files of other programs in a SavedModel
    extra.mkdir()
    write_json(extra / CARD, card(run))


def onnx_model(model: Any, shape: tuple[int, ...], outputs: Sequence[str]) -> Any:
    """Convert a Keras model to ONNX, for any number of images.

    Args:
        model: From (n, H, W, 3) 0-255 images to one output or several.
        shape: Height, width and channels.
        outputs: Names of its outputs, in order.

    Returns:
        The ONNX model, whose input is ``images``, uint8.
    """
    from cellclf.backends.tensorflow_files import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = to_onnx(model, shape, outputs)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return proto


def _write_onnx(run: Run, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx

    proto = onnx_model(run.model, run.input_shape, ["probabilities"])
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card(run).items()}
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, str(path))


def _write_litert(run: Run, path: Path) -> None:
    from cellclf.backends.tensorflow_files import to_litert

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _write_saved_model(run, Path(folder) / "model")
        path.write_bytes(to_litert(Path(folder) / "model"))
    with zipfile.ZipFile(path, "a") as archive:  # LiteRT reads from the start, zip from the end: one file is both
        archive.writestr("labels.txt", "\n".join(run.class_names) + "\n")
        archive.writestr(CARD, json.dumps(card(run), indent=1) + "\n")
