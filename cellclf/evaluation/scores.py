"""The scores: each is defined here, once. History, reports, tables and comparisons read ``SCORES``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import OptionError
from cellclf.evaluation.intervals import Bootstrap, Counts, Estimate, Floats

Place = Literal["history", "report", "table", "compare", "difference"]
"""Where a score is shown. ``history``: a column ``val_NAME`` of each epoch. ``report``: ``evaluate``'s text and JSON.
``table``: the score tables of report.html and report.md. ``compare``: columns of a comparison. ``difference``: the
difference between two classifiers or two sets, and a comparison on images that played no part in the choice."""

LEAST_PROBABILITY = 1e-7
"""What log loss counts for a class that was said to be impossible."""

EVERYWHERE: frozenset[Place] = frozenset(get_args(Place))


@dataclass(frozen=True, kw_only=True)
class Score:
    """The definition of one score.

    Args:
        name: Key in report.json, in ``Report.scores`` and, after ``val_``, of the history.
        label: Name in tables.
        of_counts: From confusion counts with leading axes ``...`` to scores of shape (...); gets bootstrap intervals.
        of_probabilities: From (N,) labels and (N, C) probabilities to the score; has no interval. Exactly one of the
            two functions is given.
        averages: What it averages over, which decides the interval of a score without any mistake.
        higher_is_better: Whether the best epoch is the one with the highest value.
        percent: Whether it is shown in per cent.
        places: Where it is shown; a score without counts has no differences.

    Raises:
        OptionError: No function or two, or a place that does not exist.

    Examples:
        >>> worst = Score(name="worst_recall", label="worst recall", of_counts=lambda counts: counts.recall.min(-1))
        >>> SCORES[worst.name] = worst
        >>> from cellclf.evaluation.metrics import evaluate
        >>> report = evaluate([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], ["round", "lobed"])
        >>> float(report.scores["worst_recall"])
        0.5
        >>> del SCORES[worst.name]
    """

    name: str
    label: str
    of_counts: Callable[[Counts], Floats] | None = None
    of_probabilities: Callable[[NDArray[np.int64], NDArray[Any]], float] | None = None
    averages: Literal["classes", "images"] = "classes"
    higher_is_better: bool = True
    percent: bool = True
    places: frozenset[Place] = EVERYWHERE

    def __post_init__(self) -> None:
        if (self.of_counts is None) == (self.of_probabilities is None):
            raise OptionError(f"score {self.name!r} has no function or two; give of_counts or of_probabilities")
        if unknown := set(self.places) - EVERYWHERE:
            raise OptionError(f"score {self.name!r}: no place {min(unknown)!r}; expected some of {get_args(Place)}")

    def value(self, counts: Counts, labels: NDArray[np.int64], probabilities: NDArray[Any]) -> float:
        """Compute the score, without an interval.

        Args:
            counts: Of the confusion matrix.
            labels: (N,) whole numbers.
            probabilities: (N, C).
        """
        if self.of_counts is not None:
            return float(self.of_counts(counts))
        assert self.of_probabilities is not None  # __post_init__
        return float(self.of_probabilities(labels, probabilities))

    def estimate(self, bootstrap: Bootstrap) -> Estimate:
        """Compute the score with its interval; of scores from counts only."""
        assert self.of_counts is not None
        return bootstrap.estimate(self.of_counts, averages=self.averages)

    def number(self, value: float | None) -> str:
        """Write a value without its unit; "" for None or NaN.

        Examples:
            >>> SCORES["accuracy"].number(0.951), SCORES["log_loss"].number(0.1234)
            ('95.1', '0.123')
        """
        if value is None or value != value:
            return ""
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"

    def interval(self, value: float | None, dash: str = "-") -> str:
        """Write the ends of an interval without their unit; "" where there is none.

        Examples:
            >>> SCORES["accuracy"].interval(Estimate(0.951, 0.942, 0.959))
            '94.2-95.9'
        """
        if not isinstance(value, Estimate) or value != value:
            return ""
        return f"{self.number(value.low)}{dash}{self.number(value.high)}"

    def text(self, value: float) -> str:
        """Write a value with unit and interval.

        Examples:
            >>> SCORES["accuracy"].text(Estimate(0.951, 0.942, 0.959))
            '95.1 % (94.2-95.9)'
        """
        text = self.number(value) + (" %" if self.percent else "")
        interval = self.interval(value)
        return f"{text} ({interval})" if interval else text


def log_loss(labels: NDArray[np.int64], probabilities: NDArray[Any]) -> float:
    """Compute the mean of -ln(probability of the true class), in nats.

    Reports, histories and calibrations all show this one: a probability below 1e-7 counts as 1e-7, as in Keras,
    whatever the precision in which it is stored.

    Args:
        labels: (N,) whole numbers.
        probabilities: (N, C) floats 0-1; rows are scaled to sum to 1.

    Examples:
        >>> round(log_loss(np.array([0, 0]), np.array([[1.0, 0.0], [0.0, 1.0]])), 3)
        8.059
    """
    given = np.asarray(probabilities, np.float64)
    true = given[np.arange(len(labels)), labels] / given.sum(1)
    return float(-np.log(np.maximum(true, LEAST_PROBABILITY)).mean())


def _macro(name: Literal["precision", "recall", "f1"]) -> Callable[[Counts], Floats]:
    return lambda counts: np.asarray(getattr(counts, name)[..., counts.averaged].mean(-1))


def _weighted(name: Literal["precision", "f1"]) -> Callable[[Counts], Floats]:
    return lambda counts: np.asarray((getattr(counts, name) * counts.support).sum(-1) / counts.support.sum(-1))


_BALANCED = Score(
    name="balanced_accuracy",
    label="balanced accuracy",
    of_counts=_macro("recall"),
    places=frozenset({"report", "table", "difference"}),
)

SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(name="macro_f1", label="macro F1", of_counts=_macro("f1")),
        _BALANCED,
        Score(
            name="macro_precision",
            label="macro precision",
            of_counts=_macro("precision"),
            places=EVERYWHERE - {"difference"},
        ),
        # the same number under the name that it has in histories, beside macro precision and macro F1
        replace(_BALANCED, name="macro_recall", label="macro recall", places=frozenset({"history", "compare"})),
        Score(
            name="weighted_f1",
            label="weighted F1",
            of_counts=_weighted("f1"),
            averages="images",
            places=EVERYWHERE - {"difference"},
        ),
        Score(
            name="weighted_precision",
            label="weighted precision",
            of_counts=_weighted("precision"),
            averages="images",
            places=frozenset({"history", "report", "compare"}),
        ),
        Score(
            name="accuracy",
            label="accuracy",
            of_counts=lambda counts: np.asarray(counts.hits.sum(-1) / counts.support.sum(-1)),
            averages="images",
        ),
        Score(
            name="log_loss",
            label="log loss",
            of_probabilities=log_loss,
            higher_is_better=False,
            percent=False,
            places=frozenset({"history", "report", "table"}),
        ),
    )
}
"""Every score by its name, in the order in which tables show them; those that count every class equally come first.

A score that is added here, from anywhere, is shown like the others."""


def scores_in(place: Place) -> list[Score]:
    """Give the scores that one place shows, in order.

    Examples:
        >>> [score.label for score in scores_in("difference")]
        ['macro F1', 'balanced accuracy', 'accuracy']
    """
    found = [score for score in SCORES.values() if place in score.places]
    return [score for score in found if place != "difference" or score.of_counts is not None]
