"""Whether a run folder can take a run: nothing of others is ever overwritten or mixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellclf.errors import RunFolderError
from cellclf.runs.folder import MODEL, read_manifest
from cellclf.utils.locks import is_free


def claim(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Look whether a folder can take a run.

    Args:
        folder: Missing, empty, or with the same run in it.
        manifest: Of the run that shall go there.

    Returns:
        True if that very run stands there finished, False if it shall be begun or continued.

    Raises:
        RunFolderError: Anything else is in the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; expected a folder for the run: choose another name")
    found = read_manifest(folder)
    if found is None:
        if not is_free(folder):
            raise RunFolderError(f"{folder} is not empty and holds no run; choose a new folder, nothing was changed")
        return False
    for name in ("class_names", "image_shape", "data", "trainer", "weights_sha256"):
        old, new = (_settled(data.get(name)) for data in (found, manifest))
        if old != new:
            raise RunFolderError(
                f"{folder} holds a run of other {_difference(name, old, new)}; "
                "choose a new folder, or repeat that run's settings to go on with it"
            )
    return found.get("status") == "finished" and (folder / MODEL).exists()


def _settled(data: Any) -> Any:
    """Leave out of settings how work is spared: when a disk fills up, a training can go on without its cache."""
    if not isinstance(data, Mapping):
        return data
    return {name: value for name, value in data.items() if name not in ("cache", "cache_limit")}


def _difference(name: str, old: Any, new: Any) -> str:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return _difference(f"{name}.{key}", old.get(key), new.get(key))
    text = f"{old!r}, now {new!r}"
    return f"{name} (there {text})" if len(text) < 160 else name
