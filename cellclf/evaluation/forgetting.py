"""Forgetting: what a run that was trained further has lost on images of the laboratory that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.significance import Paired, compare_paired, points
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Forgetting(Result):
    """The scores of a run on images of the laboratory that it comes from, before and after it was trained further.

    Made by ``measure_forgetting``; of a job it is ``Outcome.home``.

    Args:
        before: Of the run as it was; None where the images are not known.
        after: Of the run that continues it, on the same images.
        difference: After minus before, paired.
        images: Which images these are; or why there are none.
    """

    before: Report | None = None
    after: Report | None = None
    difference: Paired | None = None
    images: str = ""

    def summary(self) -> str:
        """Give the change of the balanced accuracy, and of the class that lost most."""
        if self.before is None or self.after is None or self.difference is None:
            return f"home score unknown: {self.images}"
        one, two, change = self.before, self.after, self.difference.balanced_accuracy
        text = (
            f"on {one.n:,} {self.images} the balanced accuracy was {100 * one.balanced_accuracy:.1f} % and is "
            f"{100 * two.balanced_accuracy:.1f} %: {points(change)}"
        )
        lost = self.lost()
        if lost and lost[0][2] < lost[0][1]:
            name, was, now = lost[0]
            text += f"; most lost: {name}, recall {100 * was:.1f} % to {100 * now:.1f} %"
        return text

    def sentence(self) -> str:
        """Give the same as a sentence of a report."""
        return f"In the laboratory that it comes from: {self.summary()}."

    def lost(self) -> list[tuple[str, float, float]]:
        """Give name and recall before and after of each class that has images, the one that lost most first."""
        if self.before is None or self.after is None:
            return []
        pairs = zip(self.before.classes, self.after.classes, strict=True)
        rows = [(one.name, float(one.recall), float(two.recall)) for one, two in pairs if one.support]
        return sorted(rows, key=lambda row: row[2] - row[1])

    def short(self) -> dict[str, Any]:
        """Give which images these are, and the balanced accuracy, for a manifest."""
        found: dict[str, Any] = {"images": self.images}
        if self.before is not None and self.after is not None and self.difference is not None:
            change = self.difference.balanced_accuracy
            found |= {"before": float(self.before.balanced_accuracy), "after": float(self.after.balanced_accuracy)}
            found |= {"change": float(change), "low": float(change.low), "high": float(change.high)}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold; None for what is not known."""
        return {
            "images": self.images,
            "before": None if self.before is None else self.before.to_dict(),
            "after": None if self.after is None else self.after.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
        }


def measure_forgetting(
    labels: ArrayLike,
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
    class_names: Sequence[str],
    *,
    images: str = "images",
    groups: ArrayLike | None = None,
) -> Forgetting:
    """Compare a run with the one that continues it, on the same images.

    Args:
        labels: (N,) whole numbers, index into ``class_names``.
        before: (N, K) probabilities of the run as it was, of the first K classes.
        after: (N, C) probabilities of the run that continues it.
        class_names: C names.
        images: Which images these are, for the summary.
        groups: (N,) patient or slide of each image, which intervals resample.

    Examples:
        >>> found = measure_forgetting([0, 1], np.eye(2), [[0.1, 0.2, 0.7], [0, 1, 0]], ["round", "lobed", "new"])
        >>> [row[0] for row in found.lost()], float(found.difference.balanced_accuracy)
        (['round', 'lobed'], -0.5)
    """
    truth, two = np.asarray(labels, np.int64), np.asarray(after)
    one = np.zeros(two.shape, np.float64)
    one[:, : np.shape(before)[1]] = before
    reports = [evaluate(truth, found, class_names, groups=groups) for found in (one, two)]
    difference = compare_paired(truth, two.argmax(1), one.argmax(1), len(class_names), groups=groups)
    return Forgetting(before=reports[0], after=reports[1], difference=difference, images=images)
