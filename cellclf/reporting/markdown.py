"""report.md: a finished job in a page of Markdown, for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cellclf.pages.template import count, duration, percent, plain, write
from cellclf.reporting.verdict import OWN, headline_name, verdict
from cellclf.utils.text_tables import markdown_table

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.evaluation.intervals import Estimate
    from cellclf.evaluation.metrics import Report
    from cellclf.reporting.page import PageContent

ROLES = {"train": "learnt from", "val": "chosen on"}
"""What the sets of a training were used for; all others only report."""


def write_markdown(content: PageContent, path: str | Path) -> Path:
    """Write the short report: scores of every set, classes, confusions, what was removed, cost, how to rerun.

    Args:
        content: What the page shows, too.
        path: Where to; an existing file is replaced only when the new one is complete.

    Examples:
        >>> import tempfile
        >>> from cellclf.evaluation.metrics import evaluate
        >>> from cellclf.reporting.page import PageContent
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> content = PageContent(title="two", evaluations={"test": (report, None)})
        >>> page = write_markdown(content, tempfile.mkdtemp() + "/report.md")
        >>> page.read_text(encoding="utf-8").splitlines()[0]
        '# two'
    """
    return write(path, "\n\n".join(_parts(content)) + "\n")


def _parts(content: PageContent) -> Iterator[str]:
    yield f"# {content.title}"
    reports = {name: report for name, (report, _) in content.evaluations.items()}
    lead = headline_name(content.evaluations, content.headline)
    if lead is not None:
        sentence, lines = verdict(reports, lead, content.copies)
        yield sentence
        yield "\n".join(f"- {line}" for line in lines)
        yield from _scores(reports, lead)
    if content.domain_shifts:
        yield "\n".join(f"- {name}: {shift}" for name, shift in content.domain_shifts.items())
    yield from _removed(content)
    if content.seconds:
        steps = ", ".join(f"{plain(name)} {duration(spent)}" for name, spent in content.seconds.items())
        yield f"## Cost\n\n{duration(sum(content.seconds.values()))}: {steps}."
    yield from _rerun(content)


def _scores(reports: dict[str, Report], lead: str) -> Iterator[str]:
    head = ["set", "images", "macro F1", "balanced accuracy", "accuracy", "log loss"]
    rows = [
        [
            f"{name} ({ROLES[name]})" if name in ROLES else name,
            count(reports[name].n),
            *(_ranged(x) for x in (reports[name].macro_f1, reports[name].balanced_accuracy, reports[name].accuracy)),
            f"{reports[name].log_loss:.3f}",
        ]
        for name in sorted(reports, key=lambda name: (name in OWN, name != lead))
    ]
    report = reports[lead]
    yield f"## Scores\n\nIn %, with {100 * report.confidence_level:g} % intervals.\n\n{markdown_table([head, *rows])}"
    for name, found in reports.items():
        if found.left_out:
            few = ", ".join(f"{plain(one)} ({n})" for one, n in found.left_out.items())
            yield f"Averages over classes on {name} leave out, for want of images: {few}."
    classes = [
        [plain(c.name), count(c.support), *(_ranged(x) for x in (c.precision, c.recall, c.f1))]
        for c in report.classes
        if c.support
    ]
    yield f"## Classes on {lead}\n\n{markdown_table([['class', 'images', 'precision', 'recall', 'F1'], *classes])}"
    if pairs := report.confused()[:5]:
        lines = [
            f"- {plain(p.truth)} called {plain(p.predicted)}: {count(p.count)}, {percent(p.rate)} of the class"
            for p in pairs
        ]
        yield "Most confused:\n\n" + "\n".join(lines)


def _removed(content: PageContent) -> Iterator[str]:
    before, after = content.cells_before, content.cells_after
    if before is None:
        return
    text = f"## Images\n\n{count(len(before), 'image')} came in"
    text += "." if after is None else f", {count(len(after))} were used."
    lines = [f"- {plain(name)}: {_kinds(found)}" for name, found in content.removals.items()]
    if before.skipped:
        lines.append(f"- could not be read: {count(len(before.skipped))}, such as {before.skipped[0].id}")
    yield "\n".join([text, "", *lines]) if lines else text


def _kinds(found: Selection) -> str:
    kinds = Counter(reason.partition(":")[0] for reason in found.reasons[~found.keep].tolist())
    named = ", ".join(f"{kind} {count(n)}" for kind, n in kinds.most_common())
    return f"{count(found.removed)} removed" + (f" ({named})" if named else "")


def _rerun(content: PageContent) -> Iterator[str]:
    lines = [f"```sh\n{content.command}\n```"] if content.command else []
    versions = content.manifest.get("versions", {})
    if versions:
        lines.append("Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    if content.recipe_toml:
        lines.append(
            "`recipe.toml` beside this file holds the whole job; `cellclf rerun` on the folder repeats it and says "
            "whether it matches."
        )
    if lines:
        yield "\n\n".join(["## Rerun", *lines])


def _ranged(share: Estimate) -> str:
    return "-" if share != share else f"{100 * share:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"
