"""Compare backbones or runs: one table and one choice, as text, Markdown or a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate
from cellclf.evaluation.scores import SCORES, Score, scores_in
from cellclf.evaluation.significance import Paired, compare_paired, holm, points
from cellclf.pages.figures import History, number, restored
from cellclf.pages.template import duration, render, write
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns as lined_up
from cellclf.utils.text_tables import markdown_table, without_html

if TYPE_CHECKING:
    from cellclf.evaluation.metrics import Report

KEPT = (
    "In %: the epoch whose weights were kept, which is the model; beside it (max) the highest value of any epoch, "
    "each column separately, which is too optimistic. Weighted recall is accuracy."
)
MADE = "In %, of the runs without further training. Weighted recall is accuracy."
TESTED = (
    "Differences are on the same images: macro F1 with the interval of a paired bootstrap; McNemar's exact test of "
    "the images that only one classifies correctly; Holm's correction for the number of candidates. With few images, "
    "even real differences are rarely significant."
)


@dataclass(frozen=True)
class Versus:
    """The difference between a candidate and the chosen one, on the same images.

    Args:
        name: The candidate.
        paired: Candidate minus chosen one.
        corrected: McNemar's p-value, corrected for the number of candidates (Holm).
    """

    name: str
    paired: Paired
    corrected: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One row of a comparison.

    Args:
        name: The backbone or run.
        history: Its training, one row an epoch, scores as fractions.
        params: Number of weights of the model; None if unknown.
        seconds: Time of the training; None sums up the history.
        size: Bytes of the stored model; None if unknown.
        val: Report of the kept weights on the set that is chosen on; None takes scores from the history, without
            intervals and tests.
        report: Of a set that was not used in training, or None.
    """

    name: str
    history: History = ()
    params: int | None = None
    seconds: float | None = None
    size: int | None = None
    val: Report | None = None
    report: Report | None = None

    def kept(self, column: str) -> float | None:
        """Give the score of the epoch whose weights were kept (the last epoch if none is marked)."""
        if self.val is not None:
            return self.val.scores.get(column.removeprefix("val_"))
        place = restored(self.history)
        row = self.history[-1 if place is None else place] if self.history else {}
        return number(row.get(column))

    def highest(self, column: str, *, higher_is_better: bool = True) -> float | None:
        """Give the best score of any epoch; None where ``kept`` averages over fewer classes than the history does."""
        score = SCORES.get(column.removeprefix("val_"))
        if score is not None and score.averages == "classes" and self.val is not None and self.val.left_out:
            return None
        values = (x for row in self.history if (x := number(row.get(column))) is not None)
        return (max if higher_is_better else min)(values, default=None)

    def spent(self) -> float | None:
        """Give the seconds of the training."""
        if self.seconds is not None:
            return self.seconds
        known = [x for row in self.history if (x := number(row.get("seconds"))) is not None]
        return sum(known) if known else None


