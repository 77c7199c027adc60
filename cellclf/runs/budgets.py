"""What the manifest of a run says of the time that it was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def was_too_short(manifest: Mapping[str, Any]) -> bool:
    """Say whether a run was given too little time for its recipe, or for all of its images.

    Examples:
        >>> was_too_short({"chosen": {"budget": {"minutes": 1.0, "too_short": True}}}), was_too_short({})
        (True, False)
    """
    chosen = manifest.get("chosen") or {}
    return bool((chosen.get("budget") or {}).get("too_short") or chosen.get("sample"))


def longer(manifest: Mapping[str, Any]) -> int | None:
    """Give minutes that would do for a run that was given too few: those for the whole recipe, or else twice as many.

    Args:
        manifest: Of the run.

    Returns:
        None for a run without a budget.

    Examples:
        >>> longer({"chosen": {"budget": {"minutes": 1.0, "enough": 74}}})
        74
        >>> longer({"chosen": {"budget": {"minutes": 20.0, "enough": 12}}})
        40
    """
    chosen = manifest.get("chosen") or {}
    plan = chosen.get("budget")
    if not plan:
        return None
    minutes, enough = float(plan.get("minutes", 1)), float(plan.get("enough", 0))
    if sample := chosen.get("sample"):  # all images take as many times longer as there are more of them
        enough *= sample.get("of", 1) / max(1, sample.get("images", 1))
    return math.ceil(enough if enough > minutes else 2 * minutes)


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
    chosen = manifest.get("chosen") or {}
    plan = chosen.get("budget")
    if not plan:
        return ""
    minutes = plan.get("minutes", 0)
    named = f"{minutes:g} minute{'' if minutes == 1 else 's'}"
    cleaned = ""
    if sample := chosen.get("sample"):
        cleaned = f"{sample.get('images', 0):,} of {sample.get('of', 0):,} were cleaned and used"
    seen = sum(int(row.get("images") or 0) for row in history)
    count = ((manifest.get("data") or {}).get("train") or {}).get("images", 0)
    if plan.get("too_short"):
        different = f"of {count:,} different ones{f' ({cleaned})' if cleaned else ''}"
        return f"A budget of {named} was too short: {seen:,} images seen, {different}; give it more time."
    if cleaned:
        return f"A budget of {named} was too short for all images: {cleaned}; give it more time."
    times = f", each {seen / count:.1f} times" if count else ""
    return f"Trained within a budget of {named} on {count:,} images{times}."
