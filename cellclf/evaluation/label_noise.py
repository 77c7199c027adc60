"""Labels that cross-validated predictions confidently contradict: confident learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.evaluation.checks import check_predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from cellclf.data.image_set import ImageSet

_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True, eq=False)
class LabelProblems:
    """How much the label of each image is contradicted; made by ``find_label_problems``.

    Args:
        order: (N,) places of all images, the most doubtful label first; the first ``count`` are label problems.
        score: (N,) how much the label is contradicted, in nats: ln(probability of the best other class / of the label).
        suggested: (N,) the best other class of each image.
        flagged: (N,) bool, label problems: the image is confidently of another class.
        labels: (N,) as given.
        confidence: (N,) the probability of the suggested class.
        thresholds: (C,) the probability from which an image counts as confidently of a class: the mean that the
            class's own images get; NaN for a class without images.
        joint: (C, C) counts of images by label (rows) and the class that they confidently are (columns).
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
        """Say in some lines how many labels are contradicted, and between which classes."""
        n = len(self.labels)
        lines = [f"{self.count:,} of {n:,} labels ({100 * self.count / n:.1f} %) are confidently contradicted"]
        wrong = self.joint.copy()
        np.fill_diagonal(wrong, 0)
        width = len(f"{wrong.max():,}")
        for place in np.argsort(-wrong, axis=None, kind="stable")[:8]:
            label, other = divmod(int(place), len(self.class_names))
            if wrong[label, other]:
                names = f"labelled {self.class_names[label]}, looks like {self.class_names[other]}"
                lines.append(f"  {wrong[label, other]:>{width},}  {names}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: the flagged images by their places, the most doubtful first."""
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
            limit: At most so many.

        Raises:
            DataError: Another number of images.
        """
        from cellclf.utils.contact_sheet import sheet

        if len(cells) != len(self.labels):
            raise DataError(f"the labels are of {len(self.labels)} images, the set has {len(cells)}")
        shown = self.order[: min(limit, self.count)]
        names, sure = self.class_names, 100 * self.confidence
        captions = [f"{names[self.labels[k]]}?\n{names[self.suggested[k]]} {sure[k]:.0f} %" for k in shown.tolist()]
        return sheet(
            cells.read(shown),
            captions=captions,
            side=1.4,
            title=f"{self.count:,} doubtful labels; shown: {len(shown)}, the label and what the image looks like",
        )


def find_label_problems(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]) -> LabelProblems:
    """Rank images by how confidently their prediction contradicts their label.

    An image counts as confidently of the class with the highest probability among those that reach their threshold,
    the mean probability that the class's own images get; so a class of which the classifier is never sure is not
    called wrong all the time. If that class is not its label, it is a label problem. Problems come first, ranked by
    how much more probable the other class is; then all other images, ranked alike.

    Args:
        labels: (N,) whole numbers, index into ``class_names``.
        probabilities: (N, C) floats 0-1 by a classifier that was not trained on the image (cross-validated).
        class_names: C names.

    Raises:
        DataError: Arrays that do not fit together.

    Examples:
        >>> shares = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]]
        >>> found = find_label_problems([0, 0, 1, 1, 0], shares, ["round", "lobed"])
        >>> found.order[:1].tolist(), found.count, found.to_dict()["problems"][0]["suggested"]
        ([4], 1, 'lobed')

    Source:
        Northcutt, Jiang, Chuang 2021, Confident learning, arXiv 1911.00068 (thresholds and joint); Kuan & Mueller
        2022, Model-agnostic label quality scoring, arXiv 2211.14238 (ranking by the margin).
    """
    names = tuple(str(name) for name in class_names)
    truth, given = check_predictions(labels, probabilities, len(names))
    shares, places = given.astype(np.float64), np.arange(len(truth))
    thresholds = np.array([shares[truth == k, k].mean() if (truth == k).any() else np.nan for k in range(len(names))])
    reached = shares >= np.where(np.isnan(thresholds), np.inf, thresholds)
    sure = np.where(reached, shares, -1.0)
    called = np.where(reached.any(1), sure.argmax(1), truth)
    others = shares.copy()
    others[places, truth] = -1.0
    # the class it confidently is, even where another that did not reach its threshold is more probable
    suggested = np.where(called != truth, called, others.argmax(1))
    score = np.log(np.maximum(shares[places, suggested], _SMALLEST)) - np.log(
        np.maximum(shares[places, truth], _SMALLEST)
    )
    flagged = (called != truth) & (score > 0)
    joint = np.zeros((len(names), len(names)), np.int64)
    np.add.at(joint, (truth[reached.any(1)], np.where(flagged, called, truth)[reached.any(1)]), 1)
    return LabelProblems(
        order=np.lexsort((places, -score, ~flagged)),
        score=score,
        suggested=suggested.astype(np.int64),
        flagged=flagged,
        labels=truth,
        confidence=shares[places, suggested],
        thresholds=thresholds,
        joint=joint,
        class_names=names,
    )
