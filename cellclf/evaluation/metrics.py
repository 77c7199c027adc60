"""Metrics of a classifier: labels and probabilities in, a report with intervals out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, printable, unknown
from cellclf.evaluation.checks import Level, Resamples, averaged_classes, check_predictions, checked_names
from cellclf.evaluation.groups import domain_names, number_groups, unit_text
from cellclf.evaluation.intervals import Estimate, Grouped, bootstrap
from cellclf.evaluation.plots import plot_confused, plot_confusion
from cellclf.evaluation.scores import SCORES, scores_in
from cellclf.utils.parameters import Count, Seed, check_arguments
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class.

    Args:
        name: The class.
        support: Images of it.
        predicted: Images that were predicted as it.
        precision: Share of the images predicted as the class that are of it; NaN without images.
        recall: Share of the images of the class that were predicted as it; NaN without images.
        f1: Harmonic mean of the two; NaN without images.
    """

    name: str
    support: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, eq=False)
class ConfusedPair:
    """Images of one class that were predicted as another.

    Args:
        truth: The true class.
        predicted: The predicted class.
        rate: Their share of all images of ``truth``.
        indices: Their positions in the evaluated set, the most confident mistake first.
    """

    truth: str
    predicted: str
    rate: float
    indices: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.indices)


@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
    """How good a classifier is on one set; made by ``evaluate``.

    Scores are ``Estimate``s: floats with ``.low`` and ``.high``. The macro averages, ``balanced_accuracy`` among them
    (it is the macro recall), give every class the same weight and include the classes with at least ``min_count``
    images; ``left_out`` names the others. Accuracy and the weighted averages mostly reflect the large classes: read
    them last. (Weighted recall is accuracy.)

    Args:
        class_names: (C,) names, in label order.
        scores: Name of a score -> its value: an ``Estimate``, or a float for one without an interval. They are defined
            in ``cellclf.evaluation.scores``.
        classes: Scores of each class.
        confusion: (C, C) counts; rows the truth, columns the prediction.
        left_out: Classes outside the macro averages, with their number of images.
        truth: (N,) labels.
        probabilities: (N, C) as given.
        confidence_level: Of the intervals, 0-1.
        resamples: Bootstrap resamples behind the intervals.
        groups: (N,) number of the group (slide, patient) of each image, which the intervals resample; None if they are
            not known.
        by_domain: Domain (laboratory, hospital, scanner) -> the report of its images; empty if they are not known.
    """

    class_names: tuple[str, ...]
    scores: Mapping[str, float]
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]
    left_out: dict[str, int]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    confidence_level: float
    resamples: int
    groups: NDArray[np.int64] | None = None
    by_domain: Mapping[str, Report] = field(default_factory=dict)

    @property
    def macro_f1(self) -> Estimate:
        """Mean F1 over classes: the first number to look at."""
        return self._estimate("macro_f1")

    @property
    def balanced_accuracy(self) -> Estimate:
        """Mean recall over classes."""
        return self._estimate("balanced_accuracy")

    @property
    def macro_recall(self) -> Estimate:
        """The balanced accuracy under its other name."""
        return self._estimate("balanced_accuracy")

    @property
    def macro_precision(self) -> Estimate:
        """Mean precision over classes."""
        return self._estimate("macro_precision")

    @property
    def weighted_f1(self) -> Estimate:
        """Mean F1, weighted by images."""
        return self._estimate("weighted_f1")

    @property
    def weighted_precision(self) -> Estimate:
        """Mean precision, weighted by images."""
        return self._estimate("weighted_precision")

    @property
    def accuracy(self) -> Estimate:
        """Share of images that were classified correctly."""
        return self._estimate("accuracy")

    @property
    def weighted_recall(self) -> Estimate:
        """The accuracy under its other name."""
        return self._estimate("accuracy")

    @property
    def log_loss(self) -> float:
        """Mean of -ln(probability of the true class), unweighted, in nats."""
        return self.scores["log_loss"]

    def _estimate(self, name: str) -> Estimate:
        value = self.scores[name]
        assert isinstance(value, Estimate)
        return value

    @property
    def n(self) -> int:
        """How many images were evaluated."""
        return len(self.truth)

    @property
    def num_groups(self) -> int | None:
        """How many groups the images are of; None if they are not known."""
        return None if self.groups is None else int(self.groups.max()) + 1

    @property
    def min_count(self) -> int:
        """The number of images of the smallest class in the macro averages."""
        return min(c.support for c in self.classes if c.name not in self.left_out)

    @property
    def unit(self) -> str:
        """What the intervals resample, in words: images, or how many groups."""
        return unit_text(self.num_groups)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def confidence(self) -> NDArray[np.floating[Any]]:
        """(N,) the probability given to the predicted class."""
        return np.asarray(self.probabilities.max(1))

    @property
    def rates(self) -> NDArray[np.float64]:
        """(C, C) the confusion matrix as fractions of each true class; a row without images is NaN."""
        support = self.confusion.sum(1, keepdims=True).astype(float)
        rates = np.full(self.confusion.shape, np.nan)
        np.divide(self.confusion, support, out=rates, where=support > 0)
        return rates

    @property
    def weakest(self) -> ClassScores:
        """The class with the lowest F1 among those in the macro averages."""
        return min((c for c in self.classes if c.name not in self.left_out), key=lambda c: c.f1)

    def mistakes(self) -> NDArray[np.int64]:
        """Give the positions of all misclassified images, the most confident mistake first."""
        wrong = np.flatnonzero(self.predicted != self.truth)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def confused(self) -> tuple[ConfusedPair, ...]:
        """Give every (truth, predicted) pair of classes that was confused, the most frequent first."""
        wrong, rates = self.mistakes(), self.rates
        rows, columns = self.truth[wrong], self.predicted[wrong]
        pairs = [
            ConfusedPair(
                self.class_names[r],
                self.class_names[c],
                float(rates[r, c]),
                wrong[(rows == r) & (columns == c)],
            )
            for r, c in sorted(set(zip(rows.tolist(), columns.tolist(), strict=True)))
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.rate)))

    def headline(self) -> dict[str, Estimate]:
        """Give the averages under their labels, those that count every class equally first."""
        values = ((score.label, self.scores[score.name]) for score in scores_in("report"))
        return {label: value for label, value in values if isinstance(value, Estimate)}

    def __str__(self) -> str:
        level = f"{100 * self.confidence_level:g} %"
        what = f"{level} intervals from {self.resamples:,} bootstrap resamples of {self.unit}"
        lines = [f"{self.n:,} images; in brackets: {what}", ""]
        lines += columns([(score.label, score.text(self.scores[score.name])) for score in scores_in("report")])
        if self.left_out:
            named = ", ".join(f"{name} ({count})" for name, count in self.left_out.items())
            lines += textwrap.wrap(f"macro averages and balanced accuracy leave out, for lack of images: {named}", 100)
        head = ("class", "images", "precision", "recall", "F1")
        rows = [
            (
                c.name,
                f"{c.support:,}",
                *(("no images", "", "") if not c.support else map(str, (c.precision, c.recall, c.f1))),
            )
            for c in self.classes
        ]
        lines += ["", *columns([head, *rows], right=(1,))]
        if self.by_domain:
            lines += ["", *columns(self.domain_rows(), right=(1,))]
        if pairs := self.confused()[:5]:
            shown = [
                (f"{p.truth} predicted as {p.predicted}", f"{p.count:,}", f"{100 * p.rate:.1f} % of the class")
                for p in pairs
            ]
            lines += ["", "most confused", *columns(shown, right=(1,))]
        return "\n".join(lines)

    def domain_rows(self) -> list[tuple[str, ...]]:
        """Give the scores of each domain as texts, the worst balanced accuracy first; the first row is the head."""
        head = ("domain", "images", *(score.label for score in scores_in("difference")), "classes")
        ordered = sorted(self.by_domain.items(), key=lambda item: item[1].balanced_accuracy)
        return [
            head,
            *(
                (
                    name,
                    f"{one.n:,}",
                    *(score.text(one.scores[score.name]) for score in scores_in("difference")),
                    f"{len(one.class_names) - len(one.left_out)} of {len(one.class_names)}",
                )
                for name, one in ordered
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain data that JSON can hold: fractions, None where there is no number.

        Truth and probabilities are not included; ``most_confused`` gives the positions of the first ten images of
        the first ten pairs.
        """
        return {
            "n": self.n,
            "class_names": list(self.class_names),
            "confidence_level": self.confidence_level,
            "resamples": self.resamples,
            "groups": self.num_groups,
            **{score.name: _plain(self.scores[score.name]) for score in scores_in("report")},
            "left_out_of_macro_averages": dict(self.left_out),
            "domains": {
                name: {
                    "n": one.n,
                    **{score.name: _plain(one.scores[score.name]) for score in scores_in("difference")},
                    "left_out_of_macro_averages": dict(one.left_out),
                }
                for name, one in self.by_domain.items()
            },
            "classes": [
                {
                    "name": c.name,
                    "support": c.support,
                    "predicted": c.predicted,
                    "precision": c.precision.to_dict(),
                    "recall": c.recall.to_dict(),
                    "f1": c.f1.to_dict(),
                }
                for c in self.classes
            ],
            "confusion": self.confusion.tolist(),
            "most_confused": [
                {
                    "truth": p.truth,
                    "predicted": p.predicted,
                    "count": p.count,
                    "rate": p.rate,
                    "indices": p.indices[:10].tolist(),
                }
                for p in self.confused()[:10]
            ],
        }

    def plot(self) -> Figure:
        """Draw the confusion matrix: fractions of each true class as colour, counts as text."""
        title = f"Confusion matrix, {self.n:,} images\nmacro F1 {self.macro_f1}"
        return plot_confusion(self.confusion, self.class_names, title=title)

    def plot_confused(self, cells: ImageSet, *, pairs: int = 6, images: int = 8) -> Figure:
        """Draw the most confused pairs of classes, a row of images each, the most confident mistakes first.

        Args:
            cells: The set that was evaluated.
            pairs: Rows at most.
            images: Images in a row at most.

        Raises:
            DataError: ``cells`` is another set.
        """
        self.check(cells)
        rows = [
            (
                f"{pair.truth} predicted as {pair.predicted}: {pair.count:,}, {100 * pair.rate:.1f} % of the class",
                cells.read(pair.indices[:images]),
                self.confidence[pair.indices[:images]],
            )
            for pair in self.confused()[:pairs]
        ]
        title = f"Most confused pairs of {self.n:,} images; in %: the confidence of the classifier"
        return plot_confused(rows, columns=images, title=title if rows else f"No mistake in {self.n:,} images")

    def check(self, cells: ImageSet) -> None:
        """Refuse a set other than the evaluated one.

        Raises:
            DataError: ``cells`` has another number of images or other labels.
        """
        if len(cells) != self.n:
            raise DataError(f"the report is of {self.n} images, the set has {len(cells)}; pass the evaluated set")
        if cells.labels is not None and not np.array_equal(cells.labels, self.truth):
            raise DataError("the set has other labels than the report was made from; pass the evaluated set")


def _numbered(labels: ArrayLike, names: tuple[str, ...]) -> ArrayLike:
    """Give labels that are names of classes as their numbers."""
    given = np.asarray(labels)
    if given.ndim != 1 or not len(given) or not all(isinstance(one, str) for one in given.tolist()):
        return labels
    number = {name: place for place, name in enumerate(names)}
    spelled = [printable(one) for one in given.tolist()]
    if strange := next((one for one in spelled if one not in number), None):
        raise unknown("class", strange, names)
    return [number[one] for one in spelled]


def _column_names(probabilities: Any) -> list[str]:
    """Give the names of a DataFrame's columns; none where they are not names."""
    names = list(getattr(probabilities, "columns", ()))
    return names if all(isinstance(name, str) for name in names) else []


def _in_order(probabilities: ArrayLike, names: tuple[str, ...]) -> ArrayLike:
    """Put the columns of a DataFrame that are called after the classes in the order of these."""
    columns = [printable(name) for name in _column_names(probabilities)]
    if columns == list(names) or sorted(columns) != sorted(names):
        return probabilities
    return np.asarray(probabilities)[:, [columns.index(name) for name in names]]


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    confidence: Level = 0.95,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    min_count: Count | None = None,
    groups: ArrayLike | None = None,
    domains: ArrayLike | None = None,
) -> Report:
    """Compare predicted probabilities with the truth.

    Args:
        labels: (N,) or (N, 1) whole numbers, index into ``class_names``, or names of these.
        probabilities: (N, C) floats 0-1, rows that sum to 1: what the softmax gives. The columns of a DataFrame are
            matched by name where they are called after the classes.
        class_names: C names in label order; None numbers them from 0, or takes the names of a DataFrame's columns.
        confidence: Level of the intervals, between 0 and 1.
        resamples: Bootstrap resamples behind the intervals, 100 or more.
        seed: Chooses the resamples.
        min_count: A class with fewer images is left out of the macro averages, but still listed. None leaves out those
            of fewer than 10 images, where two classes or more have as many.
        groups: (N,) slide or patient of each image. Images of one slide are alike, so that the intervals resample whole
            groups, with Student's t for few of them; they are then never narrower than without. None takes the images
            as independent.
        domains: (N,) laboratory, hospital or scanner of each image, each of which is also scored by itself; its
            averages are over the classes of which it has ``min_count`` images (with None, one). None scores none.

    Raises:
        DataError: Arrays that do not fit together, or values that are no probabilities.
        OptionError: A level or a count out of range.

    Examples:
        >>> report = evaluate([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], ["round", "lobed"])
        >>> round(report.macro_f1, 3), float(report.accuracy)
        (0.733, 0.75)
        >>> report.confusion.tolist()
        [[1, 1], [0, 2]]

    Source:
        Sokolova & Lapalme, Information Processing & Management 45 (2009) 427-437 (the measures); the
        intervals: see ``cellclf.evaluation.intervals``.
    """
    if class_names is None:
        class_names = _column_names(probabilities) or [
            str(k) for k in range(np.shape(probabilities)[-1] if np.ndim(probabilities) == 2 else 0)
        ]
    names = checked_names(class_names)
    probabilities = _in_order(probabilities, names)
    truth, given = check_predictions(_numbered(labels, names), probabilities, len(names))
    check_arguments(evaluate, confidence=confidence, resamples=resamples, seed=seed, min_count=min_count)

    classes = len(names)
    confusion = np.bincount(truth * classes + given.argmax(1), minlength=classes * classes).reshape(classes, classes)
    support = confusion.sum(1)
    fewest = min_count or 1  # of a domain, which has fewer images: its averages hold every class, and are uncertain
    averaged = averaged_classes(support, min_count)
    numbers = number_groups(groups, len(truth))
    named = domain_names(domains, len(truth))
    found = bootstrap(
        confusion,
        averaged,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        images=None if numbers is None else Grouped(truth, given.argmax(1), numbers),
    )
    for array in (confusion, truth, given):
        array.flags.writeable = False
    per_class = zip(names, support, confusion.sum(0), found.precision(), found.recall(), found.f1(), strict=True)
    return Report(
        class_names=names,
        scores={
            score.name: score.estimate(found) if score.of_counts else score.value(found.found, truth, given)
            for score in SCORES.values()
        },
        classes=tuple(
            ClassScores(name, int(images), int(predicted), *scores) for name, images, predicted, *scores in per_class
        ),
        confusion=confusion,
        left_out={name: int(support[k]) for k, name in enumerate(names) if not averaged[k]},
        truth=truth,
        probabilities=given,
        confidence_level=confidence,
        resamples=resamples,
        groups=numbers,
        by_domain={
            name: evaluate(
                truth[rows],
                given[rows],
                names,
                confidence=confidence,
                resamples=resamples,
                seed=seed,
                min_count=min(fewest, int(np.bincount(truth[rows]).max())),
                groups=None if numbers is None else numbers[rows],
            )
            for name, rows in named.items()
        },
    )


def _plain(value: float) -> float | dict[str, float | None]:
    return value.to_dict() if isinstance(value, Estimate) else value
