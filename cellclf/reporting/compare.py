"""Backbones or runs side by side: one table as text, Markdown or a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.errors import DataError
from cellclf.reporting.figures import History, number, restored
from cellclf.reporting.template import duration, render, write

if TYPE_CHECKING:
    from cellclf.evaluation.metrics import Report

MEASURES = {
    "val_macro_f1": "macro F1",
    "val_macro_precision": "macro precision",
    "val_macro_recall": "macro recall",
    "val_weighted_f1": "weighted F1",
    "val_weighted_precision": "weighted precision",
    "val_accuracy": "accuracy",
}
"""Columns of a history that are compared, and what they are called."""

NOTE = (
    "On validation, in %: the epoch whose weights were kept, which is the model that you have; beside it (max) the "
    "highest value of any epoch, each column for itself, which flatters. Weighted recall is accuracy."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One row of a comparison.

    Args:
        name: The backbone or run.
        history: Its training, one row an epoch, scores as fractions.
        params: Number of weights of the model; None if unknown.
        seconds: What the training took; None sums up the history.
        report: Of a set that played no part in training, or None.
    """

    name: str
    history: History = ()
    params: int | None = None
    seconds: float | None = None
    report: Report | None = None

    def kept(self, column: str) -> float | None:
        """Give the score of the epoch whose weights were kept (the last epoch if none is marked)."""
        place = restored(self.history)
        row = self.history[-1 if place is None else place] if self.history else {}
        return number(row.get(column))

    def highest(self, column: str) -> float | None:
        """Give the highest score of any epoch."""
        return max((x for row in self.history if (x := number(row.get(column))) is not None), default=None)

    def spent(self) -> float | None:
        """Give the seconds of the training."""
        if self.seconds is not None:
            return self.seconds
        known = [x for row in self.history if (x := number(row.get("seconds"))) is not None]
        return sum(known) if known else None


class Comparison:
    """Candidates side by side, the best macro F1 of the kept epoch first.

    Args:
        candidates: What is compared.
        reported_on: Name of the set that the candidates' reports are of.

    Raises:
        DataError: There is nothing to compare.

    Examples:
        >>> rows = [
        ...     {"val_macro_f1": 0.80, "val_accuracy": 0.9, "best": True},
        ...     {"val_macro_f1": 0.84, "val_accuracy": 0.8, "best": False},
        ... ]
        >>> print(Comparison([Candidate(name="mobilenet", history=rows, params=1_832_976, seconds=754)]).table())
        name       macro F1   max  accuracy   max  params     training
        mobilenet      80.0  84.0      90.0  90.0   1.8 M  12 min 34 s
    """

    def __init__(self, candidates: Sequence[Candidate], *, reported_on: str = "test") -> None:
        if not candidates:
            raise DataError("there is nothing to compare; give one candidate or more")
        self.candidates = tuple(sorted(candidates, key=lambda one: -(one.kept("val_macro_f1") or 0.0)))
        self.reported_on = reported_on

    def columns(self) -> dict[str, list[str]]:
        """Give the table column by column, as texts; what no candidate knows is left out."""
        return dict(_known(self._columns()))

    def _columns(self) -> Iterator[tuple[str, list[str]]]:
        every = self.candidates
        yield "name", [one.name for one in every]
        for column, words in MEASURES.items():
            yield words, [_percent(one.kept(column)) for one in every]
            yield f"{words} max", [_percent(one.highest(column)) for one in every]
        yield "params", [_amount(one.params) for one in every]
        yield "training", [_time(one.spent()) for one in every]
        on = self.reported_on
        for words, name in (("macro F1", "macro_f1"), ("balanced accuracy", "balanced_accuracy")):
            reports = (one.report for one in every)
            yield f"{words} on {on}", ["" if r is None else str(getattr(r, name)) for r in reports]

    def table(self) -> str:
        """Write the bare table as text, scores in per cent."""
        columns = [["max" if name.endswith(" max") else name, *texts] for name, texts in self.columns().items()]
        widths = [max(map(len, column)) for column in columns]
        rows = zip(*columns, strict=True)
        return "\n".join(
            "  ".join(
                text.rjust(width) if k else text.ljust(width)
                for k, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )

    def __str__(self) -> str:
        return f"{self.table()}\n\n{NOTE}"

    def to_dict(self) -> list[dict[str, Any]]:
        """Give one dict for each candidate: scores as fractions, None for what is unknown."""
        return [
            {
                "name": one.name,
                "params": one.params,
                "seconds": one.spent(),
                "validation": {
                    column.removeprefix("val_"): {"kept": one.kept(column), "max": one.highest(column)}
                    for column in MEASURES
                },
                self.reported_on: None if one.report is None else one.report.to_dict(),
            }
            for one in self.candidates
        ]

    def to_markdown(self) -> str:
        """Write the table as Markdown, for a pull request."""
        columns = self.columns()
        rows = [list(columns), [":--", *["--:"] * (len(columns) - 1)], *zip(*columns.values(), strict=True)]
        lines = ("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows)
        return "\n".join([*lines, "", NOTE])

    def write(self, path: str | Path) -> Path:
        """Write the table as a self-contained page, or as Markdown if the path ends in ``.md``."""
        path = Path(path)
        if path.suffix.lower() == ".md":
            return write(path, self.to_markdown() + "\n")
        columns = self.columns()
        rows = list(zip(*columns.values(), strict=True))
        best = self.candidates[0]
        return write(
            path,
            render(
                "compare.html.j2",
                title=f"{len(rows)} candidates compared" if len(rows) > 1 else best.name,
                names=list(columns),
                rows=rows,
                note=NOTE,
                best=best.name if len(rows) > 1 and best.kept("val_macro_f1") is not None else None,
                reports=[(one.name, one.report) for one in self.candidates if one.report is not None],
                reported_on=self.reported_on,
            ),
        )


def _known(columns: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    for name, texts in columns:
        if any(texts):
            yield name, [text or "-" for text in texts]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _amount(params: int | None) -> str:
    if params is None:
        return ""
    return f"{params / 1e6:.1f} M" if params >= 100_000 else f"{params:,}"
