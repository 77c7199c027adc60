"""The run's own laboratory during an adaptation: one part of its cells takes part in it, the other is only scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import zoomed
from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.evaluation.adaptation import HomeScore
from cellclf.evaluation.metrics import evaluate
from cellclf.evaluation.significance import compare_paired
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.stored import VAL, StoredFeatures, kept_rows
from cellclf.training.adapt.kept import Kept
from cellclf.training.adapt.mixture import Mixture

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

MOST_HOME = 2_000
"""So many images of the own laboratory are read at most."""

_BATCH = 128


class Home(ABC):
    """Labelled cells of the run's own laboratory: pooled features, or images.

    Args:
        labels: (H,) in the run's order.
        scored: (H,) bool: cells that are only scored; the others show what home looks like.
        source: Where they come from, in words.
        groups: (H,) patients or slides; None where they are not known.
    """

    def __init__(
        self, labels: Labels, scored: NDArray[np.bool_], source: str, groups: NDArray[np.str_] | None = None
    ) -> None:
        self.labels, self.scored, self.source, self.groups = labels, scored, source, groups

    @abstractmethod
    def read(self, zoom: float, layers: Sequence[str]) -> tuple[Floats, Floats] | None:
        """Give features (H, D) and the run's probabilities (H, K) in a size; None where they are not known."""

    def gate_side(self, zoom: float, layers: Sequence[str]) -> tuple[Floats, Labels] | None:
        """Give features and labels of the cells that take part; None where they are not known in that size."""
        found = self.read(zoom, layers)
        return None if found is None else (found[0][~self.scored], self.labels[~self.scored])

    def score(
        self,
        mixture: Mixture,
        zoom: float,
        layers: Sequence[str],
        class_names: Sequence[str],
        run_names: Sequence[str],
        *,
        seed: int = 0,
    ) -> HomeScore | None:
        """Score the run as it was and the adapted one on the cells of the classes that can be answered.

        Args:
            mixture: The adapted run.
            zoom: In which it reads the images.
            layers: That it was fitted on.
            class_names: (C,) what it can answer.
            run_names: (K,) classes of the run as it was.
            seed: Of the intervals.

        Returns:
            None where features in that size are not known, or no cell is of these classes.
        """
        first, then = self.read(1.0, layers), self.read(zoom, layers)
        place = np.full(len(run_names), len(class_names))
        known = mixture.columns >= 0
        place[mixture.columns[known]] = np.flatnonzero(known)
        rows = np.flatnonzero(self.scored & (place[self.labels] < len(class_names)))
        if first is None or then is None or not len(rows):
            return None
        truth = place[self.labels[rows]]
        groups = None if self.groups is None else self.groups[rows]
        after = mixture.probabilities(then[0][rows], then[1][rows])
        was = evaluate(self.labels[rows], _summing_to_1(first[1][rows]), run_names, seed=seed, groups=groups)
        now = evaluate(truth, _summing_to_1(after), class_names, seed=seed, groups=groups)
        # a class that is left out now is one more wrong answer of the run as it was
        called = place[first[1][rows].argmax(1)]
        paired = compare_paired(truth, after.argmax(1), called, len(class_names) + 1, seed=seed, groups=groups)
        recalls = {
            class_names[k]: (float((called[truth == k] == k).mean()), float((after[truth == k].argmax(1) == k).mean()))
            for k in np.unique(truth).tolist()
        }
        return HomeScore(
            before=was.balanced_accuracy,
            after=now.balanced_accuracy,
            change=paired.balanced_accuracy,
            cells=len(rows),
            source=self.source,
            recalls=recalls,
        )


class StoredHome(Home):
    """The features that the run keeps of its own images, in the size of its training.

    Args:
        stored: Of the run.
    """

    def __init__(self, stored: StoredFeatures) -> None:
        scored = stored.part == VAL
        if scored.all() or not scored.any():
            scored = _every_other(stored.labels)
        super().__init__(stored.labels, scored, f"features kept with the run, {int(scored.sum()):,} to score on")
        self.stored = stored

    def read(self, zoom: float, layers: Sequence[str]) -> tuple[Floats, Floats] | None:
        """Give what is stored; None for another size or other layers."""
        if zoom != 1.0 or tuple(layers) != self.stored.layers:
            return None
        return self.stored.features, self.stored.probabilities


class HomeImages(Home):
    """Images of the own laboratory, read in the sizes that are asked for.

    Args:
        model: The run's network.
        cells: With labels, in the run's size.
        run_names: Classes of the run.
        seed: Of the choice of images, where there are very many.
        kept: Where what was read is found again after a kill; None keeps it in memory alone.
        show: True shows progress.

    Raises:
        DataError: No labels, or a class that the run does not have.
    """

    def __init__(
        self,
        model: Any,
        cells: ImageSet,
        run_names: Sequence[str],
        *,
        seed: int = 0,
        kept: Kept | None = None,
        show: bool = False,
    ) -> None:
        labels = match_labels(cells, run_names)
        rows = kept_rows(labels, MOST_HOME, seed)
        self.cells, self.model, self.show = cells.subset(rows), model, show
        self.kept = kept or Kept()
        scored = _every_other(labels[rows])
        groups = self.cells.groups
        super().__init__(labels[rows], scored, f"home=, {int(scored.sum()):,} to score on", groups)
        self._found: dict[float, tuple[Floats, Floats]] = {}

    def read(self, zoom: float, layers: Sequence[str]) -> tuple[Floats, Floats] | None:
        """Read the images in a size, once."""
        if zoom not in self._found:
            reader = FeatureReader(zoomed(self.model, zoom), layers=layers, batch_size=_BATCH)
            features, given = self.kept.arrays(
                {"home": True, "zoom": zoom, "layers": list(layers)},
                lambda: reader.read_views(self.cells, show=self.show),
            )
            self._found[zoom] = features[0], given[0]
        return self._found[zoom]


def _every_other(labels: Labels) -> NDArray[np.bool_]:
    """Mark every other cell of each class, and the only one of a class of one."""
    marked = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        marked[np.flatnonzero(labels == label)[::2]] = True
    return marked


def _summing_to_1(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    given = np.asarray(probabilities, np.float64)
    found: NDArray[np.float64] = given / np.maximum(given.sum(1, keepdims=True), 1e-30)
    return found
