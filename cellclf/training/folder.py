"""The files of a run folder: what they are called, how they are written and read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import RunFolderError
from cellclf.files import replacing

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
    return manifest


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
