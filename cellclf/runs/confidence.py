"""What a run knows of its own reliability: temperature, conformal scores, what known cells look like."""

from __future__ import annotations

import zipfile
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
from cellclf.runs.features.cache import Cached
from cellclf.runs.features.reader import FeatureReader
from cellclf.utils.atomic import replacing

CONFIDENCE = "confidence.npz"
_TRAIN, _VAL = 3_000, 20_000  # at most so many images, drawn at random, are learnt from


@dataclass(frozen=True, eq=False)
class Confidence:
    """What makes the probabilities of a run trustworthy; made by ``Run.calibrate``.

    Args:
        temperature: What the logarithms of the probabilities are divided by.
        conformal: Turns probabilities into sets of classes.
        familiar: Tells foreign images from known cells.
    """

    temperature: float
    conformal: Conformal
    familiar: OodDetector

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
                familiar=OodDetector(
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
        model: Keras model from images to probabilities.
        train: What it was trained on, with labels in the model's order; only features are taken from it.
        val: Images that it was not trained on, with labels; every threshold comes from them.
        cached: What is read in the place of the images, where it is there.
        show: True draws a progress bar.

    Raises:
        DataError: Sets without labels or of fewer than two images.
    """
    for name, cells in (("training", train), ("validation", val)):
        if cells.labels is None or len(cells) < 2:
            raise DataError(
                f"the {name} set has {len(cells)} images; expected two or more, with labels, to calibrate on"
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
    familiar = fit_ood_detector(learnt, train.labels[learnt_from], held_out)
    return Confidence(temperature, fit_conformal(labels, scale(shares, temperature)), familiar)


def _some(count: int, most: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
