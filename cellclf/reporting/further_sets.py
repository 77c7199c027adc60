"""Sets that a run was only evaluated on, each compared with the run's own images; the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellclf.errors import DataError, unknown
from cellclf.evaluation.intervals import Grouped
from cellclf.evaluation.scores import SCORES
from cellclf.evaluation.significance import compare_sets
from cellclf.pages.template import percent

if TYPE_CHECKING:
    from cellclf.evaluation.metrics import Report
    from cellclf.evaluation.ood import DomainShift
    from cellclf.evaluation.significance import Change
    from cellclf.reporting.content import PageContent

OWN = ("train", "val")
"""Names of the sets that a training uses: scores on them do not show how good the classifier is."""

TEST = "test"
"""Name of the part of the own images that only reports."""

_LARGE, _SLIGHT = 0.1, 0.02  # falls of the macro F1


@dataclass(frozen=True, eq=False)
class FurtherSet:
    """A further set, beside the run's own images.

    Args:
        name: Of the set.
        report: Its scores.
        home: Name of the run's own set that it is compared with; None if there is none.
        change: Macro F1 at home and here, over the classes that both have and in the mix of this set; None without
            ``home``, or where no class is shared.
        shared: How many classes that is.
        shift: Whether its images as a whole are unlike the training cells; None if unknown.
    """

    name: str
    report: Report
    home: str | None = None
    change: Change | None = None
    shared: int = 0
    shift: DomainShift | None = None

    @property
    def needs_labels(self) -> bool:
        """Whether the run should be adapted to this laboratory: it is worse there, or the images are unlike its own."""
        if self.shift is not None and self.shift.shifted:
            return True
        if self.change is None:
            return False
        difference = self.change.difference
        return difference < -_LARGE or (difference < -_SLIGHT and difference.high < 0)

    def scored(self) -> str:
        """Write the score, how it compares with home, and whether the set is shifted."""
        f1 = self.report.macro_f1
        text = f"a macro F1 of {percent(f1)} ({percent(f1.low)} to {percent(f1.high)})"
        against, large = self._against_home()
        text += f", {against}" if against else ""
        if self.shift is not None and self.shift.shifted:
            but = "although" if against and not self.is_lower else "and"
            text += f", {but} its images as a whole are unlike the training cells (domain shift)"
        elif self.shift is not None:
            text += f", {'although' if self.is_lower else 'and'} no domain shift is found"
        return text + (": do not rely on it there" if large else "")

    @property
    def is_lower(self) -> bool:
        """Whether the score is lower than at home, be it by chance."""
        return self.change is not None and (self.change.difference.high < 0 or self.change.difference < -_SLIGHT)

    def _against_home(self) -> tuple[str, bool]:
        """Compare with home in words; and whether the fall is large and no chance."""
        if self.home is None:
            return "", False
        if self.change is None:
            return f"of classes that \u201c{self.home}\u201d has no image of", False
        value = self.change.difference
        where = f"\u201c{self.home}\u201d"
        if self.shared < len(self.report.class_names):
            where += f", over the {self.shared} classes that both have" if self.shared > 1 else ", over one class"
        if self.is_lower:
            chance = "" if value.high < 0 else ", which may be chance"
            text = f"{_points(value)} points lower than at home ({where}; {_ends(-value.high, -value.low)}){chance}"
            return text, value.high < 0 and value < -_LARGE
        if value.low > 0:
            return f"{_points(value)} points higher than at home ({where}; {_ends(value.low, value.high)})", False
        return f"not significantly different from home ({where}; {_ends(value.low, value.high)} points)", False


def further_sets(content: PageContent) -> list[FurtherSet]:
    """Give the further sets, the one that falls most first; their order in ``content`` changes nothing."""
    reports = {name: report for name, (report, _) in content.evaluations.items()}
    home = home_name(content)
    found = []
    for name in reports:
        if name in OWN or name == home:
            continue
        change, shared = (None, 0) if home is None else _change(reports[home], reports[name])
        found.append(FurtherSet(name, reports[name], home, change, shared, content.domain_shifts.get(name)))
    return sorted(
        found, key=lambda one: (one.report.macro_f1 - 1 if one.change is None else one.change.difference, one.name)
    )


def home_name(content: PageContent) -> str | None:
    """Name the run's own set that others are compared with: its test part, or else what it was chosen on."""
    own_test = content.parts is None or len(content.parts.test) > 0
    return next((name for name in (*([TEST] if own_test else []), "val") if name in content.evaluations), None)


def headline_name(content: PageContent, further: list[FurtherSet] | None = None) -> str | None:
    """Choose the evaluation that a page leads with: the own test part, else the worst of the further sets, else "val".

    Args:
        content: What the page shows; its ``headline`` comes first.
        further: What ``further_sets`` gives, where it is known already.

    Raises:
        UnknownNameError: ``headline`` is not among the evaluations.
    """
    names: Mapping[str, object] = content.evaluations
    if content.headline is not None:
        if content.headline not in names:
            raise unknown("evaluation", content.headline, names)
        return content.headline
    if home_name(content) == TEST:
        return TEST
    worst = further_sets(content) if further is None else further
    return next((name for name in (*(one.name for one in worst[:1]), "val", "train") if name in names), None)


def _change(home: Report, there: Report) -> tuple[Change | None, int]:
    """Compare two sets by macro F1; and over how many classes."""
    least = there.min_count
    used = (home.confusion.sum(1) > 0) & (there.confusion.sum(1) >= max(1, least))
    groups = (_grouped(home), _grouped(there))
    try:
        changes, _ = compare_sets(home.confusion, there.confusion, there.class_names, min_count=least, images=groups)
    except DataError:  # no class in common
        return None, 0
    label = SCORES["macro_f1"].label
    return next(one for one in changes if one.name == label), int(used.sum())


def _grouped(report: Report) -> Grouped | None:
    return None if report.groups is None else Grouped(report.truth, report.predicted, report.groups)


def _points(value: float) -> str:
    points = abs(100 * value)
    return f"{points:.0f}" if points >= 9.5 else f"{points:.1f}"


def _ends(low: float, high: float) -> str:
    digits = 0 if max(abs(low), abs(high)) >= 0.095 else 1
    return f"{100 * low + 0.0:.{digits}f} to {100 * high + 0.0:.{digits}f}"
