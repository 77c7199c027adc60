"""Figures of a report: the confusion matrix, and the pictures behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellclf.sheet import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.metrics import Report


def plot_confusion(report: Report) -> Figure:
    """Draw the confusion matrix: shares of each true class as colour, counts as text.

    Args:
        report: Made by ``evaluate``.

    Example:
        >>> from cellclf.evaluation.metrics import evaluate
        >>> figure = plot_confusion(evaluate([0, 1], [[1, 0], [0, 1]], ["a", "b"]))
        >>> figure.axes[0].get_xlabel()
        'called by the classifier'
    """
    from matplotlib.figure import Figure

    names = [drawable(name.replace("_", " ")) for name in report.class_names]
    rates, classes = 100 * report.rates, len(names)
    side = 2.2 + 0.55 * classes
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(np.ma.masked_invalid(rates), cmap="Blues", vmin=0, vmax=100)
    for row in range(classes):
        for column in range(classes):
            if count := int(report.confusion[row, column]):
                dark = rates[row, column] > 55
                axes.text(
                    column, row, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if dark else "black"
                )
    axes.set_xticks(range(classes), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(classes), names, fontsize=8)
    axes.set_xlabel("called by the classifier")
    axes.set_ylabel("true class")
    axes.set_title(f"Confusion matrix, {report.n:,} pictures\nmacro F1 {report.macro_f1}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
    return figure


def plot_confused(report: Report, cells: ImageSet, *, pairs: int, pictures: int) -> Figure:
    """Draw the most confused pairs of classes, a row of pictures each, the most confident mistakes first.

    Args:
        report: Made by ``evaluate`` on ``cells``.
        cells: The evaluated set.
        pairs: Rows at most.
        pictures: Pictures in a row at most.
    """
    from matplotlib.figure import Figure

    shown = report.confused()[:pairs]
    rows = max(1, len(shown))
    height = 0.6 + 1.35 * rows
    figure = Figure(figsize=(1.05 * pictures, height), dpi=110)
    figure.suptitle(
        f"Most confused pairs of {report.n:,} pictures; in %: how sure the classifier was"
        if shown
        else f"No mistake in {report.n:,} pictures",
        fontsize=10,
        y=1 - 0.1 / height,
        va="top",
    )
    for row, pair in enumerate(shown):
        chosen = pair.indices[:pictures]
        top = height - 0.55 - 1.35 * row
        figure.text(
            0.01,
            top / height,
            f"{pair.truth} called {pair.predicted}: {pair.count:,}, {100 * pair.rate:.1f} % of the class".replace(
                "_", " "
            ),
            fontsize=8,
        )
        for column, (image, sure) in enumerate(zip(cells.read(chosen), report.confidence[chosen], strict=True)):
            axes = figure.add_axes(((column + 0.05) / pictures, (top - 1.2) / height, 0.9 / pictures, 0.95 / height))
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{100 * sure:.0f} %", fontsize=6.5, pad=2)
    return figure
