"""The head of a report: what the scores mean and what to do next, in three sentences, and some further lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellclf.evaluation.groups import FEW
from cellclf.pages.template import count, percent, plain
from cellclf.reporting.further_sets import OWN, FurtherSet, further_sets, headline_name, home_name
from cellclf.runs.budgets import budget_sentence, longer, was_too_short

if TYPE_CHECKING:
    from cellclf.evaluation.metrics import Report
    from cellclf.reporting.content import PageContent


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the scores mean.

    Args:
        headline: Name of the set that the page leads with.
        sentences: Three: that set; the worst set and the weakest class; what to do next.
        commands: The command lines of the third.
        lines: What else is worth knowing, a sentence or two each.
        worst: The further set that is worst; None if there is none.
    """

    headline: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...]
    lines: tuple[str, ...]
    worst: FurtherSet | None


def judge(content: PageContent) -> Verdict | None:
    r"""Write what the evaluations of a page mean; None if there is none.

    The order of the evaluations changes nothing.

    Args:
        content: What the page shows.

    Raises:
        UnknownNameError: ``content.headline`` is not among the evaluations.

    Examples:
        >>> from cellclf.evaluation.metrics import evaluate
        >>> from cellclf.reporting.content import PageContent
        >>> report = evaluate([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]], ["round", "lobed"])
        >>> judge(PageContent(title="two", evaluations={"test": (report, None)})).sentences[1]
        'The weakest class is round (F1 66.7\u202f%, 1 of its 2 images is predicted as lobed).'
    """
    further = further_sets(content)
    headline = headline_name(content, further)
    if headline is None:
        return None
    reports = {name: report for name, (report, _) in content.evaluations.items()}
    report, worst = reports[headline], further[0] if further else None
    timed = budget_sentence(content.manifest, content.history)
    lines = [timed] if timed else []
    if worst is None or worst.name == headline:
        second = _upper(_weakest(report, "its" if worst else "the")) + "."
    else:
        which = "the only further set" if len(further) == 1 else f"the worst of {len(further)} further sets"
        second = f"{_found(worst, f', {which},')}; {_weakest(worst.report, 'its')}."
        lines.append(f"On \u201c{headline}\u201d, {_weakest(report, 'the')}.")
    next_step, commands = _more_time(content) or _train_first(content, reports) or _next(content, worst)
    named = dict.fromkeys([headline, *(one.name for one in further[:1])])
    lines += [line for name in named for line in _small(name, reports[name])]
    homes = {one.home for one in further if one.home is not None}
    lines += [line for name in dict.fromkeys([*named, *homes]) for line in _few_groups(name, reports[name])]
    lines += [f"{_found(one)}." for one in further if one.name not in named]
    lines += _memory(reports, budgeted=bool(timed))
    lines += [] if content.home is None else [content.home.sentence()]
    lines += _copied(reports, {name: n for name, n in content.copies.items() if n and name != headline})
    if content.copies and content.searched:
        lines.append(f"Copies of training and validation images were searched: {content.searched}.")
    return Verdict(
        headline=headline,
        sentences=(_first(content, headline, report, further), second, next_step),
        commands=commands,
        lines=tuple(lines),
        worst=worst,
    )


def _first(content: PageContent, headline: str, report: Report, further: list[FurtherSet]) -> str:
    """Judge the set that the page leads with."""
    seen = _seen(headline, content.copies.get(headline))
    start = f"On {count(report.n, 'image')} of \u201c{headline}\u201d, {seen}, the classifier reaches"
    itself = next((one for one in further if one.name == headline), None)
    if itself is not None:
        return f"{start} {itself.scored()}."
    f1 = report.macro_f1
    classes = len(report.class_names) - len(report.left_out)
    score = f"a macro F1 of {percent(f1)} ({percent(f1.low)} to {percent(f1.high)})"
    over = f"the mean over {classes} classes, each with the same weight" if classes > 1 else "of one class"
    return f"{start} {score}, {over}."


def _found(one: FurtherSet, which: str = "") -> str:
    return f"On {count(one.report.n, 'image')} of \u201c{one.name}\u201d{which} it reaches {one.scored()}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


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
        f"Of the {count(reports[name].n, 'image')} of \u201c{name}\u201d, {n:,} {_are(n)} of training or validation "
        "images, so these scores are too high."
        for name, n in sorted(copies.items())
    ]


def _weakest(report: Report, article: str) -> str:
    """Name the weakest class of a set, and what it is mistaken for most."""
    pairs = report.confused()
    if not pairs:
        return f"there is no mistake among these {count(report.n, 'image')}: more images would show some"
    weakest = report.weakest
    text = f"{article} weakest class is {plain(weakest.name)} (F1 {percent(weakest.f1)}"
    taken = next((pair for pair in pairs if pair.truth == weakest.name), None)
    if taken is not None:
        verb = "is" if taken.count == 1 else "are"
        text += f", {taken.count:,} of its {count(weakest.support, 'image')} {verb} predicted as "
        text += plain(taken.predicted)
    return f"{text})"


