"""adapt.html: what a run that was adapted to another laboratory is worth there, as one self-contained page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate
from cellclf.pages.figures import BLUE, VERMILION, inline_svg
from cellclf.pages.template import count, percent, plain, render, thumbnails, write
from cellclf.utils.contact_sheet import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

View = dict[str, Any]

MORE = 25
"""Labels of the next round, of which the page says what they would bring."""

_DOUBTS, _UNSURE = 10, 14
_FEW, _WIDE = 5, 0.4  # a class with fewer labels, or a wider interval of its recall, is still unsure
_WORTH = 0.01  # a smaller gain is not worth another round


def write_adaptation(
    path: str | Path,
    record: Mapping[str, Any],
    *,
    cells: Cells | None = None,
    probabilities: NDArray[np.floating] | None = None,
    title: str = "",
    run: str = "RUN",
    source: str = "SRC",
    labels: str = "labelled.csv",
    command: str = "",
) -> Path:
    """Write what an adapted run is worth in its laboratory: self-contained, without script, light and dark.

    Args:
        path: Where to; an existing file is replaced only when the new one is complete.
        record: Plain data, as the ``to_dict()`` of an adaptation gives it. An interval is ``{"value", "low", "high"}``.
            ``class_names``: what the run can answer.
            ``parent``: name of the run that was adapted. ``cells``: how many cells of the laboratory were read.
            ``counts``: decision ("label", "unsure", "not_a_cell") -> how many; empty without labels.
            ``labelled``: ids of the labelled cells (these are not shown as unsure ones).
            ``candidate``: what was chosen. ``tried``: ``{"name", "loss", "accuracy", "chosen"}`` of each candidate.
            ``proof``: None without labels; ``before``, ``after`` and ``gain`` (intervals), ``helps``, ``classes`` (of
            each labelled class ``name``, ``labels``, ``share``, ``recall`` and ``before`` (intervals)), ``curve``
            (pairs of labels and expected balanced accuracy), ``more`` (what 25 more labels would bring, or None).
            ``doubts``: ``{"id", "label", "others", "probability"}`` of each label that the others contradict.
            ``home``: None where it is unknown; ``before``, ``after`` (balanced accuracy), ``cells``, ``classes``.
            ``notices``: sentences.
        cells: The laboratory's cells, for the images of doubts and of what is still unsure: a set, an array, a path, a
            DataFrame of paths; None shows none.
        probabilities: (N, C) of the adapted run for ``cells``; None shows no cells that are still unsure.
        title: Heading; "" names the parent.
        run: How the commands of the next step name the adapted run.
        source: How they name the laboratory's cells.
        labels: How they name the table of labels.
        command: The command that made the run.

    Raises:
        DataError: Probabilities that do not fit the cells and classes.

    Examples:
        >>> import tempfile
        >>> record = {"class_names": ["round", "lobed"], "parent": "runs/a", "cells": 80, "proof": None}
        >>> page = write_adaptation(tempfile.mkdtemp() + "/adapt.html", record)
        >>> "what it is worth there is not known" in page.read_text(encoding="utf-8")
        True
    """
    names = tuple(record["class_names"])
    cells = None if cells is None else as_cells(cells)
    if probabilities is not None and (cells is None or probabilities.shape != (len(cells), len(names))):
        raise DataError(
            f"probabilities have shape {probabilities.shape}; expected ({0 if cells is None else len(cells)}, "
            f"{len(names)}): one row for each cell, one column for each class"
        )
    proof = record.get("proof")
    doubts = list(record.get("doubts") or ())
    text = render(
        "adapt.html.j2",
        package="cellclf.reporting",
        title=title or f"{PurePath(record.get('parent') or 'A run').name}, adapted to another laboratory",
        sided=True,
        sentences=sentences(record),
        tiles=_tiles(record),
        proof=None if proof is None else _proof(proof),
        unlabelled=_unlabelled(record),
        doubts=None if not doubts else {"count": len(doubts), "images": _doubt_images(doubts, cells), "rows": doubts},
        unsure=_unsure(record, cells, probabilities),
        tried=list(record.get("tried") or ()),
        counts=dict(record.get("counts") or {}),
        cells=record.get("cells"),
        candidate=record.get("candidate"),
        home=record.get("home"),
        notices=list(record.get("notices") or ()),
        steps=_steps(record, len(doubts), run, source, labels),
        command=command,
        more=MORE,
    )
    return write(path, text)


def sentences(record: Mapping[str, Any]) -> list[str]:
    r"""Say in three sentences what the run is worth there, what it was, and what home lost.

    Args:
        record: See ``write_adaptation``.

    Examples:
        >>> after, before = {"value": 0.8, "low": 0.7, "high": 0.9}, {"value": 0.5, "low": 0.4, "high": 0.6}
        >>> gain = {"value": 0.3, "low": 0.2, "high": 0.4}
        >>> proof = {"after": after, "before": before, "gain": gain, "helps": True, "classes": [{}, {}]}
        >>> sentences({"proof": proof})[1]
        'The run as it was is expected to reach 50.0\u202f% (40.0 to 60.0): 30.0 points less (20.0 to 40.0).'
    """
    proof = record.get("proof")
    if proof is None:
        chosen = record.get("candidate")
        done = f"What was done: {chosen}." if chosen else "The run answers with the classes that can occur there."
        first = "The run was adapted without labels, so that what it is worth there is not known."
        return [first, done, _home(record.get("home"))]
    after, before, gain = (_estimate(proof[key]) for key in ("after", "before", "gain"))
    found = (
        f"in this laboratory the adapted run is expected to reach a balanced accuracy of {_ranged(after)} over "
        f"{len(proof['classes']):,} classes"
    )
    if not proof["helps"]:
        first = f"Not shown to help: {found}."
        second = f"The run as it was is expected to reach {_ranged(before)}, {_gap(gain)}, which may be chance."
        if gain.low == gain.high == 0:
            second = "Nothing that was tried did better than the run as it was, so that it is kept unchanged."
    else:
        first = f"{found[0].upper()}{found[1:]}."
        second = f"The run as it was is expected to reach {_ranged(before)}: {_gap(gain)}."
    return [first, second, _home(record.get("home"))]


def _ranged(value: Estimate) -> str:
    return f"{percent(value)} ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _gap(gain: Estimate) -> str:
    """Say by how much the run as it was is worse, with its interval in the same direction."""
    if gain >= 0:
        return f"{100 * gain:.1f} points less ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
    return f"{-100 * gain:.1f} points more ({-100 * gain.high:.1f} to {-100 * gain.low:.1f})"


def _home(home: Mapping[str, Any] | None) -> str:
    if home is None:
        return "Home score unknown: pass --home SRC (in Python, home=) to see what the own laboratory loses."
    before, after = float(_estimate(home["before"])), float(_estimate(home["after"]))
    lost = before - after
    change = (
        "nothing is lost" if abs(lost) < 0.0005 else f"{100 * abs(lost):.1f} points are {'lost' if lost > 0 else 'won'}"
    )
    cells = f" on {count(int(home['cells']), 'cell')}" if home.get("cells") else ""
    return f"At home {change}: a balanced accuracy of {percent(after)}{cells} after {percent(before)}."


def _estimate(value: Mapping[str, float | None] | float) -> Estimate:
    if isinstance(value, Mapping):
        ends = [value[end] for end in ("value", "low", "high")]
        return Estimate(*(float("nan") if end is None else end for end in ends))
    return Estimate(value, value, value)


def _tiles(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    tiles = []
    proof, home = record.get("proof"), record.get("home")
    if proof is not None:
        after, before, gain = (_estimate(proof[key]) for key in ("after", "before", "gain"))
        tiles = [
            (percent(after), f"expected balanced accuracy there, {100 * after.low:.1f} to {100 * after.high:.1f}"),
            (percent(before), "of the run as it was"),
            (f"{100 * gain:+.1f}", f"points: {'shown to help' if proof['helps'] else 'not shown to help'}"),
        ]
    if home is not None:
        tiles.append((percent(float(_estimate(home["after"]))), "balanced accuracy at home"))
    used = dict(record.get("counts") or {}).get("label")
    if used:
        tiles.append((count(used), "labels" if used != 1 else "label"))
    return tiles


def _proof(proof: Mapping[str, Any]) -> View:
    rows = [
        {
            "name": one["name"],
            "labels": int(one["labels"]),
            "share": float(one["share"]),
            "recall": _estimate(one["recall"]),
            "before": _estimate(one["before"]),
        }
        for one in proof["classes"]
    ]
    for row in rows:
        row["unsure"] = row["labels"] < _FEW or row["recall"].high - row["recall"].low > _WIDE
    after, before = _estimate(proof["after"]), _estimate(proof["before"])
    curve = [(int(size), float(score)) for size, score in proof.get("curve") or ()]
    more = proof.get("more")
    figure = None
    if len(curve) > 1:
        figure = inline_svg(
            plot_learning_curve(curve, after, before, more), "expected balanced accuracy by number of labels", "labelsn"
        )
    return {
        "rows": rows,
        "helps": bool(proof["helps"]),
        "unsure": [row for row in rows if row["unsure"]],
        "figure": figure,
        "curve": _curve_words(curve, more),
    }


def _curve_words(curve: Sequence[tuple[int, float]], more: float | None) -> str:
    if more is not None:
        return f"{MORE} more labels would bring about {100 * more:.1f} points."
    if len(curve) > 1 and curve[-1][0] >= 12:
        return f"The curve does not rise: {MORE} more labels would bring nothing that can be seen here."
    return f"What {MORE} more labels would bring cannot be said from so few."


def plot_learning_curve(
    curve: Sequence[tuple[int, float]], after: Estimate, before: Estimate, more: float | None
) -> Figure:
    """Draw the expected balanced accuracy by number of labels, with what 25 more would bring.

    Args:
        curve: (labels, expected balanced accuracy) of growing parts of the labels. Their level is what unlabelled
            cells promise; they are moved so that all labels reach ``after``.
        after: The estimate with all labels.
        before: That of the run as it was.
        more: What 25 more labels would bring; None draws nothing beyond.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    sizes = [size for size, _ in curve]
    heights = [100 * min(1.0, max(0.0, score + after - curve[-1][1])) for _, score in curve]
    axes.plot(sizes, heights, "-o", color=BLUE, markersize=4, linewidth=1.6, label="adapted run")
    reach = [[100 * max(0.0, after - after.low)], [100 * max(0.0, after.high - after)]]
    axes.errorbar([sizes[-1]], [100 * after], yerr=reach, color=BLUE, capsize=3, linewidth=1.2)
    if more is not None:
        ahead = [100 * after, 100 * min(1.0, after + more)]
        axes.plot([sizes[-1], sizes[-1] + MORE], ahead, ":o", color=BLUE, markersize=4, markerfacecolor="none")
    axes.axhline(100 * before, color=VERMILION, linestyle="--", linewidth=1.4, label="run as it was")
    axes.set_title("Expected balanced accuracy (%)", fontsize=10, color=INK)
    axes.set_xlabel("labels", fontsize=9, color=INK)
    axes.set_xlim(left=0)
    axes.tick_params(colors=INK, labelsize=8, which="both")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best")
    return figure


