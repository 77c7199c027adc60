"""Images that a report shows with where the classifier looked: the heat beside a mistake or a narrow hit."""

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


def looked_at(run: Run | None, report: Report, cells: ImageSet, rows: Sequence[int]) -> NDArray[np.uint8] | None:
    """Draw where the classifier found the class that it gave.

    Args:
        run: The classifier; None gives None, and so does one that Grad-CAM cannot look into.
        report: What it made of ``cells``.
        cells: The evaluated set.
        rows: Places in it.

    Returns:
        (n, H, W, 3) uint8 overlays, or None.
    """
    if run is None or run.model is None or not len(rows):
        return None
    places = np.asarray(rows, np.int64)
    try:
        return run.explain(cells.subset(places), classes=report.predicted[places], show=False).overlays()
    except CellclfError:  # an ensemble, a network without a map: the page is no worse than before
        return None
