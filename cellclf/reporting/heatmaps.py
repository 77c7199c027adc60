"""Heatmaps that a report shows beside a mistake or an uncertain prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.metrics import Report
    from cellclf.runs.run import Run


def heatmaps(run: Run | None, report: Report, cells: ImageSet, rows: Sequence[int]) -> NDArray[np.uint8] | None:
    """Draw the evidence for the predicted class over each image.

    Args:
        run: The classifier; None gives None, and so does one without a feature map for Grad-CAM.
        report: Its report on ``cells``.
        cells: The evaluated set.
        rows: Positions in it.

    Returns:
        (n, H, W, 3) uint8 overlays, or None.
    """
    if run is None or run.model is None or not len(rows):
        return None
    positions = np.asarray(rows, np.int64)
    try:
        return run.explain(cells.subset(positions), classes=report.predicted[positions], show=False).overlays()
    except CellclfError:  # an ensemble, a network without a feature map: the page works without
        return None
