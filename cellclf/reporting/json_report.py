"""report.json: a finished job as plain data, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cellclf.pages.template import write

if TYPE_CHECKING:
    from cellclf.reporting.content import PageContent


def write_data(content: PageContent, path: str | Path) -> Path:
    """Write the scores of each set, what was removed and skipped, robustness, domain shifts, date and times.

    Args:
        content: What the report shows.
        path: Where to; an existing file is replaced only when the new one is complete.

    Returns:
        The path.

    Raises:
        RunFolderError: The disk is full; an existing file is unchanged.

    Examples:
        >>> import tempfile
        >>> from cellclf.evaluation.metrics import evaluate
        >>> from cellclf.reporting.content import PageContent
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> content = PageContent(title="two", evaluations={"test": (report, None)})
        >>> file = write_data(content, tempfile.mkdtemp() + "/report.json")
        >>> list(json.loads(file.read_text(encoding="utf-8"))["scores"])
        ['test']
    """
    before = content.cells_before
    data = {
        "schema": 2,
        "date": content.manifest.get("date"),
        "scores": {name: report.to_dict() for name, (report, _) in content.evaluations.items()},
        "home": None if content.home is None else content.home.to_dict(),
        "cut": content.cut,
        "copies": dict(content.copies),
        "removed": {name: selection.to_dict() for name, selection in content.removals.items()},
        "skipped": [] if before is None else [{"id": one.id, "reason": one.reason} for one in before.skipped],
        "notices": [] if before is None else list(before.notices),
        "robustness": [found.to_dict() for found in content.robustness],
        "domain_shifts": {name: shift.to_dict() for name, shift in content.domain_shifts.items()},
        "seconds": dict(content.seconds),
    }
    return write(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
