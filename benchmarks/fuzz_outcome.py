"""What is right for a generated input, and whether cellclf does it. A part of fuzz_files.py."""

from __future__ import annotations

import traceback
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import cellclf as cc
from cellclf.errors import CellclfError, CellclfWarning

Random = np.random.Generator


@dataclass
class Outcome:
    """What is right: a set, or a refusal.

    Args:
        refused: Whether there is nothing to load; "perhaps" if it may be refused, but not loaded as something else.
        pixels: (N, H, W, 3) values 0-255; None are not compared.
        ids: N texts; None are not compared.
        labels: N class names, or None without labels.
        groups: N texts, or None.
        skipped: Ids of what is left out.
    """

    refused: bool | str = False
    pixels: np.ndarray | None = None
    ids: list[str] | None = None
    labels: list[str] | None = None
    groups: list[str] | None = None
    skipped: set[str] = field(default_factory=set)


REFUSED = Outcome(refused=True)


def unreadable(text: str) -> str | None:
    """Say what is wrong with a line that people are shown; None if nothing is."""
    if len(text) >= 1000:
        return f"a line of {len(text)} characters: {text[:80]!r}"
    bad = [c for c in text if not c.isprintable() and unicodedata.category(c) != "Zs" and c not in "\u200c\u200d"]
    return f"unprintable {bad[:3]} in {text[:80]!r}" if bad else None


def spelled(name: str) -> str:
    """Spell a file name as it is shown: bytes that are no UTF-8, control and format characters as escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs" or c in "\u200c\u200d"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def wrong(load: Callable[[], cc.ImageSet], right: Outcome) -> str | None:
    """Load something and compare; give what is wrong."""
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            cells = load()
            pixels = cells.images if right.refused != "perhaps" or right.pixels is not None else None
    except CellclfError as error:
        text = str(error)
        return unreadable(text) or (None if right.refused else f"refused: {text}")
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    said += [str(one.message) for one in noted if issubclass(one.category, CellclfWarning)]
    said += [*cells.notices, *(text for one in cells.skipped for text in (one.id, one.reason)), *cells.class_names]
    if bad := next(filter(None, map(unreadable, said)), None):
        return bad
    if right.refused is True:
        return f"loaded {cells!r}, expected a refusal"
    return _differs(cells, pixels, right)


def _differs(cells: cc.ImageSet, pixels: np.ndarray | None, right: Outcome) -> str | None:
    labels = None if cells.labels is None else [cells.class_names[k] for k in cells.labels.tolist()]
    groups = None if cells.groups is None else cells.groups.tolist()
    if right.ids is not None and cells.ids.tolist() != right.ids:
        return f"ids {cells.ids.tolist()[:5]}, expected {right.ids[:5]}"
    if labels != right.labels:
        return f"labels {labels and labels[:8]}, expected {right.labels and right.labels[:8]}"
    if groups != right.groups:
        return f"groups {groups and groups[:5]}, expected {right.groups and right.groups[:5]}"
    found = {one.id for one in cells.skipped}
    if found != right.skipped:
        return f"skipped {sorted(found)[:5]}, expected {sorted(right.skipped)[:5]}"
    if not all(one.reason for one in cells.skipped):
        return "skipped without a reason"
    if right.pixels is None or pixels is None:
        return None
    if pixels.shape != right.pixels.shape:
        return f"pixels {pixels.shape}, expected {right.pixels.shape}"
    apart = np.abs(pixels.astype(float) - right.pixels).max(initial=0)
    return f"pixels differ by {apart:.1f} levels" if apart > 1 else None
