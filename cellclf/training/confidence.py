"""What a run knows of its own reliability: temperature, conformal scores, what known cells look like."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, RunFolderError
from cellclf.evaluation.calibration import fit_temperature, scale
from cellclf.evaluation.conformal import Conformal, fit_conformal
from cellclf.evaluation.foreign import Familiar, learn_familiar
from cellclf.files import replacing
from cellclf.progress import track
from cellclf.training.cache import Cached, Features
from cellclf.training.head import POOL
from cellclf.training.stream import filled, step_size

CONFIDENCE = "confidence.npz"
_TRAIN, _VAL = 3_000, 20_000  # at most so many pictures, drawn at random, are learnt from
_WIDEST = 4_096  # features of a flattened map are more than can be learnt from so many pictures


@dataclass(frozen=True, eq=False)
class Confidence:
    """What makes the probabilities of a run trustworthy; made by ``Run.calibrate``.

    Args:
        temperature: What the logarithms of the probabilities are divided by.
        conformal: Turns probabilities into sets of classes.
        familiar: Tells foreign pictures from known cells.
    """

    temperature: float
    conformal: Conformal
    familiar: Familiar

    def save(self, path: Path) -> None:
        """Write everything into one npz file, whole or not at all."""
        known = self.familiar
        with replacing(path) as new:
            np.savez_compressed(
                new,
                temperature=self.temperature,
                given=self.conformal.given,
                classes=self.conformal.classes,
                num_classes=self.conformal.num_classes,
                centres=known.centres,
                axes=known.axes,
                widths=known.widths,
                rest=known.rest,
                reference=known.reference,
            )


def load_confidence(path: Path) -> Confidence | None:
    """Read what ``Confidence.save`` wrote; None if there is no such file.

    Raises:
        RunFolderError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:  # closed even if it is no archive
            return Confidence(
                temperature=float(found["temperature"]),
                conformal=Conformal(found["given"], found["classes"], int(found["num_classes"])),
                familiar=Familiar(
                    centres=found["centres"],
                    axes=found["axes"],
                    widths=found["widths"],
                    rest=float(found["rest"]),
                    reference=found["reference"],
                ),
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path} is damaged ({error}); remove it and call Run.calibrate again") from None


def fit_confidence(
    model: Any, train: ImageSet, val: ImageSet, *, cached: Cached | None = None, show: bool = False
) -> Confidence:
    """Learn temperature, conformal scores and what known cells look like.

    Args:
        model: Keras model from pictures to probabilities.
        train: What it was trained on, with labels in the model's order; only features are taken from it.
        val: Pictures that it was not trained on, with labels; every threshold comes from them.
        cached: What is read in the place of the pictures, where it is there.
        show: True draws a progress bar.

    Raises:
        DataError: Sets without labels or of fewer than two pictures.
    """
    for name, cells in (("training", train), ("validation", val)):
        if cells.labels is None or len(cells) < 2:
            raise DataError(
                f"the {name} set has {len(cells)} pictures; wanted two or more, with labels, to calibrate on"
            )
    assert train.labels is not None and val.labels is not None
    learnt_from, judged = _some(len(train), _TRAIN), _some(len(val), _VAL)
    whole = FeatureReader(model)
    rest = whole if cached is None else FeatureReader(model, behind=cached.layer)
    if cached is None or cached.train is None:
        learnt, _ = whole.read(train, learnt_from, show=show)
    else:
        learnt, _ = rest.read(cached.train, learnt_from, show=show)
    held_out, shares = rest.read(val if cached is None else cached.val, judged, show=show)
    labels = val.labels[judged]
    temperature = fit_temperature(labels, shares)
    familiar = learn_familiar(learnt, train.labels[learnt_from], held_out)
    return Confidence(temperature, fit_conformal(labels, scale(shares, temperature)), familiar)


class FeatureReader:
    """Runs pictures through a model once and gives features and probabilities.

    The features are the pooled feature map that the head starts from; where the head flattens it instead, what the
    last layer sees; of an ensemble, those of its members side by side.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 pictures to (n, K) probabilities.
        behind: Name of a layer whose output is read in the place of pictures; None reads pictures.
        batch_size: Pictures at a time; the last batch is filled up, so that the step is compiled once.
    """

    def __init__(self, model: Any, *, behind: str | None = None, batch_size: int = 256) -> None:
        import keras

        self.batch_size = batch_size
        inputs, features = model.inputs if behind is None else model.get_layer(behind).output, _features(model)
        if features is inputs:  # Keras gives no tensor back as it came
            features = keras.layers.Identity()(features)
        self._model = keras.Model(inputs, [features, model.output])
        self._model.jit_compile = False  # on a CPU, XLA compiles for longer than it saves and aborts on some layers

    def batches(
        self, cells: ImageSet | Features, rows: NDArray[np.int64] | None = None, *, show: bool = False
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Give (features, probabilities) of some pictures at a time, in order.

        Args:
            cells: The pictures.
            rows: Places of those that are read; None for all.
            show: True draws a progress bar.
        """
        rows = np.arange(len(cells)) if rows is None else rows
        size = step_size(max(1, len(rows)), self.batch_size)
        starts = range(0, len(rows), size)
        for start in track(starts, total=len(starts), label="predicting", unit="batch", show=show):
            batch = cells.read(rows[start : start + size])
            features, shares = self._model.predict_on_batch(filled(batch, size))
            yield np.asarray(features, np.float32)[: len(batch)], np.asarray(shares, np.float32)[: len(batch)]

    def read(
        self, cells: ImageSet | Features, rows: NDArray[np.int64] | None = None, *, show: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give features (N, d) and probabilities (N, K) of pictures, at least one; arguments as for ``batches``."""
        features, shares = zip(*self.batches(cells, rows, show=show), strict=True)
        return np.concatenate(features), np.concatenate(shares)


def _features(model: Any) -> Any:
    import keras

    pooled = [layer.output for layer in model.layers if layer.name == POOL]
    if pooled and pooled[0].shape[-1] <= _WIDEST:
        return pooled[0]
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if members and not pooled:
        rows = [keras.Model(member.inputs, _features(member))(model.inputs) for member in members]
        return keras.layers.Concatenate(dtype="float32")(rows) if len(rows) > 1 else rows[0]
    used = model.layers[-1].input
    if isinstance(used, list) or len(used.shape) != 2:
        raise DataError(
            f"the last layer, {model.layers[-1].name}, takes no flat row of features for each picture; wanted a "
            "network that ends in a pooling and a Dense layer"
        )
    return used


def _some(count: int, most: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
