"""report.md: a finished job in a page of Markdown, for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cellclf.errors import printable
from cellclf.pages.template import count, date_text, duration, percent, plain, write
from cellclf.reporting.robustness import robustness_markdown
from cellclf.reporting.score_tables import CLASS_SCORES, class_rows, left_out_lines, score_rows, unit_line
from cellclf.reporting.verdict import judge
from cellclf.utils.text_tables import markdown_table, without_html

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.evaluation.metrics import Report
    from cellclf.reporting.content import PageContent


def write_markdown(content: PageContent, path: str | Path) -> Path:
    """Write the short report: scores of every set, classes, confusions, what was removed, cost, how to rerun.

    Args:
        content: What the report shows.
        path: Where to; an existing file is replaced only when the new one is complete.

    Examples:
        >>> import tempfile
        >>> from cellclf.evaluation.metrics import evaluate
        >>> from cellclf.reporting.content import PageContent
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> content = PageContent(title="two", evaluations={"test": (report, None)})
        >>> page = write_markdown(content, tempfile.mkdtemp() + "/report.md")
        >>> page.read_text(encoding="utf-8").splitlines()[0]
        '# two'
    """
    parts = [without_html("\n\n".join(found)) for found in (_scored(content), _made(content))]
    return write(path, "\n\n".join(filter(None, [parts[0], robustness_markdown(content.robustness), parts[1]])) + "\n")


def _scored(content: PageContent) -> Iterator[str]:
    yield f"# {printable(content.title)}"
    if date := date_text(content.manifest):
        yield date
    if (found := judge(content)) is not None:
        yield " ".join(found.sentences)
        yield "```sh\n" + "\n".join(found.commands) + "\n```"
        if found.lines:
            yield "\n".join(f"- {line}" for line in found.lines)
        yield from _scores({name: report for name, (report, _) in content.evaluations.items()}, found.headline)
    if content.domain_shifts:
        yield "\n".join(f"- {name}: {shift}" for name, shift in sorted(content.domain_shifts.items()))


def _made(content: PageContent) -> Iterator[str]:
    yield from _removed(content)
    if content.seconds:
        steps = ", ".join(f"{plain(name)} {duration(spent)}" for name, spent in content.seconds.items())
        yield f"## Cost\n\n{duration(sum(content.seconds.values()))}: {steps}."
    yield from _rerun(content)


def _scores(reports: dict[str, Report], lead: str) -> Iterator[str]:
    rows = score_rows(reports, lead)
    table = [["set", "images", *(score.label for score, _ in rows[0].cells), "classes"]]
    for row in rows:
        name = f"{row.name} ({row.role})" if row.role else row.name
        cells = (_ranged(score.number(value), score.interval(value)) for score, value in row.cells)
        table.append([name, count(row.report.n), *cells, row.classes])
    report = reports[lead]
    level = f"{100 * report.confidence_level:g} %"
    ordered = {row.name: row.report for row in rows}
    note = f"In %, log loss in nats; with {level} intervals. {unit_line(ordered)}"
    yield f"## Scores\n\n{note}\n\n{markdown_table(table)}"
    yield from left_out_lines(ordered)
    classes = [
        [name, count(images), *(_ranged(f"{100 * x:.1f}", f"{100 * x.low:.1f}-{100 * x.high:.1f}") for x in scores)]
        for name, images, scores in class_rows(report)
    ]
    yield f"## Classes on {lead}\n\n{markdown_table([['class', 'images', *CLASS_SCORES], *classes])}"
    if report.by_domain:
        domains = [[plain(text) for text in row] for row in report.domain_rows()]
        yield f"## Domains of {lead}\n\n{markdown_table(domains)}"
    if pairs := report.confused()[:5]:
        lines = [
            f"- {plain(p.truth)} predicted as {plain(p.predicted)}: {count(p.count)}, {percent(p.rate)} of the class"
            for p in pairs
        ]
        yield "Most confused:\n\n" + "\n".join(lines)


def _removed(content: PageContent) -> Iterator[str]:
    before, after = content.cells_before, content.cells_after
    if before is None:
        return
    text = f"## Images\n\n{count(len(before), 'image')} were read"
    text += "." if after is None else f", {count(len(after))} were used."
    lines = []
    for name, found in content.removals.items():
        lines += [f"- {plain(name)}: {_kinds(found)}", *(f"  - {line}" for line in found.lost())]
    if content.cut:
        text += f" It is {content.cut}; images that are in another part, too, were removed from train alone."
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
            "`recipe.toml` beside this file describes the whole job; `cellclf rerun` on the folder repeats it and "
            "reports whether the result is the same."
        )
    if lines:
        yield "\n\n".join(["## Rerun", *lines])


def _ranged(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value or "-"
