"""Whether a run can start or resume in a folder: nothing that belongs to another run is overwritten or mixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellclf.errors import CellclfError, RunFolderError
from cellclf.runs.folder import MODEL, check_folder, read_manifest

Table = Mapping[str, Any]


def is_finished(folder: Path, manifest: Table, read: Callable[[Table], Table] = dict) -> bool:
    """Check that a folder can hold a run, and whether this very run is finished there.

    Args:
        folder: Missing, empty, or with the same run in it.
        manifest: Of the run that is to be stored there.
        read: Completes the trainer's settings of an older version.

    Returns:
        True if the run is finished there, False if it has to start or to resume.

    Raises:
        RunFolderError: Anything else is in the folder.
    """
    check_folder(folder)
    found = read_manifest(folder)
    if found is None:
        return False
    with suppress(CellclfError, KeyError, TypeError):  # settings that this version can't read are others
        found["trainer"] = dict(read(found["trainer"]))
    for name in ("class_names", "image_shape", "data", "trainer", "parent", "teacher", "weights_sha256", "minutes"):
        old, new = (_comparable(data.get(name)) for data in (found, manifest))
        if old != new:
            raise RunFolderError(
                f"{folder} holds a run of other {_difference(name, old, new)}; "
                "choose a new folder, or repeat that run's settings to resume it"
            )
    return found.get("status") == "finished" and (folder / MODEL).exists()


def _comparable(data: Any) -> Any:
    """Leave out of settings what may differ when a training resumes.

    That is the cache but for its views, since a disk may have filled up, and where the run lies that is continued, or
    that teaches: its weights count.
    """
    if not isinstance(data, Mapping):
        return data
    if "stages" in data:
        teacher = {**teacher, "run": None} if isinstance(teacher := data.get("teacher"), Mapping) else None
        return {
            **data,
            "start": None,
            "teacher": teacher,
            "cache": {"views": (data.get("cache") or {}).get("views", 1)},
        }
    return {key: value for key, value in data.items() if key not in ("folder", "augmented_with")}


def _difference(name: str, old: Any, new: Any) -> str:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return _difference(f"{name}.{key}", old.get(key), new.get(key))
    text = f"{old!r}, now {new!r}"
    return f"{name} (there {text})" if len(text) < 160 else name
