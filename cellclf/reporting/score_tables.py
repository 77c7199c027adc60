"""The tables of scores that report.html and report.md show: one function for each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellclf.evaluation.groups import FEW
from cellclf.evaluation.scores import Score, scores_in
from cellclf.pages.template import plain
from cellclf.reporting.further_sets import OWN

if TYPE_CHECKING:
    from cellclf.evaluation.intervals import Estimate
    from cellclf.evaluation.metrics import Report

ROLES = {"train": "trained on", "val": "chosen on"}
"""What the sets of a training were used for; all others only report."""

CLASS_SCORES = ("F1", "recall", "precision")
"""What ``class_rows`` gives of each class."""


@dataclass(frozen=True, eq=False)
class ScoreRow:
    """The scores on one set.

    Args:
        name: The set.
        role: What the training used it for; "" if for nothing.
        lead: Whether the page leads with it.
        report: Its report.
        cells: Each score with its value.
        classes: How many classes the averages over classes include.
    """

    name: str
    role: str
    lead: bool
    report: Report
    cells: tuple[tuple[Score, float], ...]
    classes: str


def score_rows(reports: Mapping[str, Report], lead: str | None) -> list[ScoreRow]:
    """Give the scores of every set: the leading one first, those that the training used last.

    Args:
        reports: Name of a set -> its report.
        lead: The set that the page leads with.

    Examples:
        >>> from cellclf.evaluation.metrics import evaluate
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> [row.name for row in score_rows({"val": report, "test": report}, "test")]
        ['test', 'val']
    """
    return [
        ScoreRow(
            name=name,
            role=ROLES.get(name, ""),
            lead=name == lead,
            report=reports[name],
            cells=tuple((score, reports[name].scores[score.name]) for score in scores_in("table")),
            classes=_averaged(reports[name]),
        )
        for name in in_order(reports, lead)
    ]


def in_order(names: Mapping[str, object], lead: str | None) -> list[str]:
    """Order sets: the leading one, others by name, then those that the training used.

    Examples:
        >>> in_order({"train": 0, "val": 0, "bccd": 0, "test": 0}, "test")
        ['test', 'bccd', 'train', 'val']
    """
    return sorted(names, key=lambda name: (name in OWN, name != lead, name))


def class_rows(report: Report) -> list[tuple[str, int, tuple[Estimate, Estimate, Estimate]]]:
    """Give name, images and ``CLASS_SCORES`` of each class that has images."""
    return [
        (plain(one.name), one.support, (one.f1, one.recall, one.precision)) for one in report.classes if one.support
    ]


def left_out_lines(reports: Mapping[str, Report]) -> list[str]:
    """State for each set which classes are not in its averages over classes."""
    return [
        f"{name}: averages over classes leave out, for lack of images: "
        + ", ".join(f"{plain(one)} ({images:,})" for one, images in report.left_out.items())
        + "."
        for name, report in reports.items()
        if report.left_out
    ]


def unit_line(reports: Mapping[str, Report]) -> str:
    """State what the intervals of each set resample: images, or slides and patients; and whether these are few.

    Args:
        reports: Name of a set -> its report.

    Examples:
        >>> from cellclf.evaluation.metrics import evaluate
        >>> labels, found = [0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.8, 0.2]]
        >>> slides = evaluate(labels, found, ["round", "lobed"], groups=[1, 2, 3, 4])
        >>> unit_line({"test": slides, "val": evaluate(labels, found, ["round", "lobed"])})
        'Intervals by patient or slide: test (4, so few that they are rough). By image: val.'
    """
    units: dict[str, list[str]] = {}
    for name, report in reports.items():
        groups = report.num_groups
        if groups is None:
            units.setdefault("image", []).append(name)
            continue
        few = ", so few that they are rough" if groups < FEW else ""
        few = ", which says nothing about others" if groups == 1 else few
        units.setdefault("patient or slide", []).append(f"{name} ({groups:,}{few})")
    if list(units) == ["image"]:
        return "Intervals by image."
    named = [f"by {by}: {', '.join(units[by])}." for by in ("patient or slide", "image") if by in units]
    return "Intervals " + " ".join([named[0], *(text[0].upper() + text[1:] for text in named[1:])])


def _averaged(report: Report) -> str:
    used = len(report.class_names) - len(report.left_out)
    return f"{used}" if not report.left_out else f"{used} of {len(report.class_names)}"
