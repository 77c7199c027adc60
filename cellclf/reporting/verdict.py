"""The lines at the head of a report: what the scores mean, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cellclf.errors import unknown
from cellclf.pages.template import percent, plain

if TYPE_CHECKING:
    from cellclf.evaluation.metrics import Report

OWN = ("train", "val")
"""Names of the sets that a training uses: scores on them do not show how good the classifier is."""


def headline_name(names: Mapping[str, object], chosen: str | None) -> str | None:
    """Choose the evaluation that a page leads with.

    Raises:
        UnknownNameError: ``chosen`` is not among them.

    Examples:
        >>> headline_name({"train": 1, "val": 1, "bccd": 1}, None)
        'bccd'
    """
    if chosen is not None and chosen not in names:
        raise unknown("evaluation", chosen, names)
    others = [name for name in names if name not in OWN]
    order = [chosen, "test" if "test" in names else None, *others[:1], *(n for n in ("val", "train") if n in names)]
    return next((name for name in order if name is not None), None)


def verdict(
    reports: Mapping[str, Report], headline: str, copies: Mapping[str, int] | None = None, searched: str = ""
) -> tuple[str, list[str]]:
    r"""Write what the reports mean.

    Args:
        reports: Name of the set -> its report.
        headline: The one to lead with.
        copies: Name of a set -> how many of its images are copies of training or validation images, where known.
        searched: Which copies the search for them finds, and which it does not.

    Returns:
        One sentence, and further lines.

    Examples:
        >>> from cellclf.evaluation.metrics import evaluate
        >>> report = evaluate([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], ["round", "lobed"])
        >>> verdict({"test": report}, "test")[1][0]
        'The weakest class is round: F1 66.7\u202f%. 1 of its 2 images is predicted as lobed.'
    """
    report = reports[headline]
    f1 = report.macro_f1
    copies = copies or {}
    seen = _seen(headline, copies.get(headline))
    lead = (
        f"On {report.n:,} images of \u201c{headline}\u201d, {seen}, the classifier reaches a macro F1 of "
        f"{percent(f1)} ({percent(f1.low)} to {percent(f1.high)}): the mean over "
        f"{len(report.class_names) - len(report.left_out)} classes, each with the same weight."
    )
    others = {name: n for name, n in copies.items() if n and name != headline}
    lines = [*_weakest(report), *_memory(reports), *_external(reports, headline), *_copied(reports, others)]
    if copies and searched:
        lines.append(f"Copies of training and validation images were searched: {searched}.")
    return lead, lines


def _seen(name: str, copies: int | None) -> str:
    """Describe how new the images of a set were to the classifier; ``copies`` is None if copies were not searched."""
    if name == "train":
        return "which it was trained on"
    if name == "val":
        return "which were used to choose the best epoch"
    if copies is None:
        return "which were not used in training"
    if copies == 0:
        return "which it has never seen"
    return f"of which {copies:,} {_are(copies)} of training or validation images"


def _are(copies: int) -> str:
    return "is a copy" if copies == 1 else "are copies"


def _copied(reports: Mapping[str, Report], copies: Mapping[str, int]) -> list[str]:
    return [
        f"Of the {reports[name].n:,} images of \u201c{name}\u201d, {n:,} {_are(n)} of training or validation "
        "images, so these scores are too high."
        for name, n in copies.items()
    ]


def _weakest(report: Report) -> list[str]:
    weakest = report.weakest
    if not report.confused():
        return [f"There is no mistake among these {report.n:,} images; more images would show some."]
    text = f"The weakest class is {plain(weakest.name)}: F1 {percent(weakest.f1)}."
    taken = [pair for pair in report.confused() if pair.truth == weakest.name]
    if taken:
        verb = "is" if taken[0].count == 1 else "are"
        text += (
            f" {taken[0].count:,} of its {weakest.support:,} images {verb} predicted as {plain(taken[0].predicted)}."
        )
    few = [plain(c.name) for c in report.classes if 0 < c.support < 20]
    lines = [text]
    if few:
        lines.append(f"Fewer than 20 images: {', '.join(few)}. Their scores are uncertain.")
    absent = [plain(c.name) for c in report.classes if not c.support]
    if absent:
        lines.append(f"No images, so nothing is known about: {', '.join(absent)}.")
    return lines


def _memory(reports: Mapping[str, Report]) -> list[str]:
    if not set(OWN) <= set(reports):
        return []
    gap = reports["train"].macro_f1 - reports["val"].macro_f1
    if gap > 0.05:
        return [
            f"Overfitting: macro F1 on the training images is {100 * gap:.0f} points higher than on the validation "
            "images. More augmentation or fewer epochs would help."
        ]
    return []


def _external(reports: Mapping[str, Report], headline: str) -> list[str]:
    others = [name for name in reports if name not in (*OWN, headline)]
    own = max((reports[name].balanced_accuracy for name in (*OWN[1:], headline) if name in reports), default=0.0)
    lines = []
    for name in others:
        there = reports[name].balanced_accuracy
        used = len(reports[name].class_names) - len(reports[name].left_out)
        over = f" (over {used} of {len(reports[name].class_names)} classes)" if reports[name].left_out else ""
        line = f"On \u201c{name}\u201d the balanced accuracy is {percent(there)}{over}"
        if own - there > 0.1:
            lines.append(f"{line}, {100 * (own - there):.0f} points lower: do not rely on it for images of that kind.")
        elif own - there > 0.02:
            lines.append(f"{line}, {100 * (own - there):.0f} points lower.")
        else:
            lines.append(f"{line}: no drop.")
    if not others:
        lines.append(
            "No external images were evaluated: before you rely on it for another laboratory or next month\u2019s "
            "slides, evaluate it on labelled images from there."
        )
    return lines
