"""Figures of an evaluation: confusion matrix, confused images, robustness, external images. They take data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellclf.utils.contact_sheet import PALETTE, drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cellclf.evaluation.intervals import Estimate


def plot_confusion(confusion: NDArray[np.int64], class_names: Sequence[str], *, title: str) -> Figure:
    """Draw a confusion matrix: fractions of each true class as colour, counts as text.

    Args:
        confusion: (C, C) counts; rows the truth, columns the prediction.
        class_names: C names.
        title: Above the matrix.

    Examples:
        >>> figure = plot_confusion(np.array([[3, 1], [0, 4]]), ["a", "b"], title="8 images")
        >>> figure.axes[0].get_xlabel()
        'predicted class'
    """
    from cellclf.utils.figure import Figure

    names = [drawable(name.replace("_", " ")) for name in class_names]
    classes = len(names)
    with np.errstate(invalid="ignore"):  # a class without images has no fractions
        rates = 100 * confusion / confusion.sum(1, keepdims=True)
    side = 2.2 + 0.55 * classes
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(np.ma.masked_invalid(rates), cmap="Blues", vmin=0, vmax=100)
    for row in range(classes):
        for column in range(classes):
            if count := int(confusion[row, column]):
                dark = rates[row, column] > 55
                axes.text(
                    column, row, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if dark else "black"
                )
    axes.set_xticks(range(classes), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(classes), names, fontsize=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
    return figure


def plot_confused(rows: Sequence[tuple[str, NDArray[np.uint8], NDArray[Any]]], *, columns: int, title: str) -> Figure:
    """Draw rows of images with the confidence of the classifier above each.

    Args:
        rows: Title of a row, its (n, H, W, 3) images, and (n,) confidences 0-1.
        columns: Images in a row at most.
        title: Above all rows.
    """
    from cellclf.utils.figure import Figure

    height = 0.6 + 1.35 * max(1, len(rows))
    figure = Figure(figsize=(1.05 * columns, height), dpi=110)
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height, va="top")
    for row, (words, images, confidence) in enumerate(rows):
        top = height - 0.55 - 1.35 * row
        figure.text(0.01, top / height, words.replace("_", " "), fontsize=8)
        for column, (image, share) in enumerate(zip(images, confidence, strict=True)):
            axes = figure.add_axes(((column + 0.05) / columns, (top - 1.2) / height, 0.9 / columns, 0.95 / height))
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{100 * share:.0f} %", fontsize=6.5, pad=2)
    return figure


class SuiteRow(Protocol):
    """The scores under one corruption that are drawn."""

    @property
    def name(self) -> str:
        """The corruption."""

    @property
    def seen(self) -> bool:
        """Whether the training used images of its family."""

    @property
    def balanced_accuracy(self) -> tuple[Estimate, ...]:
        """At each severity."""

    @property
    def mean(self) -> Estimate:
        """Over severities."""


class Suite(Protocol):
    """What is drawn of a suite of corrupted or shifted images: a ``Robustness``, which this module must not import."""

    @property
    def suite(self) -> str:
        """Its name."""

    @property
    def n(self) -> int:
        """Images under each corruption."""

    @property
    def confidence_level(self) -> float:
        """Of the intervals."""

    @property
    def clean(self) -> Estimate:
        """Balanced accuracy on clean images."""

    @property
    def mean(self) -> Estimate:
        """Balanced accuracy over all corruptions."""

    @property
    def corruptions(self) -> Sequence[SuiteRow]:
        """One for each corruption."""


def plot_robustness(found: Suite) -> Figure:
    """Draw balanced accuracy against severity, a panel for each corruption; for a shifted set, its bar beside clean.

    Args:
        found: Made by ``robustness``.
    """
    from cellclf.utils.figure import Figure

    blue, vermilion = PALETTE[0], PALETTE[1]
    title = f"Balanced accuracy on {found.n:,} images, {100 * found.confidence_level:g} % intervals: {found.suite}"
    if len(found.corruptions) == 1:
        figure = Figure(figsize=(4.2, 3.4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        names = ["clean", drawable(found.corruptions[0].name)]
        for place, (value, colour) in enumerate(((found.clean, blue), (found.mean, vermilion))):
            reach = [[100 * (value - value.low)], [100 * (value.high - value)]]
            axes.bar(place, 100 * value, color=colour, width=0.6, yerr=reach, capsize=4)
        axes.set_xticks((0, 1), names)
        axes.set_ylim(0, 100)
        axes.set_ylabel("balanced accuracy (%)")
        figure.suptitle(drawable(title), fontsize=9)
        return figure
    wide = 4
    rows = -(-len(found.corruptions) // wide)
    figure = Figure(figsize=(9, 0.8 + 1.9 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, wide, sharex=True, sharey=True, squeeze=False).ravel()
    lowest = min(float(value.low) for scores in found.corruptions for value in scores.balanced_accuracy)
    for axes, scores in zip(panels, found.corruptions, strict=False):
        values = scores.balanced_accuracy
        severity = np.arange(1, len(values) + 1)
        colour = vermilion if scores.seen else blue
        axes.axhline(100 * found.clean, color="black", linewidth=0.8, linestyle=":")
        axes.fill_between(
            severity,
            [100 * v.low for v in values],
            [100 * v.high for v in values],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        marker = "s" if scores.seen else "o"
        axes.plot(severity, [100 * v for v in values], color=colour, marker=marker, markersize=3)
        name = scores.name.replace("_", " ") + (" (seen)" if scores.seen else "")
        axes.set_title(f"{name}\nmean {100 * scores.mean:.1f} %", fontsize=8)
        axes.set_xticks(severity)
        axes.set_ylim(max(0, 100 * lowest - 5), 101)
    for axes in panels[len(found.corruptions) :]:
        axes.set_visible(False)
    figure.supylabel("balanced accuracy (%)", fontsize=8)
    figure.supxlabel("severity; dotted: clean images; seen: the training used images of that family", fontsize=8)
    figure.suptitle(drawable(title), fontsize=9)
    return figure


def plot_external(
    *,
    external: Mapping[str, Estimate],
    reference: Mapping[str, Estimate],
    remedies: Mapping[str, Estimate],
    expected: Estimate | None,
) -> Figure:
    """Draw the recall of each class on the reference and on external images, and what remedies give there.

    Args:
        external: Recall of each class on the external images.
        reference: The same on the reference; may lack classes.
        remedies: Balanced accuracy on the external images, by what was done.
        expected: Balanced accuracy on the reference; None if it is not known.
    """
    from cellclf.utils.figure import Figure

    blue, vermilion = PALETTE[0], PALETTE[1]
    figure = Figure(figsize=(9.4, 1.6 + 0.42 * max(len(external), len(remedies), 4)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn = [(reference, -0.14, "s", blue, "reference"), (external, 0.14, "o", vermilion, "external images")]
    places = {name: row for row, name in enumerate(external)}
    for scores, shift, marker, colour, label in drawn:
        if scores:
            rows = [places[name] + shift for name in scores]
            values = [100 * value for value in scores.values()]
            reach = [[max(0.0, 100 * (v - v.low)) for v in scores.values()]]
            reach += [[max(0.0, 100 * (v.high - v)) for v in scores.values()]]
            left.errorbar(values, rows, xerr=reach, fmt=marker, color=colour, markersize=4, capsize=2, label=label)
    left.set_yticks(range(len(external)), [drawable(name.replace("_", " ")) for name in external], fontsize=8)
    left.set_title("Recall of each class", fontsize=9)
    left.set_xlabel("recall (%)", fontsize=8)
    for row, value in enumerate(remedies.values()):
        reach = [[max(0.0, 100 * (value - value.low))], [max(0.0, 100 * (value.high - value))]]
        right.errorbar([100 * value], [row], xerr=reach, fmt="o", color=vermilion, markersize=4, capsize=2)
    right.set_yticks(range(len(remedies)), [drawable(name) for name in remedies], fontsize=8)
    if expected is not None:
        right.axvspan(100 * expected.low, 100 * expected.high, color=blue, alpha=0.2, linewidth=0)
        right.axvline(100 * expected, color=blue, linewidth=1.2, label="reference, unchanged")
    right.set_title("Remedies", fontsize=9)
    right.set_xlabel("balanced accuracy (%)", fontsize=8)
    for axes, count in ((left, len(external)), (right, len(remedies))):
        axes.set_ylim(count - 0.4, -0.6)
        axes.set_xlim(-3, 103)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", alpha=0.15, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    figure.suptitle("External images, with 95 % intervals", fontsize=10)
    return figure