def _small(name: str, report: Report) -> list[str]:
    """Say which classes have few images or none."""
    lines = []
    few = [plain(c.name) for c in report.classes if 0 < c.support < 20]
    if few:
        lines.append(f"Fewer than 20 images in \u201c{name}\u201d: {', '.join(few)}. Their scores are uncertain.")
    absent = [plain(c.name) for c in report.classes if not c.support]
    if absent:
        lines.append(f"No images in \u201c{name}\u201d, so nothing is known about: {', '.join(absent)}.")
    return lines


def _few_groups(name: str, report: Report) -> list[str]:
    """Say whether the images are of few slides."""
    groups = report.num_groups
    if groups is None or groups >= FEW:
        return []
    what = "all of one patient or slide" if groups == 1 else f"of {groups} patients or slides only"
    return [f"The images of \u201c{name}\u201d are {what}: few, so that the intervals are rough."]


def _memory(reports: Mapping[str, Report], *, budgeted: bool) -> list[str]:
    if not set(OWN) <= set(reports):
        return []
    gap = reports["train"].macro_f1 - reports["val"].macro_f1
    if gap > 0.05:
        return [
            f"Overfitting: macro F1 on the training images is {100 * gap:.0f} points higher than on the validation "
            f"images. More augmentation{'' if budgeted else ' or fewer epochs'} would help."
        ]
    return []


def _more_time(content: PageContent) -> tuple[str, tuple[str, ...]] | None:
    """Say that a run which was given too little time should be given more; None if it was not."""
    if not was_too_short(content.manifest):
        return None
    minutes = longer(content.manifest)
    return (
        f"Next: give it more time before it is used; about {minutes} minutes are enough for the whole recipe and all "
        "images.",
        (_again(content, minutes),),
    )


def _again(content: PageContent, minutes: int | None) -> str:
    """Write the command of a run with more time, into another folder: the same one refuses other minutes."""
    typed = content.command
    if not re.search(r"--minutes[ =]\S+", typed) or not re.search(r"--out[ =]\S+", typed):
        return f"cellclf run SRC --minutes {minutes} --out NEW_RUN"
    typed = re.sub(r"--minutes[ =]\S+", f"--minutes {minutes}", typed)
    return re.sub(r"""--out[ =]('[^']*'|"[^"]*"|\S+)""", "--out NEW_RUN", typed)


def _train_first(content: PageContent, reports: Mapping[str, Report]) -> tuple[str, tuple[str, ...]] | None:
    """Say that a classifier which is poor at home has to be trained better before anything else; None if it is not."""
    home = home_name(content)
    if home is None:
        return None
    report = reports[home]
    classes = len(report.class_names) - len(report.left_out)
    guess, found = 1 / max(2, classes), report.balanced_accuracy
    if found >= (1 + guess) / 2:
        return None
    minutes = longer(content.manifest)
    more, command = "more epochs", "cellclf run SRC --set trainer.stages.0.epochs=30 --out NEW_RUN"
    if minutes is not None:  # epochs follow from the time
        more, command = f"more time, such as {minutes} minutes", _again(content, minutes)
    return (
        f"Next: train it better ({more}, more images, pretrained weights, a look for wrong labels) before it is "
        f"used or adapted, since at home (\u201c{home}\u201d) its balanced accuracy of {percent(found)} is nearer to "
        f"guessing ({percent(guess)}) than to 100\u202f%.",
        (command, "cellclf labels SRC --out FOLDER"),
    )


def _next(content: PageContent, worst: FurtherSet | None) -> tuple[str, tuple[str, ...]]:
    """Say what to do next, and with which commands."""
    folder = content.folder or "RUN"
    if worst is None:
        return (
            "Next, since no external images were evaluated: before you rely on it for another laboratory or next "
            "month\u2019s slides, evaluate it on labelled images from there.",
            (f"cellclf evaluate {shlex.quote(folder)} SRC",),
        )
    source = content.sources.get(worst.name)
    source = "SRC" if source is None else shlex.quote(source)
    if worst.needs_labels:
        out = folder.rstrip("/") + "-" + re.sub(r"[^\w.]+", "-", worst.name).strip("-")
        return (
            f"Next: label 25 images of \u201c{worst.name}\u201d in the browser, and adapt the run to them.",
            (
                f"cellclf suggest {shlex.quote(folder)} {source} --count 25 --out label.html",
                f"cellclf adapt {shlex.quote(folder)} {source} --labels labelled.csv --out {shlex.quote(out)}",
            ),
        )
    return (
        "Next: classify new images, and leave to a person those that it is not sure of.",
        (f"cellclf predict {shlex.quote(folder)} SRC --accuracy 0.99 --out named.csv",),
    )
