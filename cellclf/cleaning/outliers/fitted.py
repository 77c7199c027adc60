"""What an outlier filter knows: the numbers of each image, and what it was fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.outliers.by_class import ClassScorer
from cellclf.cleaning.outliers.descriptors import NAMES, TOLERANCES, WORDS
from cellclf.cleaning.outliers.scoring import Method, OutlierScorer
from cellclf.cleaning.outliers.white_balance import Light
from cellclf.cleaning.selection import names_of
from cellclf.errors import DataError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

_FEWEST = 20  # different images to fit on


class Measured(NamedTuple):
    """What is known of each image of a set."""

    described: NDArray[np.float32]
    """(N, 53) descriptors."""
    rows: NDArray[Any]
    """(N, d) what is scored."""
    contents: NDArray[np.bytes_]
    """(N,) hash of the pixels."""
    light: Light
    """Of each image."""


class Fitted:
    """A fitted scorer, those of the classes, the usual light, and the range in which 99 % of the inliers lie.

    Args:
        cells: The images, some outliers among them.
        measured: Of these images.
        method: As for ``OutlierScorer``.
        seed: As for ``OutlierScorer``.
        threshold: From which score on images are outliers; None takes the scorer's own.
        embedded: Embeddings are scored and not the descriptors.
    """

    def __init__(
        self, cells: ImageSet, measured: Measured, *, method: Method, seed: int, threshold: float | None, embedded: bool
    ) -> None:
        described, rows, contents, light = measured
        different = np.sort(np.unique(contents, return_index=True)[1])
        if len(different) < _FEWEST:
            raise DataError(
                f"{len(different)} different images are too few to fit on; expected {_FEWEST} or more: "
                "fit on a larger set, or leave out the outlier filter"
            )
        self.shape = cells.image_shape
        tolerances = None if embedded else TOLERANCES
        self.scorer = OutlierScorer(method=method, seed=seed).fit(rows[different], tolerances)
        self.threshold = float(self.scorer.threshold if threshold is None else threshold)
        scores = self.scorer.score(rows[different])
        self.classes, label = np.unique(names_of(cells)[different], return_inverse=True)
        self.by_class = None
        if len(self.classes) > 1:
            self.by_class = ClassScorer(narrow=1.0 if embedded else self.scorer.narrow).fit(
                self.scorer.project(np.asarray(rows[different], np.float64)), label, tolerances
            )
        inliers = different[scores <= self.scorer.threshold]
        self.light = Light(light.ground[inliers], light.dye[inliers]).usual()
        self._low, self._middle, self._high = np.quantile(described[inliers], (0.005, 0.5, 0.995), axis=0)
        self.notices: tuple[str, ...] = ()
        if self.scorer.populations:
            self.notices = (
                f"{self.scorer.populations:,} images differ from the rest but not from each other, and are kept: "
                "another stain or microscope?",
            )

    def score(self, rows: NDArray[Any], names: NDArray[np.str_]) -> NDArray[np.float64]:
        """Score rows beside all, and those that are unlike all of them beside their class."""
        scores = self.scorer.score(rows)
        usual = self.scorer.threshold
        unlike = np.flatnonzero(scores > min(usual, self.threshold))
        if self.by_class is not None and len(unlike):
            place = np.searchsorted(self.classes, names[unlike]).clip(max=len(self.classes) - 1)
            label = np.where(self.classes[place] == names[unlike], place, -1)
            own = self.by_class.score(self.scorer.project(np.asarray(rows[unlike], np.float64)), label)
            scores[unlike] = np.minimum(scores[unlike], usual * own)
        return scores

    def reason(self, row: NDArray[np.float32]) -> str:
        """Give the reason: the three most extreme descriptors of an image at most."""
        width = np.maximum(self._high - self._low, 1e-3 * np.maximum(np.abs(self._middle), 1))
        beyond = np.maximum(row - self._high, self._low - row) / width
        extreme = [int(k) for k in np.argsort(-beyond, kind="stable")[:3] if beyond[k] > 0]
        if not extreme:
            return "outlier: unusual as a whole (no single descriptor is)"
        texts = (
            f"{WORDS[NAMES[k]][int(row[k] > self._high[k])]} ({row[k]:.3g}; 99 % lie in "
            f"{_span(self._low[k], self._high[k])})"
            for k in extreme
        )
        return f"outlier: {', '.join(texts)}"


def _span(low: float, high: float) -> str:
    return f"{low:.3g}-{high:.3g}" if low >= 0 else f"{low:.3g} to {high:.3g}"
