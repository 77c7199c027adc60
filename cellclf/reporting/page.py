"""report.html: a finished job as one self-contained page."""

from __future__ import annotations

from pathlib import Path

from cellclf.pages.template import render, write
from cellclf.reporting.content import PageContent
from cellclf.reporting.sections import sections


def write_page(content: PageContent, path: str | Path) -> Path:
    """Write a report page: self-contained, light and dark, readable on a phone and on paper.

    Args:
        content: What the page shows.
        path: Where to; an existing file is replaced only when the new one is complete.

    Examples:
        >>> import tempfile
        >>> from cellclf.evaluation.metrics import evaluate
        >>> from cellclf.reporting.content import PageContent
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> content = PageContent(title="two cells", evaluations={"test": (report, None)})
        >>> page = write_page(content, tempfile.mkdtemp() + "/report.html")
        >>> "macro F1" in page.read_text(encoding="utf-8")
        True
    """
    text = render("report.html.j2", package="cellclf.reporting", title=content.title, sided=True, **sections(content))
    return write(path, text)