def _unlabelled(record: Mapping[str, Any]) -> list[str]:
    """Name the classes that the run can answer and of which nobody labelled a cell."""
    proof = record.get("proof")
    if proof is None:
        return []
    labelled = {one["name"] for one in proof["classes"]}
    return [plain(name) for name in record["class_names"] if name not in labelled]


def _doubt_images(doubts: Sequence[Mapping[str, Any]], cells: ImageSet | None) -> list[dict[str, str]]:
    if cells is None:
        return []
    places = {str(id_): row for row, id_ in enumerate(cells.ids.tolist())}
    known = [one for one in doubts if str(one["id"]) in places][:_DOUBTS]
    captions = [
        f"labelled {plain(one['label'])}; the others say {plain(one['others'])} ({percent(one['probability'], 0)})"
        for one in known
    ]
    return thumbnails(cells, [places[str(one["id"])] for one in known], captions)


def _unsure(
    record: Mapping[str, Any], cells: ImageSet | None, probabilities: NDArray[np.floating] | None
) -> list[dict[str, str]]:
    """Show the cells without a label whose two most probable classes are nearest to each other."""
    names = record["class_names"]
    if cells is None or probabilities is None or len(names) < 2:
        return []
    known = {str(id_) for id_ in record.get("labelled") or ()}
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    two = np.take_along_axis(np.asarray(probabilities, np.float64), order, axis=1)
    ids = cells.ids.tolist()
    nearest = np.argsort(two[:, 0] - two[:, 1], kind="stable").tolist()
    rows = [row for row in nearest if str(ids[row]) not in known][:_UNSURE]
    captions = [
        f"{plain(names[order[row, 0]])} ({percent(two[row, 0], 0)}) or {plain(names[order[row, 1]])} "
        f"({percent(two[row, 1], 0)})"
        for row in rows
    ]
    return thumbnails(cells, rows, captions)


