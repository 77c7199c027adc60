"""Figures of confidence: the reliability diagram and the abstention curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from cellclf.utils.contact_sheet import INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellclf.evaluation.calibration import Calibration
    from cellclf.evaluation.selective import Abstention

BLUE, VERMILION = PALETTE[:2]


def plot_reliability(calibration: Calibration) -> Figure:
    """Draw accuracy against confidence: a bar of its interval and a dot for each bin.

    Args:
        calibration: Made by ``calibrate``.

    Examples:
        >>> from cellclf.evaluation.calibration import calibrate
        >>> plot_reliability(calibrate([0, 1], [[0.9, 0.1], [0.2, 0.8]])).axes[0].get_ylabel()
        'called right (%)'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    sure = np.array([100 * one.confidence for one in calibration.bins])
    right = np.array([100 * float(one.accuracy) for one in calibration.bins])
    low = np.array([100 * one.accuracy.low for one in calibration.bins])
    high = np.array([100 * one.accuracy.high for one in calibration.bins])
    start = max(0.0, min(sure.min(), low.min()) - 3)
    axes.plot([start, 100], [start, 100], "--", color=INK, linewidth=1, label="as announced")
    axes.vlines(sure, low, high, color=BLUE, linewidth=2, alpha=0.5)
    axes.plot(sure, right, "o", color=BLUE, markersize=4.5, label="found, with 95 % interval")
    axes.set_xlabel("how sure the classifier was (%)", fontsize=9)
    axes.set_ylabel("called right (%)", fontsize=9)
    axes.set_title(f"Reliability, {calibration.n:,} images", fontsize=10, color=INK)
    _finish(axes, "upper left")
    return figure


def plot_abstention(curve: Abstention) -> Figure:
    """Draw the accuracy of what is answered against the share that is answered.

    Args:
        curve: Made by ``abstain``.

    Examples:
        >>> from cellclf.evaluation.selective import abstain
        >>> plot_abstention(abstain([0, 1], [[0.9, 0.1], [0.2, 0.8]])).axes[0].get_xlabel()
        'share answered, the surest first (%)'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    enough = curve.answered * curve.n >= min(30, curve.n)  # an accuracy of a handful jumps about
    axes.plot(100 * curve.answered[enough], 100 * curve.accuracy[enough], "-", color=BLUE, linewidth=1.8)
    axes.plot([100], [100 * curve.accuracy[-1]], "o", color=VERMILION, markersize=5, label="everything answered")
    axes.set_xlabel("share answered, the surest first (%)", fontsize=9)
    axes.set_ylabel("of these, called right (%)", fontsize=9)
    axes.set_title(f"Accuracy when the least sure are left out, {curve.n:,} images", fontsize=10, color=INK)
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
