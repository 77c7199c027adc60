"""Settings by the names that older versions gave them: recipes and runs that users keep go on loading."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from cellclf.errors import CellclfWarning

RENAMED: Mapping[str, Mapping[str, str]] = {
    "trainer": {"views": "cached_views", "shift": "val_augmenter"},
    "dedup": {"jobs": "n_jobs"},
}
"""Slot of a recipe -> old key -> new key."""


def with_new_names(recipe: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give a recipe, or a manifest, with the names of today; old ones are replaced and named in a notice.

    Args:
        recipe: Its tables by slot, such as ``{"trainer": {"views": 6}}``; not changed.
        where: What it is called in the notice, such as ``"recipe a.toml"``.

    Examples:
        >>> with_new_names({"trainer": {"cached_views": 6}}, "a recipe")
        {'trainer': {'cached_views': 6}}
    """
    made, notices = dict(recipe), []
    for slot, names in RENAMED.items():
        table = made.get(slot)
        if not isinstance(table, Mapping):
            continue
        for old in names.keys() & table.keys():
            notices.append(f"{slot}.{old} is now {slot}.{names[old]}")
        made[slot] = {names.get(key, key): value for key, value in table.items()}
    if notices:
        warnings.warn(f"{where} uses names of an older version: {'; '.join(sorted(notices))}", CellclfWarning, 3)
    return made
