"""The section on calibration, prediction sets and domain shift, as plain data for its template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.evaluation.calibration import calibrate, scale
from cellclf.evaluation.conformal import coverage
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.selective import abstain
from cellclf.pages.figures import inline_svg
from cellclf.pages.template import percent, plain, thumbnails
from cellclf.reporting.heatmaps import heatmaps
from cellclf.reporting.score_tables import in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.ood import DomainShift
    from cellclf.runs.confidence import Confidence
    from cellclf.runs.run import Run

ERROR = 0.01
LEFT_OUT = (0.02, 0.05, 0.1)


def confidence_view(
    evaluations: Mapping[str, tuple[Report, ImageSet | None]],
    lead: str | None,
    known: Confidence | None,
    domain_shifts: Mapping[str, DomainShift],
    run: Run | None = None,
) -> dict[str, Any] | None:
    """Give calibration, abstention and prediction sets of every set but the training set.

    Args:
        evaluations: Name of the set -> its report, and the images or None.
        lead: The set that the page leads with; its figures are drawn.
        known: The calibration of the run; None uses probabilities as they are, and gives no sets.
        domain_shifts: Name of the set -> whether it has the distribution of the training images.
        run: The classifier, for heatmaps of the least confident correct predictions; None shows none.

    Returns:
        Data for the template; None if there is nothing to show.
    """
    names = [name for name in in_order(evaluations, lead) if name != "train"]
    if lead is None or not names or len(evaluations[names[0]][0].class_names) < 2:
        return None
    rows = [_row(name, evaluations[name][0], known) for name in names]
    report, cells = evaluations[names[0]]
    scaled = _scaled(report, known)
    uncertain = [] if cells is None else _uncertain(report, cells, scaled, run if names[0] == lead else None)
    calibration, curve = calibrate(report.truth, scaled), abstain(report.truth, scaled)
    return {
        "name": names[0],
        "rows": rows,
        "left_out": [percent(share, 0) for share in LEFT_OUT],
        "reliability": inline_svg(calibration.plot(), f"accuracy against confidence on {names[0]}", "reliabilityn"),
        "abstention": inline_svg(curve.plot(), f"accuracy against share classified on {names[0]}", "abstentionn"),
        "verdict": _verdict(names[0], rows[0]),
        "temperature": None if known is None else f"{known.temperature:.2f}",
        "calibrated_on": None if known is None else len(known.conformal.given),
        "error": percent(ERROR, 0),
        "domain_shifts": [(name, domain_shifts[name]) for name in names if name in domain_shifts],
        "uncertain": uncertain,
        "heatmaps": any(image["beside"] for image in uncertain),
    }


def _scaled(report: Report, known: Confidence | None) -> np.ndarray[Any, Any]:
    return report.probabilities if known is None else scale(report.probabilities, known.temperature)


def _row(name: str, report: Report, known: Confidence | None) -> dict[str, Any]:
    scaled = _scaled(report, known)
    curve = abstain(report.truth, scaled)
    sets = None
    if known is not None:
        sets = coverage(report.truth, known.conformal.sets(scaled, ERROR), report.class_names)
    return {
        "name": name,
        "found": calibrate(report.truth, scaled, simulations=200),
        "left_out": [curve.accuracy_without(share) for share in LEFT_OUT],
        "sets": sets,
        "single": None if sets is None else sets.sizes.get(1, 0.0),
    }


def _verdict(name: str, row: dict[str, Any]) -> str:
    found = row["found"]
    gap = 100 * (found.confidence - found.accuracy)
    start = f"On \u201c{name}\u201d, mean confidence is {percent(found.confidence)} and accuracy "
    start += percent(found.accuracy)
    if found.ece <= found.ece_if_perfect.high:
        return f"{start}: no significant miscalibration on these images."
    if abs(gap) < 1:
        return f"{start}: close on average, but not at every level of confidence."
    return f"{start}: the classifier is {'over' if gap > 0 else 'under'}confident by {abs(gap):.0f} points."


def _uncertain(
    report: Report, cells: ImageSet, probabilities: np.ndarray[Any, Any], run: Run | None
) -> list[dict[str, str]]:
    """The least confident correct predictions."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    correct = np.flatnonzero(predicted == report.truth)
    rows = correct[np.argsort(confidence[correct], kind="stable")][:14]
    second = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, 1]
    names = report.class_names
    captions = [
        f"{plain(names[report.truth[k]])} ({percent(confidence[k], 0)}), second {plain(names[other])}"
        for k, other in zip(rows.tolist(), second.tolist(), strict=True)
    ]
    return thumbnails(cells, rows.tolist(), captions, beside=heatmaps(run, report, cells, rows.tolist()))
