"""Confidence of a run: temperature, conformal scores, and features of known cells for out-of-distribution scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, RunFolderError
from cellclf.evaluation.calibration import fit_temperature, scale
from cellclf.evaluation.conformal import Conformal, fit_conformal
from cellclf.evaluation.ood import OodDetector, fit_ood_detector
from cellclf.evaluation.selective import Abstention, abstain
from cellclf.runs.features.layers import stored_layers
from cellclf.runs.features.reader import FeatureReader, Floats
from cellclf.runs.features.stored import MOST_TRAIN, MOST_VAL, TRAIN, VAL, StoredFeatures, kept_rows
from cellclf.runs.provenance import weights_sha256
from cellclf.utils.atomic import replacing

CONFIDENCE = "confidence.npz"
_TRAIN = 3_000  # most training images, sampled at random, that are used


@dataclass(frozen=True, eq=False)
class Confidence:
    """What calibrates the probabilities of a run and finds out-of-distribution images; made by ``Run.calibrate``.

    Args:
        temperature: What the logarithms of the probabilities are divided by.
        conformal: Turns probabilities into sets of classes.
        familiar: The features of known cells, from which out-of-distribution images are far.
        abstention: Accuracy on the validation images against the share that is classified; None in runs of older
            versions.
    """

    temperature: float
    conformal: Conformal
    familiar: OodDetector
    abstention: Abstention | None = None

    def save(self, path: Path, weights: str) -> None:
        """Write one npz file, whole or not at all.

        Args:
            path: The file.
            weights: ``weights_sha256`` of the network that it belongs to.
        """
        known = self.familiar
        extra: dict[str, Any] = {}
        if known.reference_class is not None:
            extra["reference_class"] = known.reference_class
        if (curve := self.abstention) is not None:
            extra |= {"answered": curve.answered, "accuracy": curve.accuracy, "confidence": curve.confidence}
            extra["validation_images"] = curve.n
        if known.non_cells_from is not None:
            extra["non_cells_from"] = known.non_cells_from
        with replacing(path) as new:
            np.savez_compressed(
                new,
                weights_sha256=weights,
                temperature=self.temperature,
                given=self.conformal.given,
                classes=self.conformal.classes,
                num_classes=self.conformal.num_classes,
                centres=known.centres,
                axes=known.axes,
                widths=known.widths,
                rest=known.rest,
                reference=known.reference,
                **extra,
            )


_ARRAYS = {
    *("weights_sha256", "temperature", "given", "classes", "num_classes"),
    *("centres", "axes", "widths", "rest", "reference", "reference_class", "non_cells_from"),
    *("confidence", "answered", "accuracy", "validation_images"),
}


def load_confidence(path: Path, weights: str) -> Confidence | None:
    """Read what ``Confidence.save`` wrote; None if there is no such file.

    Args:
        path: The file; those of version 0.1 do not name the network that they belong to.
        weights: ``weights_sha256`` of the network.

    Raises:
        RunFolderError: The file is damaged, or belongs to another network.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:  # closed even if it is not an archive
            if "weights_sha256" in found and str(found["weights_sha256"]) != weights:
                raise RunFolderError(
                    f"{path} is the calibration of another network than the model.keras beside "
                    "it; remove it to use the run without calibration, or copy both from one run"
                )
            if unexpected := sorted(set(found.files) - _ARRAYS):  # one flipped bit makes another name of it
                raise ValueError(f"it holds {unexpected[0]!r}")
            return Confidence(
                temperature=float(found["temperature"]),
                conformal=Conformal(found["given"], found["classes"], int(found["num_classes"])),
                familiar=OodDetector(
                    centres=found["centres"],
                    axes=found["axes"],
                    widths=found["widths"],
                    rest=float(found["rest"]),
                    reference=found["reference"],
                    reference_class=found.get("reference_class"),
                    non_cells_from=float(found["non_cells_from"]) if "non_cells_from" in found else None,
                ),
                abstention=Abstention(
                    found["confidence"], found["answered"], found["accuracy"], int(found["validation_images"])
                )
                if "validation_images" in found
                else None,
            )
    except RunFolderError:
        raise
    except Exception as error:  # zipfile, its decompressors and numpy raise a dozen kinds for a damaged file
        reason = "it is no npz file" if "pickle" in str(error) else " ".join(str(error).split())[:200]
        raise RunFolderError(f"{path} is damaged ({reason}); remove it and call Run.calibrate again") from None


def fit_confidence(
    model: Any, train: ImageSet, val: ImageSet, *, seed: int = 0, show: bool | None = None
) -> tuple[Confidence, StoredFeatures | None]:
    """Fit temperature, conformal scores and the features of known cells, in one pass over the images.

    Args:
        model: Keras model from images to probabilities.
        train: What it was trained on, with labels in the model's order; only its features are used.
        val: Images that it was not trained on, with labels; every threshold comes from them.
        seed: Of which training images have their features stored.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        The confidence, and features for later laboratories; None for an ensemble or another network that has no layers
        to read them from.

    Raises:
        DataError: Sets without labels or of fewer than two images.
    """
    for name, cells in (("training", train), ("validation", val)):
        if cells.labels is None or len(cells) < 2:
            raise DataError(
                f"the {name} set has {len(cells)} images; expected two or more, with labels, to calibrate on"
            )
    assert train.labels is not None and val.labels is not None
    layers = stored_layers(model)
    reader = FeatureReader(model, layers=layers)
    rows = [_sample(len(train), _TRAIN), _sample(len(val), MOST_VAL)]
    kept = [kept_rows(train.labels, MOST_TRAIN, seed), rows[1]] if layers else rows
    parts = [_read(reader, cells, rows[k], kept[k], show) for k, cells in enumerate((train, val))]
    (features, _), (val_features, found) = (part[0] for part in parts)
    labels = val.labels[rows[1]]
    temperature = fit_temperature(labels, found)
    familiar = fit_ood_detector(features, train.labels[rows[0]], val_features, found.argmax(1))
    scaled = scale(found, temperature)
    confidence = Confidence(temperature, fit_conformal(labels, scaled), familiar, abstain(labels, scaled))
    if not layers:
        return confidence, None
    stored = StoredFeatures(
        layers=layers,
        widths=reader.widths,
        features=np.concatenate([part[1][0] for part in parts]),
        probabilities=np.concatenate([part[1][1] for part in parts]),
        labels=np.concatenate([train.labels[kept[0]], val.labels[kept[1]]]),
        class_names=train.class_names,
        ids=np.concatenate([train.ids[kept[0]], val.ids[kept[1]]]),
        part=np.repeat([TRAIN, VAL], [len(of) for of in kept]),
        weights_sha256=weights_sha256(model),
    )
    return confidence, stored


def _read(
    reader: FeatureReader, cells: ImageSet, rows: NDArray[np.int64], kept: NDArray[np.int64], show: bool | None
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Read each image once: features and probabilities of some, outputs of layers and probabilities of others."""
    union = np.union1d(rows, kept)
    features, found, beside = reader.read_layers(cells, union, show=show)
    here, there = (np.searchsorted(union, some) for some in (rows, kept))
    return (features[here], found[here]), (beside[there], found[there])


def _sample(count: int, most: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
