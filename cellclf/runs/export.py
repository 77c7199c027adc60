"""A run's network for other programs: SavedModel, ONNX, LiteRT, each proven to say what the run says."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.generated import make_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.sources import Images
from cellclf.errors import CellclfError, ExportError, MissingPackageError, OptionError, unknown
from cellclf.runs.predict import probabilities
from cellclf.utils.atomic import replacing, replacing_folder

if TYPE_CHECKING:
    from cellclf.runs.run import Run

SAVED_MODEL, ONNX, LITERT = "savedmodel", "onnx", "litert"
ENDINGS = {SAVED_MODEL: "", ONNX: ".onnx", LITERT: ".tflite"}
LIMIT = 1e-4
"""Largest difference of a probability to Keras that is let through."""

CARD = "cellclf.json"
_NEEDS = {SAVED_MODEL: (), ONNX: ("tf2onnx", "onnx", "onnxruntime"), LITERT: ("ai_edge_litert",)}
"""The packages that write each format; the last is its runtime."""
_SIGN = "saved_model.pb"
_BATCH = 64

Teller = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """A network that was written for other programs; made by ``Run.export``.

    Args:
        path: The file, or the folder of a SavedModel.
        format: "savedmodel", "onnx" or "litert".
        difference: The largest difference of any probability to the run's own.
        images: On how many images that was measured.
    """

    path: Path
    format: str
    difference: float
    pictures: int

    def __str__(self) -> str:
        return (
            f"{self.format}: {self.path}; its probabilities differ from the run's by at most {self.difference:.1e} on "
            f"{self.pictures:,} images"
        )


def export(
    run: Run, path: str | Path, *, format: str | None = None, check: ImageSet | None = None, show: bool = False
) -> Exported:
    """Write the network of a run for other programs and compare what it says; see ``Run.export``."""
    path = Path(path)
    kind = _format(path, format)
    _require(*_NEEDS[kind], what=f"writing {path.name}")
    cells = _images(run.input_shape) if check is None else check
    if not len(cells):
        raise OptionError("check holds no image; expected cells to compare the exported network on, or None")
    place = replacing_folder(path, sign=_SIGN) if kind == SAVED_MODEL else replacing(path)
    with place as new:
        try:
            {SAVED_MODEL: _write_saved_model, ONNX: _write_onnx, LITERT: _write_litert}[kind](run, new)
            difference = _difference(run.model, open_exported(new, format=kind), cells, show=show)
        except (CellclfError, OSError, MemoryError):
            raise
        except Exception as error:  # converters and runtimes raise whatever they stumble over
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ExportError(
                f"{kind} cannot hold this network ({reason}), and {path} is as it was: try another format"
            ) from error
        if not difference <= LIMIT:
            raise ExportError(
                f"the {kind} network's probabilities differ from the run's by up to {difference:.2g} on {len(cells):,} "
                f"images, more than {LIMIT:g}, and {path} is as it was: try another format"
            )
    return Exported(path, kind, difference, len(cells))


def open_exported(path: str | Path, *, format: str | None = None, n_jobs: int | None = None) -> Teller:
    """Open an exported network with the runtime of its format, on the processor.

    Args:
        path: What ``Run.export`` wrote.
        format: "savedmodel", "onnx" or "litert"; None tells it by the name.
        n_jobs: For ONNX Runtime and LiteRT; None leaves it to them.

    Returns:
        A function from (n, H, W, 3) uint8 images to (n, K) float32 probabilities.

    Raises:
        OptionError: A name that tells no format.
        MissingPackageError: The format's runtime is not installed.
    """
    kind = _format(Path(path), format)
    _require(*_NEEDS[kind][-1:], what=f"opening {Path(path).name}")
    if kind == SAVED_MODEL:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]

        def tell(pictures: Images) -> NDArray[np.float32]:
            with tf.device("/CPU:0"):
                return np.asarray(serve(pictures=tf.constant(pictures))["probabilities"])

        tell.loaded = loaded  # type: ignore[attr-defined]  # its variables live as long as it does
        return tell
    if kind == ONNX:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_jobs or 0
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda pictures: np.asarray(session.run(["probabilities"], {"images": pictures})[0])
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=n_jobs).get_signature_runner()
    return lambda pictures: np.array(runner(pictures=pictures)["probabilities"])


def _require(*packages: str, what: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{what} needs {', '.join(missing)}: pip install 'cellclf[export]'")


def card(run: Run) -> dict[str, Any]:
    """Tell what a program must know to use the network: what goes in, what comes out, and what it means."""
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
            f"{str(path)!r} tells no format; expected a name that ends in .onnx, .tflite, or nothing for a SavedModel"
        )
    if given is not None and (ENDINGS[given] or by_name) and given != by_name:
        wanted = f"ends in {ENDINGS[given]}" if ENDINGS[given] else "is that of a folder"
        raise OptionError(f"{str(path)!r} is no name for the format {given!r}; expected one that {wanted}")
    return given or by_name or SAVED_MODEL


def _images(shape: tuple[int, int, int]) -> ImageSet:
    """Make images to compare on: drawn cells, noise, black and white."""
    height, width, _ = shape
    cells = make_cells(32, size=max(height, width, 24), seed=0).images[:, :height, :width]
    noise = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    return ImageSet(
        np.concatenate([cells, noise, np.zeros((1, *shape), np.uint8), np.full((1, *shape), 255, np.uint8)])
    )


def _difference(model: Any, tell: Teller, cells: ImageSet, *, show: bool) -> float:
    """Measure the largest difference of any probability, also of an image alone; infinite where one is no number."""
    import tensorflow as tf

    largest = 0.0
    for number, batch in enumerate(cells.batches(_BATCH, label="comparing", show=show)):
        with tf.device("/CPU:0"):  # a GPU's own rounding is no fault of the export
            wanted = probabilities(model, batch, batch_size=_BATCH)
        found = [(tell(batch), wanted)] + ([] if number else [(tell(batch[:1]), wanted[:1])])
        for one, other in found:
            apart = np.abs(one - other).max() if one.shape == other.shape else np.nan
            largest = max(largest, float(apart)) if np.isfinite(apart) else float("inf")
    return largest


def _write_saved_model(run: Run, folder: Path) -> None:
    import keras

    model = run.model
    named = keras.Model(model.inputs, {"probabilities": model.output})
    taken = keras.InputSpec(shape=(None, *run.input_shape), dtype="uint8", name="images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named.export(str(folder), format="tf_saved_model", input_signature=[taken], verbose=False)
    extra = folder / "assets.extra"  # where TensorFlow leaves room for the files of others
    extra.mkdir()
    (extra / CARD).write_text(json.dumps(card(run), indent=1) + "\n", encoding="utf-8")


def _write_onnx(run: Run, path: Path) -> None:
    import tensorflow as tf

    taken = tf.TensorSpec((None, *run.input_shape), tf.uint8, name="images")

    @tf.function(input_signature=[taken], autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def told(pictures: Any) -> dict[str, Any]:
        return {"probabilities": run.model(pictures, training=False)}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx
        import tf2onnx

        proto, _ = tf2onnx.convert.from_function(told, input_signature=[taken])
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card(run).items()}
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, str(path))


def _write_litert(run: Run, path: Path) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _write_saved_model(run, Path(folder) / "model")
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(Path(folder) / "model")).convert())
    with zipfile.ZipFile(path, "a") as archive:  # LiteRT reads from the start and zip from the end: one file is both
        archive.writestr("labels.txt", "\n".join(run.class_names) + "\n")
        archive.writestr(CARD, json.dumps(card(run), indent=1) + "\n")
