"""Robustness in the three forms of a report, also of one that is finished: its part is marked, and is replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.errors import RunFolderError
from cellclf.evaluation.robustness.result import MEDMNIST_C, Robustness, stored
from cellclf.pages.template import count, plain, render
from cellclf.utils.atomic import replacing, write_json
from cellclf.utils.text_tables import markdown_table, without_html

if TYPE_CHECKING:
    from collections.abc import Callable

    View = dict[str, Any]

_BEFORE = {
    "robustness-links": ('<a href="#confidence">', '<a href="#cost">', '<a href="#rerun">', "</nav>"),
    "robustness": ('<section id="confidence">', '<section id="cost">', '<section id="rerun">', "<footer>"),
    "robustness-text": ("## Images\n", "## Cost\n", "## Rerun\n"),
}
"""Where a report of an older version, which has no mark, gets each part: before the first of these."""


def add_robustness(folder: str | Path, found: Robustness) -> Path:
    """Store what was measured in the folder of a run, and show it in the run's report.

    A result of the same suite is replaced. A run without a report keeps the figures for a later one.

    Args:
        folder: Of the run.
        found: From ``Run.robustness`` of that run.

    Returns:
        The file of the figures, ``robustness.json`` or, for a suite of shifted images, ``robustness-NAME.json``.

    Raises:
        RunFolderError: No such folder, a full disk, or a ``robustness*.json`` or a ``report.json`` that holds something
            else.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFolderError(f"there is no folder {folder}; expected that of a run")
    own = "" if found.suite == MEDMNIST_C else "-" + re.sub(r"[^\w.-]+", "-", found.suite)
    path = write_json(folder / f"robustness{own}.json", found.to_dict())
    every = stored(folder)
    changes: dict[str, Callable[[str], str]] = {
        "report.html": lambda text: _in_page(text, every),
        "report.md": lambda text: _placed(text, "robustness-text", robustness_markdown(every)),
        "report.json": lambda text: _in_data(text, every, folder / "report.json"),
    }
    with ExitStack() as pending:  # all three are changed, or none
        for name, change in changes.items():
            if (folder / name).exists():
                text = change((folder / name).read_text(encoding="utf-8", errors="replace"))
                new = pending.enter_context(replacing(folder / name))
                new.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return path


def robustness_views(every: Sequence[Robustness]) -> list[View]:
    """Give what the page shows of each suite."""
    return [_view(place, found) for place, found in enumerate(every)]


def _view(place: int, found: Robustness) -> View:
    steps = max(len(scores.balanced_accuracy) for scores in found.corruptions)
    lines = [(float(found.clean), *map(float, scores.balanced_accuracy)) for scores in found.corruptions]
    low, high = min(map(min, lines)), max(map(max, lines))
    reach = max(high - low, 0.05)  # all lines share one scale, and noise is not enlarged
    return {
        "key": f"robustness{place}",
        "found": found,
        "steps": list(range(1, steps + 1)) if steps > 1 else [],
        "headline": found.headline(),
        "rows": [
            {
                "scores": scores,
                "path": " ".join(
                    f"{x * 90 / steps:.1f},{2 + 22 * (high - value) / reach:.1f}" for x, value in enumerate(line)
                ),
            }
            for scores, line in zip(found.corruptions, lines, strict=True)
        ],
    }


def robustness_markdown(every: Sequence[Robustness]) -> str:
    """Write a heading and a table for each suite, between the marks of ``add_robustness``; "" if there is none."""
    if not every:
        return ""
    parts = ["<!-- robustness-text -->"]
    for found in every:
        steps = max(len(scores.balanced_accuracy) for scores in found.corruptions)
        numbers = [str(k + 1) for k in range(steps)] if steps > 1 else []
        rows = [["corruption", "family", *numbers, "mean"]]
        for scores in found.corruptions:
            each = [f"{100 * value:.1f}" for value in scores.balanced_accuracy] if numbers else []
            rows.append([plain(scores.name), scores.family + ", seen" * scores.seen, *each, str(scores.mean)])
        means = "; ".join(f"{name}: {text}" for name, text in found.headline().items())
        text = (
            f"Balanced accuracy in % on {count(found.n, 'image')}, clean and corrupted: clean {found.clean}; {means}."
        )
        parts.append(without_html(f"## Robustness: {found.suite}\n\n{text}\n\n{markdown_table(rows)}"))
    return "\n\n".join([*parts, "<!-- /robustness-text -->"])


def _in_page(text: str, every: Sequence[Robustness]) -> str:
    views = robustness_views(every)
    for name, template in (("robustness-links", "robustness_links.html.j2"), ("robustness", "robustness.html.j2")):
        part = render(template, package="cellclf.reporting", robustness=views)
        text = _placed(text, name, f"<!-- {name} -->\n{part}\n<!-- /{name} -->")
    return text


def _in_data(text: str, every: Sequence[Robustness], path: Path) -> str:
    try:
        data = json.loads(text) | {"robustness": [found.to_dict() for found in every]}
    except (ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); remove it, or run the job again") from None
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _placed(text: str, name: str, part: str) -> str:
    """Put a part between its marks; names in a report cannot look like a mark, since they are escaped."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start in text and end in text:
        before, _, rest = text.partition(start)
        return before + part + rest.partition(end)[2]
    for anchor in _BEFORE[name]:
        if anchor in text:
            before, _, rest = text.partition(anchor)
            return f"{before}{part}\n\n{anchor}{rest}"
    return f"{text.rstrip()}\n\n{part}\n"
