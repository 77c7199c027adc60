"""Figures of confidence: the reliability diagram and the abstention curve. They take data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellclf.utils.contact_sheet import INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cellclf.evaluation.intervals import Estimate

BLUE, VERMILION = PALETTE[:2]


def plot_reliability(confidence: Sequence[float], accuracy: Sequence[Estimate], *, n: int) -> Figure:
    """Draw accuracy against confidence: a dot with its interval for each bin.

    Args:
        confidence: Mean confidence of each bin, 0-1.
        accuracy: Accuracy of each bin.
        n: How many images.

    Examples:
        >>> from cellclf.evaluation.intervals import Estimate
        >>> plot_reliability([0.8, 0.9], [Estimate(0.7, 0.5, 0.9)] * 2, n=40).axes[0].get_ylabel()
        'accuracy (%)'
    """
    from cellclf.utils.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    means = 100 * np.array(confidence)
    values, low, high = (100 * np.array(ends) for ends in zip(*((a, a.low, a.high) for a in accuracy), strict=True))
    start = max(0.0, min(means.min(), low.min()) - 3)
    axes.plot([start, 100], [start, 100], "--", color=INK, linewidth=1, label="perfectly calibrated")
    axes.vlines(means, low, high, color=BLUE, linewidth=2, alpha=0.5)
    axes.plot(means, values, "o", color=BLUE, markersize=4.5, label="measured, with 95 % interval")
    axes.set_xlabel("confidence (%)", fontsize=9)
    axes.set_ylabel("accuracy (%)", fontsize=9)
    axes.set_title(f"Reliability, {n:,} images", fontsize=10, color=INK)
    _finish(axes, "upper left")
    return figure


def plot_abstention(answered: NDArray[np.float64], accuracy: NDArray[np.float64], *, n: int) -> Figure:
    """Draw the accuracy of the classified images against their share.

    Args:
        answered: (k,) share of images that are classified, rising to 1.
        accuracy: (k,) accuracy of these.
        n: How many images.

    Examples:
        >>> plot_abstention(np.array([0.5, 1.0]), np.array([1.0, 0.9]), n=20).axes[0].get_xlabel()
        'share classified, the most confident first (%)'
    """
    from cellclf.utils.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    enough = answered * n >= min(30, n)  # the accuracy of a few images is noise
    axes.plot(100 * answered[enough], 100 * accuracy[enough], "-", color=BLUE, linewidth=1.8)
    axes.plot([100], [100 * accuracy[-1]], "o", color=VERMILION, markersize=5, label="all classified")
    axes.set_xlabel("share classified, the most confident first (%)", fontsize=9)
    axes.set_ylabel("accuracy of these (%)", fontsize=9)
    axes.set_title(f"Accuracy without the least confident, {n:,} images", fontsize=10, color=INK)
    _finish(axes, "lower left")
    return figure


def _finish(axes: Axes, place: Literal["lower left", "lower right", "upper left", "upper right"]) -> None:
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc=place)
