"""The files of a run folder: their names, how they are written and read."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import RunFolderError
from cellclf.plugins.discovery import installed_version
from cellclf.runs.renamed import with_new_names
from cellclf.utils.atomic import write_json, write_text
from cellclf.utils.csv_tables import csv_text
from cellclf.utils.locks import is_free

MODEL, MANIFEST, HISTORY = "model.keras", "manifest.json", "history.csv"


def check_folder(folder: Path) -> None:
    """Check that a run can be stored in a folder: it is missing, empty, or holds a run.

    Raises:
        RunFolderError: It is a file, or holds something else.
    """
    check_no_file(folder)
    if not is_free(folder) and not (folder / MANIFEST).exists():
        raise RunFolderError(f"{folder} is not empty and holds no run; choose a new folder, nothing was changed")


def check_no_file(folder: Path) -> None:
    """Check that a folder is not a file.

    Raises:
        RunFolderError: It is one.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; expected a folder for the run: choose another name")


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``manifest.json``."""
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read ``manifest.json``; None if there is none."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged ({error}); the run cannot be used") from None
    manifest = with_new_names(manifest, f"the run in {folder}")
    for part in manifest.get("data", {}).values():
        if "pictures" in part:  # before 0.2
            part["images"] = part.pop("pictures")
    return manifest


def reading_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Give how the images of a run were read: the arguments ``fit``, ``bits`` and ``pages`` of ``load`` that it used.

    Args:
        manifest: Of the run.

    Examples:
        >>> reading_of({"source": {"src": "cells/", "bits": 12}})
        {'bits': 12}
    """
    source = manifest.get("source") or {}
    source = source.get("train") or source  # a training alone has two sets
    return {name: source[name] for name in ("fit", "bits", "pages") if source.get(name) is not None}


def read_model(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """Read ``model.keras``.

    Args:
        folder: Of the run.
        manifest: Of the run; it names the packages that the network was made with.

    Raises:
        RunFolderError: The training is not finished, or the network cannot be loaded; the message says what is
            missing.
    """
    path = folder / MODEL
    if not path.exists():
        raise RunFolderError(f"the run in {folder} is not finished; start the same training again to resume it")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    # layers of plugins raise errors of every kind while they are made
    except Exception as error:
        raise RunFolderError(f"{path} cannot be read ({_first_sentence(error)}); {_advice(manifest)}") from error


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.csv``, one row an epoch."""
    columns = list(history[0]) if history else ["stage", "epoch"]
    write_text(folder / HISTORY, csv_text(columns, history))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read ``history.csv``; numbers and booleans are converted."""
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    return int(text) if text.isdecimal() else float(text)


def _first_sentence(error: Exception) -> str:
    """Shorten the message of Keras, which prints the whole network, to its innermost cause."""
    text = " ".join(str(error).split("Exception encountered: ")[-1].split())
    return text.split(". ")[0][:200] or type(error).__name__


def _advice(manifest: Mapping[str, Any]) -> str:
    """Name what to install: the plugins of the run, or else its version of Keras."""
    plugins = dict(manifest.get("plugins") or {})
    absent = {name: package for name, package in plugins.items() if not installed_version(package.split(" ")[0])}
    if absent:
        named = " and ".join(f"{name!r} (package {package})" for name, package in absent.items())
        packages = " ".join(f"'{package.replace(' ', '==')}'" for package in absent.values())
        return f"it was trained with the plugin {named}, which is not installed here: pip install {packages}"
    made = f"it was written with keras {manifest.get('versions', {}).get('keras', '?')}"
    for name, package in plugins.items():
        there = f"{name!r} (package {package}; here {installed_version(package.split(' ')[0])})"
        made += f" and the plugin {there}: import the module that defines its layers first, or "
        made += f"pip install '{package.replace(' ', '==')}'"
    return made
