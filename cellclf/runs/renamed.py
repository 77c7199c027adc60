"""Old names of settings: recipes and runs of older versions are read with a notice that gives the new names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from cellclf.errors import CellclfWarning

RENAMED: Mapping[str, Mapping[str, str]] = {
    "trainer": {
        "views": "cache.views",
        "cached_views": "cache.views",
        "cache_limit": "cache.limit",
        "cache_dir": "cache.dir",
        "precision": "compute.precision",
        "jit_compile": "compute.jit_compile",
        "devices": "compute.devices",
        "deterministic": "compute.deterministic",
        "shift": "val_augmenter",
    },
    "dedup": {"jobs": "n_jobs"},
    "made": {"shift": "severity"},
}
"""Table of a recipe or manifest -> old key -> new key, with a dot where it is in a table of its own now."""

_NOW_TABLES = {"trainer": {"cache": "cache.mode"}}
"""Keys that held a text and are tables now: old key -> the new key of the text."""

_HOLDERS = ("recipe", "members", "source")
"""Entries of a manifest that hold such tables: its recipe, the manifests of an ensemble, the source of the images."""


def with_new_names(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give a recipe, or a manifest, with the new names; a notice names the old ones.

    Args:
        data: Its tables by name, such as ``{"trainer": {"views": 6}}``; not changed.
        where: Its name in the notice, such as ``"the recipe a.toml"``.

    Examples:
        >>> with_new_names({"trainer": {"cache": {"views": 6}}}, "the recipe")
        {'trainer': {'cache': {'views': 6}}}
    """
    notices: set[str] = set()
    renamed = _renamed(data, notices)
    _warn(where, notices)
    return renamed


def setting_with_new_names(setting: str) -> str:
    """Give a setting ``"table.key=value"`` with the new name; a notice names the old one.

    Examples:
        >>> setting_with_new_names("trainer.cache.views=6")
        'trainer.cache.views=6'
    """
    path, sign, value = setting.partition("=")
    table, *keys = path.strip().split(".")
    new = _new_name(table, keys[0], value.strip().strip("'\"")) if keys else None
    if new is None or (keys[0] in _NOW_TABLES.get(table, {}) and (len(keys) > 1 or value.strip().startswith("{"))):
        return setting
    _warn(f"the setting {setting!r}", {_notice(table, keys[0], new)})
    return ".".join([table, new, *keys[1:]]) + sign + value


def _new_name(table: str, key: str, value: Any) -> str | None:
    """Give the new name of a key, or None where it has not changed."""
    if isinstance(value, str) and value not in ("", "none"):  # "none" is None, for a table as well
        now = _NOW_TABLES.get(table, {}).get(key)
        if now is not None:
            return now
    return RENAMED.get(table, {}).get(key)


def _renamed(data: Mapping[str, Any], notices: set[str]) -> dict[str, Any]:
    found = {}
    for name, value in data.items():
        if name in _HOLDERS and isinstance(value, Mapping):
            value = _renamed(value, notices)
        elif name in _HOLDERS and isinstance(value, list):
            value = [_renamed(one, notices) if isinstance(one, Mapping) else one for one in value]
        elif name in RENAMED and isinstance(value, Mapping):
            value = _renamed_table(name, value, notices)
        found[name] = value
    return found


def _renamed_table(name: str, table: Mapping[str, Any], notices: set[str]) -> dict[str, Any]:
    new_names = {key: new for key, value in table.items() if (new := _new_name(name, key, value)) is not None}
    notices |= {_notice(name, key, new) for key, new in new_names.items()}
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    old = {new: found.pop(key) for key, new in new_names.items()}
    for new, value in old.items():
        *parents, last = new.split(".")
        place = found
        for parent in parents:
            if not isinstance(place.get(parent), dict):  # missing, or none at all: only its mode is known then
                place[parent] = {"mode": place[parent]} if parent in place else {}
            place = place[parent]
        place.setdefault(last, value)
    return found


def _notice(table: str, old: str, new: str) -> str:
    return f"{table}.{old} is now {table}.{new}"


def _warn(where: str, notices: set[str]) -> None:
    if notices:
        warnings.warn(f"{where} uses names of an older version: {'; '.join(sorted(notices))}", CellclfWarning, 4)
