"""Outcome: what a pipeline gives; the run, its scores and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellclf.evaluation.forgetting import Forgetting
from cellclf.evaluation.metrics import Report
from cellclf.pipeline.prepared import Prepared
from cellclf.runs.run import Run
from cellclf.utils.results import Result


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Outcome(Result):
    """The result of a pipeline.

    Args:
        run: The trained classifier.
        prepared: What it was trained on, and what was removed.
        reports: "train", "val", "test" and the names of further sets -> scores.
        page: Path of ``report.html``; None without a folder.
        home: What a run that was continued has lost in its own laboratory; None for a training from the beginning.
    """

    run: Run
    prepared: Prepared
    reports: Mapping[str, Report]
    page: Path | None = None
    home: Forgetting | None = None

    @property
    def headline(self) -> str:
        """Name of the set that the report leads with: the own test part, else the worst further set, else val."""
        from cellclf.reporting.content import PageContent
        from cellclf.reporting.further_sets import headline_name

        evaluations = {name: (report, None) for name, report in self.reports.items()}
        return headline_name(PageContent(title="", parts=self.prepared.parts, evaluations=evaluations)) or "val"

    def summary(self) -> str:
        """Give a line for each set, and where the page is."""
        width = max(map(len, self.reports), default=0)
        lines = [
            f"{name:<{width}}  macro F1 {report.macro_f1:.4f}  accuracy {report.accuracy:.4f}  {report.n:>7,} images"
            for name, report in self.reports.items()
        ]
        lines += [] if self.home is None else [self.home.summary()]
        return "\n".join([*lines, f"report: {self.page}"] if self.page else lines)

    def to_dict(self) -> dict[str, Any]:
        """Give the scores of each set as plain data."""
        return {
            "reports": {name: report.to_dict() for name, report in self.reports.items()},
            "page": None if self.page is None else str(self.page),
            "home": None if self.home is None else self.home.to_dict(),
        }
