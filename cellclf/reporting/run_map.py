"""The map of a finished run: its stored features, and some cells of each further set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import CellclfError
from cellclf.reporting.cell_map import CellMap, cell_map

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.metrics import Report
    from cellclf.runs.run import Run

MOST = 2_000
"""So many cells of each set are on the map at most."""


def run_map(run: Run, sets: Mapping[str, ImageSet], reports: Mapping[str, Report], *, seed: int = 0) -> CellMap | None:
    """Put the cells of a run on a map; None where it has no stored features, or none of these images.

    Args:
        run: Its stored features of training and validation images are used.
        sets: Name of a set -> its images, with labels in the run's order; "train" and "val" are those that are stored.
        reports: Name of a set -> its report, for what was predicted in further sets.
        seed: Of the cells that are drawn from large sets.
    """
    stored = run.stored_features
    if stored is None:
        return None
    parts: dict[str, ImageSet] = {}
    features: list[NDArray[np.float32]] = []
    predicted: list[NDArray[np.int64]] = []
    for name, cells in sets.items():
        if name in ("train", "val"):
            rows = np.flatnonzero(stored.part == name)
            places = {id_: place for place, id_ in enumerate(cells.ids.tolist())}
            rows = _drawn(rows[[id_ in places for id_ in stored.ids[rows].tolist()]], seed)
            found = np.asarray([places[id_] for id_ in stored.ids[rows].tolist()], np.int64)
            read, called = stored.features[rows], stored.probabilities[rows].argmax(1)
        else:
            found = _drawn(np.arange(len(cells)), seed)
            try:
                read = run.features(cells.subset(found), layers=stored.layers, show=False)
            except CellclfError:  # a set that the network cannot read is left out of the map, not of the report
                continue
            called = reports[name].predicted[found]
        if len(found):
            parts[name] = cells.subset(found)
            features.append(read)
            predicted.append(np.asarray(called, np.int64))
    if sum(map(len, parts.values())) < 2:
        return None
    return cell_map(
        np.concatenate(features), parts, predicted=np.concatenate(predicted), widths=stored.widths, seed=seed
    )


def _drawn(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw some rows at random, where there are more than a map holds, in order."""
    if len(rows) <= MOST:
        return rows
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
