"""How sure the classifier is, and with what right: the section of a report, as plain data for its template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.evaluation.calibration import calibrate, scale
from cellclf.evaluation.conformal import coverage
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.selective import abstain
from cellclf.pages.figures import inline_svg
from cellclf.pages.template import percent, plain, thumbnails
from cellclf.reporting.heatmaps import looked_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellclf.data.image_set import ImageSet
    from cellclf.evaluation.ood import DomainShift
    from cellclf.runs.confidence import Confidence
    from cellclf.runs.run import Run

ERROR = 0.01
LEFT = (0.02, 0.05, 0.1)


def confidence_view(
    evaluations: Mapping[str, tuple[Report, ImageSet | None]],
    lead: str | None,
    known: Confidence | None,
    domain_shifts: Mapping[str, DomainShift],
    run: Run | None = None,
) -> dict[str, Any] | None:
    """Say how far confidence can be trusted on each set but the training set.

    Args:
        evaluations: Name of the set -> its report, and the images or None.
        lead: The set that the page leads with; its figures are drawn.
        known: What the run learnt when it was calibrated; None shows probabilities as they are, and no sets.
        domain_shifts: Name of the set -> whether it is of the kind that the run knows.
        run: The classifier, which is asked where it looked in the least sure hits; None shows them without.

    Returns:
        Data for the template; None if there is nothing to show.
    """
    names = [name for name in sorted(evaluations, key=lambda name: name != lead) if name != "train"]
    if lead is None or not names or len(evaluations[names[0]][0].class_names) < 2:
        return None
    rows = [_row(name, evaluations[name][0], known) for name in names]
    report, cells = evaluations[names[0]]
    shares = _shares(report, known)
    unsure = [] if cells is None else _unsure(report, cells, shares, run if names[0] == lead else None)
    calibration, curve = calibrate(report.truth, shares), abstain(report.truth, shares)
    return {
        "name": names[0],
        "rows": rows,
        "left": [percent(share, 0) for share in LEFT],
        "reliability": inline_svg(calibration.plot(), f"accuracy against confidence on {names[0]}", "reliabilityn"),
        "abstention": inline_svg(curve.plot(), f"accuracy against share answered on {names[0]}", "abstentionn"),
        "verdict": _verdict(names[0], rows[0]),
        "temperature": None if known is None else f"{known.temperature:.2f}",
        "learnt_from": None if known is None else len(known.conformal.given),
        "error": percent(ERROR, 0),
        "domain_shifts": [(name, domain_shifts[name]) for name in names if name in domain_shifts],
        "unsure": unsure,
        "looked": any(image["beside"] for image in unsure),
    }


def _shares(report: Report, known: Confidence | None) -> np.ndarray[Any, Any]:
    return report.probabilities if known is None else scale(report.probabilities, known.temperature)


def _row(name: str, report: Report, known: Confidence | None) -> dict[str, Any]:
    shares = _shares(report, known)
    curve = abstain(report.truth, shares)
    sets = None
    if known is not None:
        sets = coverage(report.truth, known.conformal.sets(shares, ERROR), report.class_names)
    return {
        "name": name,
        "found": calibrate(report.truth, shares, simulations=200),
        "left": [curve.left(share) for share in LEFT],
        "sets": sets,
        "single": None if sets is None else sets.sizes.get(1, 0.0),
    }


def _verdict(name: str, row: dict[str, Any]) -> str:
    found = row["found"]
    gap = 100 * (found.confidence - found.accuracy)
    start = f"On \u201c{name}\u201d it is {percent(found.confidence)} sure on average, and right in "
    start += percent(found.accuracy)
    if found.ece <= found.ece_if_perfect.high:
        return f"{start}: on as many images, a perfectly calibrated classifier could look just so."
    if abs(gap) < 1:
        return f"{start}: close, though not at every level of confidence."
    return f"{start}: it is {abs(gap):.0f} points too {'sure of itself' if gap > 0 else 'modest'} here."


def _unsure(report: Report, cells: ImageSet, shares: np.ndarray[Any, Any], run: Run | None) -> list[dict[str, str]]:
    """The hits that were nearly missed."""
    called, sure = shares.argmax(1), shares.max(1)
    hits = np.flatnonzero(called == report.truth)
    rows = hits[np.argsort(sure[hits], kind="stable")][:14]
    second = np.argsort(-shares[rows], axis=1, kind="stable")[:, 1]
    names = report.class_names
    captions = [
        f"{plain(names[report.truth[k]])} ({percent(sure[k], 0)}), nearly {plain(names[other])}"
        for k, other in zip(rows.tolist(), second.tolist(), strict=True)
    ]
    return thumbnails(cells, rows.tolist(), captions, beside=looked_at(run, report, cells, rows.tolist()))
