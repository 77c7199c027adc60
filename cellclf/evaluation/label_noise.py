"""Label noise: labels that cross-validated predictions confidently contradict (confident learning)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.checks import check_predictions, checked_names
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from cellclf.data.image_set import ImageSet

_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True, eq=False, repr=False)
class LabelProblems(Result):
    """How much the label of each image is contradicted; made by ``find_label_problems``.

    Args:
        order: (N,) positions of all images, the most doubtful label first; the first ``count`` are label problems.
        score: (N,) how much the label is contradicted, in nats: ln(probability of the best other class / of the label).
        suggested: (N,) the best other class of each image.
        flagged: (N,) bool, label problems: the image is confidently predicted as another class.
        labels: (N,) as given.
        confidence: (N,) the probability of the suggested class.
        thresholds: (C,) the probability from which an image counts as confidently predicted as a class: the mean of
            the class's own images; NaN for a class without images.
        joint: (C, C) counts of images by label (rows) and confidently predicted class (columns).
        class_names: (C,) names in label order.
    """

    order: NDArray[np.int64]
    score: NDArray[np.float64]
    suggested: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    labels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    joint: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many label problems there are."""
        return int(self.flagged.sum())

    def summary(self) -> str:
        """Summarise in some lines how many labels are contradicted, and between which classes."""
        n = len(self.labels)
        lines = [f"{self.count:,} of {n:,} labels ({100 * self.count / n:.1f} %) are confidently contradicted"]
        wrong = self.joint.copy()
        np.fill_diagonal(wrong, 0)
        width = len(f"{wrong.max():,}")
        for place in np.argsort(-wrong, axis=None, kind="stable")[:8]:
            label, other = divmod(int(place), len(self.class_names))
            if wrong[label, other]:
                names = f"labelled {self.class_names[label]}, predicted as {self.class_names[other]}"
                lines.append(f"  {wrong[label, other]:>{width},}  {names}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: the flagged images by position, the most doubtful first."""
        return {
            "n": len(self.labels),
            "count": self.count,
            "thresholds": {
                name: None if value != value else value
                for name, value in zip(self.class_names, self.thresholds.tolist(), strict=True)
            },
            "joint": self.joint.tolist(),
            "problems": [
                {
                    "place": place,
                    "label": self.class_names[self.labels[place]],
                    "suggested": self.class_names[self.suggested[place]],
                    "probability": round(float(self.confidence[place]), 5),
                    "score": round(float(self.score[place]), 4),
                }
                for place in self.order[: self.count].tolist()
            ],
        }

    def plot(self, cells: ImageSet, *, limit: int = 40) -> Figure:
        """Show the most doubtful labels.

        Args:
            cells: The images that were predicted, in their order.
            limit: How many at most.

        Raises:
            DataError: Another number of images.
        """
        from cellclf.utils.contact_sheet import sheet

        if len(cells) != len(self.labels):
            raise DataError(f"{len(self.labels)} labels for {len(cells)} images; pass the images that were predicted")
        shown = self.order[: min(limit, self.count)]
        names, confidence = self.class_names, 100 * self.confidence
        captions = [
            f"{names[self.labels[k]]}?\n{names[self.suggested[k]]} {confidence[k]:.0f} %" for k in shown.tolist()
        ]
        return sheet(
            cells.read(shown),
            captions=captions,
            side=1.4,
            title=f"{self.count:,} doubtful labels; shown: {len(shown)}, with label and prediction",
        )


def find_label_problems(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]) -> LabelProblems:
    """Rank images by how confidently their prediction contradicts their label.

    Each class has a threshold, the mean probability of its own images, so that a class of which the classifier is
    never confident is not reported all the time. Among the classes that reach their threshold, the most probable one
    is the confidently predicted class; if it is not the label, the image is a label problem. Problems come first,
    ranked by how much more probable the other class is; then all other images, ranked the same way.

    Args:
        labels: (N,) whole numbers, index into ``class_names``.
        probabilities: (N, C) floats 0-1 by a classifier that was not trained on the image (cross-validated).
        class_names: C names.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]]
        >>> found = find_label_problems([0, 0, 1, 1, 0], probabilities, ["round", "lobed"])
        >>> found.order[:1].tolist(), found.count, found.to_dict()["problems"][0]["suggested"]
        ([4], 1, 'lobed')

    Source:
        Northcutt, Jiang, Chuang 2021, Confident learning, arXiv 1911.00068 (thresholds and joint); Kuan & Mueller
        2022, Model-agnostic label quality scoring, arXiv 2211.14238 (ranking by the margin).
    """
    names = checked_names(class_names)
    truth, checked = check_predictions(labels, probabilities, len(names))
    given, rows = checked.astype(np.float64), np.arange(len(truth))
    thresholds = np.array([given[truth == k, k].mean() if (truth == k).any() else np.nan for k in range(len(names))])
    reached = given >= np.where(np.isnan(thresholds), np.inf, thresholds)
    confident = np.where(reached, given, -1.0)
    predicted = np.where(reached.any(1), confident.argmax(1), truth)
    others = given.copy()
    others[rows, truth] = -1.0
    # the confidently predicted class, even where one that did not reach its threshold is more probable
    suggested = np.where(predicted != truth, predicted, others.argmax(1))
    score = np.log(np.maximum(given[rows, suggested], _SMALLEST)) - np.log(np.maximum(given[rows, truth], _SMALLEST))
    flagged = (predicted != truth) & (score > 0)
    joint = np.zeros((len(names), len(names)), np.int64)
    np.add.at(joint, (truth[reached.any(1)], np.where(flagged, predicted, truth)[reached.any(1)]), 1)
    return LabelProblems(
        order=np.lexsort((rows, -score, ~flagged)),
        score=score,
        suggested=suggested.astype(np.int64),
        flagged=flagged,
        labels=truth,
        confidence=given[rows, suggested],
        thresholds=thresholds,
        joint=joint,
        class_names=names,
    )
