"""Figures of a report: the confusion matrix, the images behind it, robustness, another laboratory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cellclf.utils.contact_sheet import PALETTE, drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.intervals import Estimate
    from cellclf.evaluation.metrics import Report
    from cellclf.evaluation.robustness.result import Robustness


def plot_confusion(report: Report) -> Figure:
    """Draw the confusion matrix: shares of each true class as colour, counts as text.

    Args:
        report: Made by ``evaluate``.

    Examples:
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
    axes.set_title(f"Confusion matrix, {report.n:,} images\nmacro F1 {report.macro_f1}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
    return figure


def plot_confused(report: Report, cells: ImageSet, *, pairs: int, images: int) -> Figure:
    """Draw the most confused pairs of classes, a row of images each, the most confident mistakes first.

    Args:
        report: Made by ``evaluate`` on ``cells``.
        cells: The evaluated set.
        pairs: Rows at most.
        images: Images in a row at most.
    """
    from matplotlib.figure import Figure

    shown = report.confused()[:pairs]
    rows = max(1, len(shown))
    height = 0.6 + 1.35 * rows
    figure = Figure(figsize=(1.05 * images, height), dpi=110)
    figure.suptitle(
        f"Most confused pairs of {report.n:,} images; in %: how sure the classifier was"
        if shown
        else f"No mistake in {report.n:,} images",
        fontsize=10,
        y=1 - 0.1 / height,
        va="top",
    )
    for row, pair in enumerate(shown):
        chosen = pair.indices[:images]
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
            axes = figure.add_axes(((column + 0.05) / images, (top - 1.2) / height, 0.9 / images, 0.95 / height))
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{100 * sure:.0f} %", fontsize=6.5, pad=2)
    return figure


def plot_robustness(found: Robustness) -> Figure:
    """Draw balanced accuracy against severity, a small panel for each corruption; of a set, its bar beside clean.

    Args:
        found: Made by ``robustness``.
    """
    from matplotlib.figure import Figure

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
    figure.supxlabel("severity; dotted: clean images; seen: the training used such images", fontsize=8)
    figure.suptitle(drawable(title), fontsize=9)
    return figure


def plot_external(
    *,
    here: Mapping[str, Estimate],
    reference: Mapping[str, Estimate],
    remedies: Mapping[str, Estimate],
    wanted: Estimate | None,
) -> Figure:
    """Draw the recall of each class on the reference and on another set, and what remedies give there.

    Args:
        here: Recall of each class on the other set.
        reference: The same on the reference; may lack classes.
        remedies: Balanced accuracy on the other set, by what was done.
        wanted: Balanced accuracy on the reference; None if it is not known.
    """
    from matplotlib.figure import Figure

    blue, vermilion = PALETTE[0], PALETTE[1]
    figure = Figure(figsize=(9.4, 1.6 + 0.42 * max(len(here), len(remedies), 4)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn = [(reference, -0.14, "s", blue, "reference"), (here, 0.14, "o", vermilion, "their images")]
    places = {name: row for row, name in enumerate(here)}
    for scores, shift, marker, colour, label in drawn:
        if scores:
            rows = [places[name] + shift for name in scores]
            values = [100 * value for value in scores.values()]
            reach = [[max(0.0, 100 * (v - v.low)) for v in scores.values()]]
            reach += [[max(0.0, 100 * (v.high - v)) for v in scores.values()]]
            left.errorbar(values, rows, xerr=reach, fmt=marker, color=colour, markersize=4, capsize=2, label=label)
    left.set_yticks(range(len(here)), [drawable(name.replace("_", " ")) for name in here], fontsize=8)
    left.set_title("Recall of each class", fontsize=9)
    left.set_xlabel("recall (%)", fontsize=8)
    for row, value in enumerate(remedies.values()):
        reach = [[max(0.0, 100 * (value - value.low))], [max(0.0, 100 * (value.high - value))]]
        right.errorbar([100 * value], [row], xerr=reach, fmt="o", color=vermilion, markersize=4, capsize=2)
    right.set_yticks(range(len(remedies)), [drawable(name) for name in remedies], fontsize=8)
    if wanted is not None:
        right.axvspan(100 * wanted.low, 100 * wanted.high, color=blue, alpha=0.2, linewidth=0)
        right.axvline(100 * wanted, color=blue, linewidth=1.2, label="reference, as it is")
    right.set_title("What helps on this set without labels", fontsize=9)
    right.set_xlabel("balanced accuracy (%)", fontsize=8)
    for axes, count in ((left, len(here)), (right, len(remedies))):
        axes.set_ylim(count - 0.4, -0.6)
        axes.set_xlim(-3, 103)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", alpha=0.15, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    figure.suptitle("Another laboratory's images, with 95 % intervals", fontsize=10)
    return figure