class Comparison(Result):
    """Candidates side by side, the best macro F1 of the kept epoch first: that one is chosen.

    Args:
        candidates: What is compared.
        chosen_on: Name of the set that is chosen on.
        reported_on: Name of the set that the candidates' reports are of; their averages say which classes are tested.

    Raises:
        DataError: There is nothing to compare, or reports are of different images.

    Examples:
        >>> rows = [
        ...     {"val_macro_f1": 0.80, "val_accuracy": 0.9, "best": True},
        ...     {"val_macro_f1": 0.84, "val_accuracy": 0.8, "best": False},
        ... ]
        >>> print(Comparison([Candidate(name="mobilenet", history=rows, params=1_832_976, seconds=754)]).table())
        name       macro F1   max  accuracy   max  params     training
        mobilenet      80.0  84.0      90.0  90.0   1.8 M  12 min 34 s
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        chosen_on: str = "val",
        reported_on: str = "test",
    ) -> None:
        if not candidates:
            raise DataError("there is nothing to compare; expected one candidate or more")
        self.candidates = tuple(sorted(candidates, key=lambda one: -(one.kept("val_macro_f1") or 0.0)))
        self.chosen_on = chosen_on
        self.reported_on = reported_on
        self._paired = {chosen_on: self._against([one.val for one in self.candidates])}
        if any(one.report is not None for one in self.candidates):
            self._paired[reported_on] = self._against([one.report for one in self.candidates])

    @property
    def best(self) -> Candidate:
        """The candidate that is chosen: the highest macro F1 of the kept epoch on the set that is chosen on."""
        return self.candidates[0]

    @property
    def smallest(self) -> Candidate | None:
        """The smallest candidate whose macro F1 is not significantly below the best; None if not tested."""
        tested = self.against(self.chosen_on)
        equals = {self.best.name, *(one.name for one in tested if not one.paired.significant)}
        known = [one for one in self.candidates if one.name in equals and one.params is not None]
        return min(known, key=lambda one: one.params or 0) if tested and known else None

    def against(self, name: str) -> tuple[Versus, ...]:
        """Give every other candidate against the chosen one, on the set of that name; empty if it cannot be tested."""
        return self._paired.get(name, ())

    def _against(self, reports: Sequence[Report | None]) -> tuple[Versus, ...]:
        known = [report for report in reports if report is not None]
        if len(known) < len(reports) or len(reports) < 2:
            return ()
        first = known[0]
        for one, report in zip(self.candidates, known, strict=True):
            if report.class_names != first.class_names or not np.array_equal(report.truth, first.truth):
                raise DataError(
                    f"{one.name} was evaluated on other images than {self.best.name}; expected reports of one set"
                )
        paired = [
            compare_paired(
                first.truth,
                report.predicted,
                first.predicted,
                len(first.class_names),
                min_count=first.min_count,
                groups=first.groups,
            )
            for report in known[1:]
        ]
        corrected = holm([one.p_value for one in paired])
        names = [one.name for one in self.candidates[1:]]
        return tuple(Versus(*row) for row in zip(names, paired, corrected, strict=True))

    def verdict(self) -> str:
        """Write which candidate is chosen, and why."""
        best, score = self.best, self.best.kept("val_macro_f1")
        if score is None or len(self.candidates) < 2:
            return ""
        text = f"Chosen: {best.name}, which has the highest macro F1 on {self.chosen_on} ({100 * score:.1f} %)."
        tested = self.against(self.chosen_on)
        if not tested:
            return f"{text} The differences were not tested: the predictions are not known."
        equal = [one for one in tested if not one.paired.significant]
        if not equal:
            return f"{text} Every other candidate is significantly worse."
        small = self.smallest
        if small is None:
            named = ", ".join(one.name for one in equal)
            return f"{text} No significant difference on these images: {named}."
        if small.name == best.name:
            return f"{text} It is also the smallest of those without a significant difference on these images."
        gap = next(one.paired.macro_f1 for one in equal if one.name == small.name)
        return (
            f"{text} The smallest without a significant difference is {small.name}, with {_amount(small.params)} "
            f"parameters instead of {_amount(best.params)}: {points(gap)}."
        )

    def tests(self) -> list[tuple[str, list[list[str]]]]:
        """Give a title and a table (head first) for each set on which the candidates can be tested."""
        found = []
        for name, versus in self._paired.items():
            if not versus:
                continue
            head = ["", "macro F1", "only it is correct", f"only {self.best.name} is", "McNemar p", "Holm p"]
            rows = [
                [
                    one.name,
                    points(one.paired.macro_f1),
                    f"{one.paired.only_first:,}",
                    f"{one.paired.only_second:,}",
                    _chance(one.paired.p_value),
                    _chance(one.corrected),
                ]
                for one in versus
            ]
            found.append((f"Against {self.best.name} on {name}, {versus[0].paired.n:,} images", [head, *rows]))
        return found

    @property
    def note(self) -> str:
        """What the columns mean."""
        kept = KEPT if any(one.history for one in self.candidates) else MADE
        return f"Scores are on {self.chosen_on} where no other set is named. {kept}"

    def columns(self) -> dict[str, list[str]]:
        """Give the table column by column, as texts; a column that no candidate has is left out."""
        return dict(_known(self._columns()))

    def _columns(self) -> Iterator[tuple[str, list[str]]]:
        every = self.candidates
        yield "name", [one.name for one in every]
        for score in scores_in("compare"):
            column, shown = f"val_{score.name}", _ranged if score.name == "macro_f1" else Score.number
            yield score.label, [shown(score, one.kept(column)) for one in every]
            best = (one.highest(column, higher_is_better=score.higher_is_better) for one in every)
            yield f"{score.label} {'max' if score.higher_is_better else 'min'}", [score.number(x) for x in best]
        yield "params", [_amount(one.params) for one in every]
        yield "size", ["" if one.size is None else f"{one.size / 1e6:.1f} MB" for one in every]
        yield "training", [_time(one.spent()) for one in every]
        for score in scores_in("difference"):
            values = (None if one.report is None else one.report.scores[score.name] for one in every)
            yield f"{score.label} on {self.reported_on}", [_ranged(score, value) for value in values]

    def table(self) -> str:
        """Write the bare table as text, scores in per cent."""
        ends = {f"{score.label} {end}": end for score in scores_in("compare") for end in ("max", "min")}
        named = [[ends.get(name, name), *texts] for name, texts in self.columns().items()]
        rows = [list(row) for row in zip(*named, strict=True)]
        return "\n".join(lined_up(rows, right=tuple(range(1, len(named)))))

    def __str__(self) -> str:
        parts = [self.table(), self.verdict()]
        parts += ["\n".join([title, *lined_up(rows, right=(2, 3, 4, 5))]) for title, rows in self.tests()]
        return without_html("\n\n".join(filter(None, [*parts, self.note, TESTED if self.tests() else ""])))

    def to_dict(self) -> dict[str, Any]:
        """Give the candidates, the choice and the tests as plain data: scores as fractions, None for the unknown."""
        small = self.smallest
        return {
            "candidates": [
                {
                    "name": one.name,
                    "params": one.params,
                    "size": one.size,
                    "seconds": one.spent(),
                    self.chosen_on: {
                        score.name: {
                            "kept": _plain(one.kept(f"val_{score.name}")),
                            "max" if score.higher_is_better else "min": one.highest(
                                f"val_{score.name}", higher_is_better=score.higher_is_better
                            ),
                        }
                        for score in scores_in("compare")
                    },
                }
                | ({} if one.report is None else {self.reported_on: one.report.to_dict()})
                for one in self.candidates
            ],
            "chosen": self.best.name,
            "smallest": None if small is None else small.name,
            "verdict": self.verdict(),
            "tests": {
                name: [{"name": one.name, "holm_p_value": one.corrected, **one.paired.to_dict()} for one in versus]
                for name, versus in self._paired.items()
            },
        }

    def to_markdown(self) -> str:
        """Write the tables and the choice as Markdown, for a pull request."""
        columns = self.columns()
        parts = [markdown_table([list(columns), *zip(*columns.values(), strict=True)]), self.verdict()]
        parts += [f"**{title}**\n\n{markdown_table(rows)}" for title, rows in self.tests()]
        return without_html("\n\n".join(filter(None, [*parts, self.note, TESTED if self.tests() else ""])))

    def write(self, path: str | Path) -> Path:
        """Write a self-contained page; Markdown if the path ends in ``.md``, data if it ends in ``.json``."""
        path = Path(path)
        if path.suffix.lower() == ".md":
            return write(path, self.to_markdown() + "\n")
        if path.suffix.lower() == ".json":
            return write(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        columns = self.columns()
        rows = list(zip(*columns.values(), strict=True))
        best = self.best
        return write(
            path,
            render(
                "compare.html.j2",
                package="cellclf.reporting",
                title=f"{len(rows)} candidates compared" if len(rows) > 1 else best.name,
                names=list(columns),
                rows=rows,
                note=self.note,
                best=best.name if len(rows) > 1 and best.kept("val_macro_f1") is not None else None,
                verdict=self.verdict(),
                tests=self.tests(),
                tested=TESTED,
                reports=[(one.name, one.report) for one in self.candidates if one.report is not None],
                scores=scores_in("difference"),
                reported_on=self.reported_on,
            ),
        )


def _known(columns: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    for name, texts in columns:
        if any(texts):
            yield name, [text or "-" for text in texts]


def _ranged(score: Score, value: float | None) -> str:
    interval = score.interval(value)
    return f"{score.number(value)} ({interval})" if interval else score.number(value)


def _plain(value: float | None) -> Any:
    return value.to_dict() if isinstance(value, Estimate) else value


def _chance(p_value: float) -> str:
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _amount(params: int | None) -> str:
    if params is None:
        return ""
    return f"{params / 1e6:.1f} M" if params >= 100_000 else f"{params:,}"
