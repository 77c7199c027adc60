"""Calibrate an adapted run on its laboratory: what a few labels can promise, and nothing beyond."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.conformal import Conformal, fit_conformal
from cellclf.evaluation.ood import OodDetector, fit_ood_detector
from cellclf.evaluation.selective import abstain
from cellclf.runs.confidence import Confidence
from cellclf.runs.features.reader import FeatureReader

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_LEAST = 20  # cells from which the limit for out-of-distribution images can be learnt
_ENOUGH = 200  # cells of which the default limit (0.5 % of cells beyond) is more than the farthest one
_ERROR = 0.01  # the error rate of prediction sets that is asked for by default


def calibrate_there(
    model: Any,
    cells: ImageSet,
    rows: Labels,
    *,
    labels: Labels,
    crossed: Floats | None,
    classes: int,
    temperature: float = 1.0,
    non_cells: Labels | None = None,
    show: bool = False,
) -> tuple[Confidence | None, list[str]]:
    """Fit prediction sets, abstention and the limit for out-of-distribution images for a new laboratory.

    Args:
        model: The adapted network.
        cells: Of the laboratory, in the run's size.
        rows: (M,) positions of cells that may be read, the labelled ones first.
        labels: (n,) of the labelled cells, numbers of the adapted run.
        crossed: (n, C) probabilities of the labelled cells by heads that had not seen them; None without labels.
        classes: C.
        temperature: Of the probabilities, where they are not calibrated already.
        non_cells: Positions of images that somebody called no cell.
        show: True shows progress.

    Returns:
        What was fitted, None where there are too few cells; and what cannot be promised, in words.
    """
    if len(rows) < _LEAST:
        few = f"{len(rows)} cells are too few to find out-of-distribution images, so that the run is not calibrated"
        return None, [f"{few}; expected {_LEAST} or more"]
    notices = []
    familiar = _familiar(model, cells, rows, len(labels), show)
    if len(rows) < _ENOUGH:
        notices.append(f"the limit for out-of-distribution images comes from {len(rows)} cells, and is rough")
    if non_cells is not None and len(non_cells):
        features, _ = FeatureReader(model).read(cells, non_cells, show=show)
        distances = familiar.distance(features)
        familiar = familiar.knowing(distances)
        found = int((distances > familiar.limit(0.005)).sum())
        notices.append(f"{found} of {len(non_cells)} images that are not a cell are found as out-of-distribution")
    if crossed is None:
        notices.append("without labels there are no prediction sets: every set holds all classes")
        nothing = Conformal(np.empty(0), np.empty(0, np.int64), classes)
        return Confidence(temperature, nothing, familiar), notices
    given = np.maximum(np.asarray(crossed, np.float64), 1e-9)
    given = scale(given / given.sum(1, keepdims=True), temperature)
    if len(labels) < math.ceil(1 / _ERROR) - 1:
        least = 1 / (len(labels) + 1)
        notices.append(
            f"{len(labels)} labels promise prediction sets with an error of {100 * least:.2g} % or more (error=, "
            "--error); with less, every set holds all classes"
        )
    return Confidence(temperature, fit_conformal(labels, given), familiar, abstain(labels, given)), notices


def _familiar(model: Any, cells: ImageSet, rows: Labels, labelled: int, show: bool) -> OodDetector:
    """Learn what this laboratory's cells look like; the limit comes from half of them, with all labelled ones."""
    features, given = FeatureReader(model).read(cells, rows, show=show)
    called = given.argmax(1)
    fitted = np.zeros(len(rows), bool)
    fitted[labelled::2] = True
    if fitted.sum() < len(rows) // 4:  # nearly all are labelled
        fitted[::2] = True
    found = fit_ood_detector(features[fitted], called[fitted], features[~fitted], called[~fitted])
    return found
