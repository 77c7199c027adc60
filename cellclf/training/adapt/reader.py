"""Read what an adaptation needs of a laboratory's cells: few cells in many ways, all of them in the chosen one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import zoomed
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.tta import VIEWS, view_names
from cellclf.training.adapt.candidates import Reading
from cellclf.training.adapt.home import Home
from cellclf.training.adapt.kept import Kept

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

ZOOMS = (1.0, 0.7, 1.5, 2.0)
LAYERS = 3
MOST_CELLS = 2_000
"""So many cells of the laboratory are read at most: more teach nothing, but take longer."""

_SAMPLE = 500  # cells that are read in a size of which nobody knows yet whether it is worth anything
_VIEWED = {True: 256, False: 96}  # cells that are read in all flips and turns: in the chosen size, and before
_BATCH = 128


class Reader:
    """Reads the cells of a laboratory in one size after the other, as they are asked for.

    Args:
        model: The run's network.
        cells: Of the laboratory, in the run's size.
        picked: (n,) positions of the labelled cells.
        others: (m,) positions of further cells that may be read, in the order in which they are.
        home: Cells of the run's own laboratory; None if there are none.
        kept: Where what was read is found again after a kill; None keeps it in memory alone.
        show: True shows progress.
    """

    def __init__(
        self,
        model: Any,
        cells: ImageSet,
        picked: Labels,
        others: Labels,
        home: Home | None,
        *,
        kept: Kept | None = None,
        show: bool = False,
    ) -> None:
        self.model, self.cells, self.picked, self.home, self.show = model, cells, picked, home, show
        self.kept = kept or Kept()
        self.others = others[: max(0, MOST_CELLS - len(picked))]
        self.layers = feature_layers(model, LAYERS)
        height, width = cells.image_shape[:2]
        self.views = tuple(VIEWS) if height == width else view_names(4, cells.image_shape)
        self._readings: dict[tuple[float, bool], Reading] = {}

    @property
    def pool(self) -> Labels:
        """(M,) positions of the cells of a whole reading, the labelled ones first."""
        return np.concatenate([self.picked, self.others])

    def sample(self) -> dict[float, Reading]:
        """Read all cells as they are, and a sample of them in the other sizes that the network can be rebuilt for."""
        found = {1.0: self.whole(1.0)}
        for zoom in ZOOMS:
            if zoom != 1.0 and (reading := self._reading(zoom, whole=False)) is not None:
                found[zoom] = reading
        return found

    def whole(self, zoom: float) -> Reading:
        """Read all cells in a size, and the home cells, where there are images of them."""
        found = self._reading(zoom, whole=True)
        if found is None:
            raise OptionError(f"the network cannot be rebuilt for a zoom of {zoom:g}")
        if self.home is not None and found.home is None:
            gate = self.home.gate_side(zoom, self.layers)
            if gate is not None:
                found = replace(found, home=gate[0], home_labels=gate[1])
                self._readings[zoom, True] = found
        return found

    def network(self, zoom: float) -> Any:
        """Give the run's network behind a zoom."""
        return zoomed(self.model, zoom)

    def _reading(self, zoom: float, *, whole: bool) -> Reading | None:
        key = (zoom, whole)
        if key not in self._readings:
            try:
                reader = FeatureReader(self.network(zoom), layers=self.layers, batch_size=_BATCH)
            except OptionError:  # images that small, or a network that cannot be rebuilt for them
                return None
            self._readings[key] = self._read(reader, zoom, whole)
        return self._readings[key]

    def _read(self, reader: FeatureReader, zoom: float, whole: bool) -> Reading:
        others = self.others if whole else self.others[: max(0, _SAMPLE - len(self.picked))]
        viewed = others[: max(0, _VIEWED[whole] - len(self.picked))]
        rows = np.concatenate([self.picked, viewed])
        rest = others[len(viewed) :]

        def read() -> tuple[Floats, ...]:
            seen = reader.read_views(self.cells, rows, views=self.views, show=self.show)
            return *seen, *reader.read_views(self.cells, rest, show=self.show)

        which = hashlib.sha256(np.concatenate([rows, [-1], rest]).tobytes()).hexdigest()
        content = {"zoom": zoom, "rows": which, "views": self.views, "layers": self.layers}
        views, views_given, once, once_given = self.kept.arrays(content, read)
        return Reading(
            zoom,
            reader.widths,
            np.concatenate([views[0], once[0]]),
            np.concatenate([views_given[0], once_given[0]]),
            views,
            views_given,
        )
