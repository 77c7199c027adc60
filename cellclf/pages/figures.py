"""Training curves, and how a figure gets into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellclf.utils.contact_sheet import INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN = PALETTE[:3]

History = Sequence[Mapping[str, Any]]
"""Rows of a training, one an epoch: ``stage``, ``epoch``, ``loss``, ``val_loss``, ``accuracy``, ``val_accuracy``,
``val_macro_f1``, ``shifted_...``, ``learning_rate``, ``seconds``, ``best``; a page draws what is in them."""

CURVES: dict[str, tuple[str, str, str]] = {
    "loss": ("loss", "val_loss", "Loss (nats)"),
    "accuracy": ("accuracy", "val_accuracy", "Accuracy (%)"),
    "macro F1": ("macro_f1", "val_macro_f1", "Macro F1 (%)"),
    "learning rate": ("learning_rate", "", "Learning rate"),
}
"""What is drawn of a history: name -> column of training, column of validation, title with unit."""


def plot_curve(history: History, name: str) -> Figure:
    """Draw one curve of a training.

    Args:
        history: One row an epoch.
        name: A key of ``CURVES``.
    """
    from cellclf.utils.figure import Figure

    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    _draw_curve(figure.add_subplot(), history, name)
    return figure


def curves_in(history: History) -> list[str]:
    """List the curves for which the history has numbers."""
    return [
        name
        for name, (train, val, _) in CURVES.items()
        if any(number(row.get(column)) is not None for row in history for column in (train, val))
    ]


def restored(history: History) -> int | None:
    """Find the row whose weights were restored at the end: the last one marked best.

    Examples:
        >>> restored([{"best": True}, {"best": True}, {"best": False}])
        1
    """
    marked = [k for k, row in enumerate(history) if row.get("best") in (True, 1, "True", "true", "1")]
    return marked[-1] if marked else None


def _draw_curve(axes: Axes, history: History, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    train, val, title = CURVES[name]
    scale = 100 if title.endswith("(%)") else 1
    epochs = range(1, len(history) + 1)
    shifted = val.replace("val_", "shifted_")
    lines = [(train, "training", BLUE, "-"), (val, "validation", VERMILION, "--")]
    lines += [(shifted, "validation, altered", GREEN, "-.")] if val else []
    for column, label, colour, style in lines:
        values = [number(row.get(column)) for row in history]
        if all(value is None for value in values):
            continue
        heights = [float("nan") if value is None else scale * value for value in values]
        dot = "o" if len(heights) < 15 else ""
        named = label if val else None
        axes.plot(epochs, heights, style, color=colour, label=named, marker=dot, markersize=3, linewidth=1.6)
    if name == "learning rate":
        axes.set_yscale("log")
    for k in range(1, len(history)):
        if history[k].get("stage") != history[k - 1].get("stage"):
            axes.axvline(k + 0.5, color=INK, linewidth=0.7, alpha=0.35)
    if (best := restored(history)) is not None:
        axes.axvline(best + 1, color=INK, linewidth=1.4, linestyle=(0, (1, 1.6)), label="weights kept")
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.tick_params(colors=INK, labelsize=8, which="both")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    if val or best is not None:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best")  # named, for the same reason


def number(value: object) -> float | None:
    """Read a cell of a history, which may come from a CSV: None for what is empty or no number."""
    try:
        number = float(value)  # type: ignore[arg-type]  # the except clause is the test
    except (TypeError, ValueError):
        return None
    return number if number == number else None


def inline_svg(figure: Figure, label: str, key: str) -> str:
    """Turn a figure into SVG inside a page, in its light or dark colours.

    Ink and the two series colours become CSS variables; names inside the SVG get the prefix ``key``, so that
    several figures share a page, and the same figure always gives the same text.

    Args:
        figure: Drawn with ``INK`` and the palette.
        label: What it shows, for screen readers.
        key: A prefix that no other figure of the page has.

    Examples:
        >>> rows = [{"loss": 1.0}, {"loss": 0.5}]
        >>> inline_svg(plot_curve(rows, "loss"), "loss", "a")[:30]
        '<svg role="img" aria-label="lo'
    """
    from markupsafe import escape

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg)
    svg = re.sub(
        r"<svg[^>]*>",
        f'<svg role="img" aria-label="{escape(label)}" viewBox="{box[1] if box else ""}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">',
        svg,
        count=1,
    )
    names = {name: f"{key}{k}" for k, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg)))}
    svg = re.sub(r'(\bid="|href="#|url\(#)([^")]+)', lambda m: m[1] + names.get(m[2], m[2]), svg)
    for colour, name in ((INK, "ink"), (BLUE, "blue"), (VERMILION, "vermilion")):
        svg = re.sub(colour, f"var(--{name})", svg, flags=re.IGNORECASE)
    return re.sub(r"\n\s*", "\n", svg).strip()
