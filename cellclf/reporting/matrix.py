"""The confusion matrix of a report, and the images behind every number in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.evaluation.metrics import Report
from cellclf.pages.template import percent, plain, thumbnails

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

View = dict[str, Any]

_EACH = {True: 8, False: 4}  # images for one number, of the leading set and of others
_ALL = {True: 320, False: 160}  # for all numbers of a matrix, so that the page of many classes stays below some MB
_MOST = {True: 8, False: 4}  # pairs of classes whose images are shown without a click


def matrix_rows(report: Report, key: str, *, linked: bool) -> list[View]:
    """Describe the matrix row by row: count, fraction of the row, colour, and the target of a click.

    Args:
        report: Of one set.
        key: The set's key on the page.
        linked: Whether the images are on the page.
    """
    rows = []
    for r, (name, rates) in enumerate(zip(report.class_names, report.rates, strict=True)):
        cells = []
        for c, rate in enumerate(rates):
            number = int(report.confusion[r, c])
            strength = 0.0 if not number else 0.12 + 0.58 * float(rate) if r == c else 0.1 + 0.75 * float(rate) ** 0.6
            cells.append(
                {
                    "count": number,
                    "rate": None if not number else float(rate),
                    "kind": "" if not number else "hit" if r == c else "miss",
                    "strength": f"{strength:.3f}",
                    "key": f"{key}-{r}-{c}" if linked and number else None,
                    "words": f"{number:,} {plain(name)} predicted as {plain(report.class_names[c])}",
                }
            )
        rows.append({"name": name, "support": report.classes[r].support, "cells": cells})
    return rows


def panels(report: Report, cells: ImageSet | None, key: str, *, full: bool) -> list[View]:
    """Give the images behind each number: the most confident mistakes, the least confident correct predictions.

    Args:
        report: Of one set.
        cells: Its images; None gives the most confused pairs without images.
        key: The set's key on the page.
        full: Whether the page leads with it: more images, more pairs.

    Returns:
        The most confused pairs of classes, which are ``open``, then those that are shown when their number is clicked.
    """
    classes = len(report.class_names)
    code = report.truth * classes + report.predicted
    wrong = [pair.indices for pair in report.confused()]
    shown = wrong[: _MOST[full]]
    if cells is None:
        return [_panel(report, None, key, rows, 0, is_open=True) for rows in shown]
    hits = [np.flatnonzero(code == k * (classes + 1)) for k in range(classes)]
    hits = [rows[np.argsort(report.confidence[rows], kind="stable")] for rows in hits if len(rows)]
    order = [*shown, *hits, *wrong[len(shown) :]]
    each = max(1, min(_EACH[full], _ALL[full] // max(1, len(order))))
    return [_panel(report, cells, key, rows, each, is_open=k < len(shown)) for k, rows in enumerate(order)]


def _panel(report: Report, cells: ImageSet | None, key: str, rows: Any, each: int, *, is_open: bool) -> View:
    truth, predicted = int(report.truth[rows[0]]), int(report.predicted[rows[0]])
    taken = rows[:each]
    captions = [percent(share, 0) for share in report.confidence[taken]]
    return {
        "key": f"{key}-{truth}-{predicted}",
        "truth": report.class_names[truth],
        "predicted": report.class_names[predicted],
        "correct": truth == predicted,
        "count": len(rows),
        "rate": float(report.rates[truth, predicted]),
        "open": is_open,
        "more": len(rows) - len(taken),
        "images": [] if cells is None else thumbnails(cells, taken.tolist(), captions),
    }
