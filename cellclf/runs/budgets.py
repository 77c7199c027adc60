"""What the manifest of a run says of the time that it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def budget_sentence(manifest: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """Say what a run did in the time that it was given, in a sentence; empty if it was given none.

    Args:
        manifest: Of the run.
        history: Its rows.

    Examples:
        >>> plan = {"minutes": 1.0, "too_short": True}
        >>> manifest = {"chosen": {"budget": plan}, "data": {"train": {"images": 800}}}
        >>> budget_sentence(manifest, [{"images": 640}])
        'A budget of 1 minute was too short: 640 images seen, of 800 different ones; give it more time.'
    """
    plan = (manifest.get("chosen") or {}).get("budget")
    if not plan:
        return ""
    minutes = plan.get("minutes", 0)
    named = f"{minutes:g} minute{'' if minutes == 1 else 's'}"
    seen = sum(int(row.get("images") or 0) for row in history)
    count = ((manifest.get("data") or {}).get("train") or {}).get("images", 0)
    if plan.get("too_short"):
        return (
            f"A budget of {named} was too short: {seen:,} images seen, of {count:,} different ones; give it more time."
        )
    times = f", each {seen / count:.1f} times" if count else ""
    return f"Trained within a budget of {named} on {count:,} images{times}."
