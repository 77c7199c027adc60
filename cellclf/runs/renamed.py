"""Old names of settings: recipes and runs of older versions are read with a notice that gives the new names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from cellclf.errors import CellclfWarning

RENAMED: Mapping[str, Mapping[str, str]] = {
    "trainer": {"views": "cached_views", "shift": "val_augmenter"},
    "dedup": {"jobs": "n_jobs"},
    "made": {"shift": "severity"},
}
"""Table of a recipe or manifest -> old key -> new key."""

_HOLDERS = ("recipe", "members", "source")
"""Entries of a manifest that hold such tables: its recipe, the manifests of an ensemble, the source of the images."""


def with_new_names(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give a recipe, or a manifest, with the new names; a notice names the old ones.

    Args:
        data: Its tables by name, such as ``{"trainer": {"views": 6}}``; not changed.
        where: Its name in the notice, such as ``"the recipe a.toml"``.

    Examples:
        >>> with_new_names({"trainer": {"cached_views": 6}}, "the recipe")
        {'trainer': {'cached_views': 6}}
    """
    notices: set[str] = set()
    renamed = _renamed(data, notices)
    _warn(where, notices)
    return renamed


def setting_with_new_names(setting: str) -> str:
    """Give a setting ``"table.key=value"`` with the new name; a notice names the old one.

    Examples:
        >>> setting_with_new_names("trainer.cached_views=6")
        'trainer.cached_views=6'
    """
    path, sign, value = setting.partition("=")
    table, *keys = path.strip().split(".")
    if not keys or keys[0] not in RENAMED.get(table, {}):
        return setting
    new = RENAMED[table][keys[0]]
    _warn(f"the setting {setting!r}", {_notice(table, keys[0])})
    return ".".join([table, new, *keys[1:]]) + sign + value


def _renamed(data: Mapping[str, Any], notices: set[str]) -> dict[str, Any]:
    found = {}
    for name, value in data.items():
        new_names = RENAMED.get(name, {})
        if name in _HOLDERS and isinstance(value, Mapping):
            value = _renamed(value, notices)
        elif name in _HOLDERS and isinstance(value, list):
            value = [_renamed(one, notices) if isinstance(one, Mapping) else one for one in value]
        elif new_names and isinstance(value, Mapping):
            notices |= {_notice(name, old) for old in new_names.keys() & value.keys()}
            value = {new_names.get(key, key): entry for key, entry in value.items()}
        found[name] = value
    return found


def _notice(table: str, old: str) -> str:
    return f"{table}.{old} is now {table}.{RENAMED[table][old]}"


def _warn(where: str, notices: set[str]) -> None:
    if notices:
        warnings.warn(f"{where} uses names of an older version: {'; '.join(sorted(notices))}", CellclfWarning, 4)
