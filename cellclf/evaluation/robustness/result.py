"""The result of ``robustness``: scores under each corruption, beside AlexNet's."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.errors import RunFolderError
from cellclf.evaluation.intervals import Estimate
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEDMNIST_C = "medmnist-c"


@dataclass(frozen=True)
class CorruptionScores:
    """The scores of a classifier under one corruption.

    Args:
        name: The corruption, or the name of a set of shifted images.
        family: Its kind: "blur", "compression" ...
        seen: Whether the training augmented with something of that family.
        balanced_accuracy: At severity 1, 2 ...; one alone for a set.
        accuracy: The same for the accuracy.
        mean: Balanced accuracy, mean over the severities.
        mean_accuracy: Accuracy, mean over the severities.
        be: Balanced error over AlexNet's; None where AlexNet's is not known.
        relative_be: The same for the rise of the error above the clean one; None likewise.
    """

    name: str
    family: str
    seen: bool
    balanced_accuracy: tuple[Estimate, ...]
    accuracy: tuple[Estimate, ...]
    mean: Estimate
    mean_accuracy: Estimate
    be: float | None = None
    relative_be: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Robustness(Result):
    """The scores of a classifier on a suite of corrupted or shifted images; made by ``robustness``.

    With E(c, s) = 1 - balanced accuracy under corruption c at severity s, and E on clean images::

        BE(c)          = sum over s of E(c, s)        /  sum over s of E_AlexNet(c, s)
        relative BE(c) = sum over s of (E(c, s) - E)  /  sum over s of (E_AlexNet(c, s) - E_AlexNet)

    ``be`` and ``relative_be`` are their means over those c for which AlexNet's error is known. Below 1 is better than
    AlexNet, whose errors are on 224x224 images of BloodMNIST's test part: with other images or sizes the ratio is a
    scale, not a comparison.

    Args:
        suite: "medmnist-c", or the name of a set of shifted images.
        n: Images under each corruption.
        seed: Of what was drawn, and of the intervals.
        clean: Balanced accuracy on the images as they are.
        clean_accuracy: Accuracy on them.
        corruptions: In the order of the suite.
        mean: Balanced accuracy, mean over severities and corruptions.
        mean_accuracy: Accuracy, mean over severities and corruptions.
        unseen_mean: ``mean`` over corruptions of families that the training has not seen; None if it has seen all.
        be: Mean BE; None where AlexNet's error is known for none, as for a set.
        relative_be: Mean relative BE; None likewise.
        seen: Families that the training has seen.
        left_out: Classes outside the balanced accuracy, with their number of images.
        confidence_level: Of the intervals, 0-1.

    Source:
        Di Salvo, Doerrich & Ledig 2024, "MedMNIST-C", arXiv 2406.17536.
    """

    suite: str
    n: int
    seed: int
    clean: Estimate
    clean_accuracy: Estimate
    corruptions: tuple[CorruptionScores, ...]
    mean: Estimate
    mean_accuracy: Estimate
    unseen_mean: Estimate | None
    be: float | None
    relative_be: float | None
    seen: tuple[str, ...]
    left_out: dict[str, int]
    confidence_level: float

    @property
    def unseen(self) -> tuple[CorruptionScores, ...]:
        """The corruptions of families that the training has not seen."""
        return tuple(scores for scores in self.corruptions if not scores.seen)

    def __str__(self) -> str:
        steps = max(len(scores.balanced_accuracy) for scores in self.corruptions)
        numbers = [str(k + 1) for k in range(steps)] if steps > 1 else []
        rows = [["", "family", *numbers, "mean", "BE", "relative"]]
        rows.append(["clean", "", *("" for _ in numbers), str(self.clean), "", ""])
        for scores in self.corruptions:
            each = [f"{100 * value:.1f}" for value in scores.balanced_accuracy] if numbers else []
            family = scores.family + ", seen" * scores.seen
            ratios = ["" if value is None else f"{value:.2f}" for value in (scores.be, scores.relative_be)]
            rows.append([scores.name, family, *each, str(scores.mean), *ratios])
        if self.be is None:
            rows = [row[:-2] for row in rows]
        lines = [
            f"{self.suite}: {self.n:,} images, seed {self.seed}; balanced accuracy in %"
            f"{', at severity 1-5' if numbers else ''}; in brackets: {100 * self.confidence_level:g} % intervals",
            "",
            *columns(rows, right=tuple(range(2, 2 + len(numbers)))),
            "",
            *(f"{name}: {text}" for name, text in self.headline().items()),
        ]
        if self.left_out:
            named = ", ".join(f"{name} ({count})" for name, count in self.left_out.items())
            lines += textwrap.wrap(f"balanced accuracy leaves out classes with too few images: {named}", 100)
        return "\n".join(lines)

    def headline(self) -> dict[str, str]:
        """Give the means in words, under what they are means of."""
        count = len(self.corruptions)
        every = f"mean of all {count}" if count > 1 else "mean"
        found = {every: f"balanced accuracy {self.mean}, accuracy {self.mean_accuracy}"}
        if self.seen and count > 1:
            names = ", ".join(scores.name for scores in self.unseen)
            found[f"mean of the {len(self.unseen)} of families not seen in training"] = (
                "there are none" if self.unseen_mean is None else f"balanced accuracy {self.unseen_mean} ({names})"
            )
        if self.be is not None and self.relative_be is not None:
            known = sum(scores.be is not None for scores in self.corruptions)
            which = "" if known == count else f", {known} of {count} corruptions"
            found[f"error over AlexNet's (224 px{which})"] = f"BE {self.be:.3f}, relative BE {self.relative_be:.3f}"
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain data that JSON can hold: fractions, None where there is no number."""
        data = {name: _plain(value) for name, value in vars(self).items() if name != "corruptions"}
        rows = [{name: _plain(value) for name, value in vars(scores).items()} for scores in self.corruptions]
        return data | {"corruptions": rows, "unseen": [scores.name for scores in self.unseen]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Robustness:
        """Read what ``to_dict`` gave."""
        known = {name: _from_plain(value) for name, value in data.items() if name in cls.__dataclass_fields__}
        known["corruptions"] = tuple(
            CorruptionScores(**{name: _from_plain(value) for name, value in row.items()}) for row in data["corruptions"]
        )
        return cls(**known)

    def plot(self) -> Figure:
        """Draw balanced accuracy against severity, a panel a corruption; of a set, a bar beside clean."""
        from cellclf.evaluation.plots import plot_robustness

        return plot_robustness(self)


def stored(folder: Path) -> tuple[Robustness, ...]:
    """Read every ``robustness*.json`` of a run folder.

    Raises:
        RunFolderError: A file that holds something else.
    """
    found = []
    for path in sorted(folder.glob("robustness*.json")):
        try:
            found.append(Robustness.from_dict(json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{path} holds no robustness result ({error}); delete it or measure again") from None
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"value", "low", "high"}:
        return Estimate(*(np.nan if number is None else number for number in value.values()))
    if isinstance(value, list):
        return tuple(_from_plain(item) for item in value)
    return dict(value) if isinstance(value, Mapping) else value
