"""The files of a run folder: what they are called, how they are written and read."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import CellclfWarning, RunFolderError
from cellclf.plugins.discovery import installed_version
from cellclf.runs.renamed import with_new_names
from cellclf.utils.atomic import replacing

MODEL, MANIFEST, HISTORY = "model.keras", "manifest.json", "history.csv"


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``manifest.json``."""
    with replacing(folder / MANIFEST) as new:
        new.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


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
    if isinstance(manifest.get("recipe"), Mapping):
        with warnings.catch_warnings():  # the same names once more
            warnings.simplefilter("ignore", CellclfWarning)
            manifest["recipe"] = with_new_names(manifest["recipe"], "")
    return manifest


def read_model(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """Read ``model.keras``.

    Args:
        folder: Of the run.
        manifest: Of the run; it tells what the network was made with.

    Raises:
        RunFolderError: The training is not finished, or the network cannot be made again; the message says what is
            missing.
    """
    path = folder / MODEL
    if not path.exists():
        raise RunFolderError(f"the run in {folder} is not finished; start the same training again and it goes on")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    # layers of strangers raise what they like while they are made again
    except Exception as error:
        raise RunFolderError(f"{path} cannot be read ({_first_sentence(error)}); {_advice(manifest)}") from error


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.csv``, one row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]) if history else ["stage", "epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with replacing(folder / HISTORY) as new:
        new.write_text(text.getvalue(), encoding="utf-8")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read ``history.csv``; numbers and truth values come back as such."""
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
    """Cut what Keras says, a page with the whole network in it, down to what went wrong innermost."""
    text = " ".join(str(error).split("Exception encountered: ")[-1].split())
    return text.split(". ")[0][:200] or type(error).__name__


def _advice(manifest: Mapping[str, Any]) -> str:
    """Say what to install: the plugins that made the run, or else its version of Keras."""
    plugins = dict(manifest.get("plugins") or {})
    absent = {name: package for name, package in plugins.items() if not installed_version(package.split(" ")[0])}
    if absent:
        named = " and ".join(f"{name!r} (package {package})" for name, package in absent.items())
        wanted = " ".join(f"'{package.replace(' ', '==')}'" for package in absent.values())
        return f"it was trained with the plugin {named}, which is not installed here: pip install {wanted}"
    made = f"it was written with keras {manifest.get('versions', {}).get('keras', '?')}"
    for name, package in plugins.items():
        there = f"{name!r} (package {package}; here {installed_version(package.split(' ')[0])})"
        made += f" and the plugin {there}: import the module that defines its layers first, or "
        made += f"pip install '{package.replace(' ', '==')}'"
    return made