def _steps(record: Mapping[str, Any], doubts: int, run: str, source: str, labels: str) -> list[View]:
    """Give what to do next: a sentence and, where there is one, the command."""
    proof = record.get("proof")
    quoted = {
        name: shlex.quote(text) if text not in ("RUN", "SRC") else text
        for name, text in {"run": run, "source": source, "labels": labels}.items()
    }
    suggest = f"cellclf suggest {quoted['run']} {quoted['source']} --count {MORE}"
    more = None if proof is None else proof.get("more")
    steps: list[View] = []
    if proof is None:
        words = f"Label {MORE} suggested cells: that shows what the run is worth there, and mostly brings the most."
        return [{"words": words, "command": f"{suggest} --out label.html"}]
    if doubts:
        words = (
            f"Look again at the {count(doubts, 'label')} that the others contradict, and adapt again if any is wrong."
        )
        steps.append({"words": words, "command": ""})
    again = f"{suggest} --labelled {quoted['labels']} --out label.html"
    if more is not None and more >= _WORTH:
        steps.append({"words": f"Label {MORE} more: about {100 * more:.1f} points.", "command": again})
    elif not proof["helps"]:
        steps.append(
            {
                "words": f"Label {MORE} more to see whether it helps; until then, use the run as it was.",
                "command": again,
            }
        )
    if proof["helps"]:
        words = "Use it on the cells of that laboratory." if more is None or more < _WORTH else "Or use it as it is."
        steps.append({"words": words, "command": f"cellclf predict {quoted['run']} {quoted['source']}"})
    return steps
