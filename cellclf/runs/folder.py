"""The files of a run folder: their names, how they are written and read."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellclf.errors import CellclfWarning, DataError, RunFolderError, printable
from cellclf.plugins.discovery import installed_version
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.renamed import with_new_names
from cellclf.utils.atomic import check_writable, write_json, write_text
from cellclf.utils.backend import check_backend, float32
from cellclf.utils.csv_tables import csv_text
from cellclf.utils.locks import is_free
from cellclf.utils.spreadsheet import read_rows, restored

_PACKAGE = re.compile(r"[\w.-]+( [\w.+!-]+)?")
MODEL, MANIFEST, HISTORY = "model.keras", "manifest.json", "history.csv"


def check_folder(folder: Path) -> None:
    """Check that a run can be stored in a folder: it is missing, empty, or holds a run, and can be written.

    Raises:
        RunFolderError: It is a file, holds something else, or is read-only.
    """
    check_no_file(folder)
    if not (folder / MODEL).exists():  # a finished run is only read
        check_writable(folder / MANIFEST)
    if not is_free(folder) and not (folder / MANIFEST).exists():
        raise RunFolderError(f"{folder} is not empty and holds no run; choose a new folder, nothing was changed")


def check_no_other(folder: Path, manifest: Mapping[str, Any], weights: str) -> None:
    """Check that a finished run can be saved into a folder: no other run is overwritten, or mixed with it.

    Args:
        folder: Where to.
        manifest: Of the run.
        weights: ``weights_sha256`` of its network.

    Raises:
        RunFolderError: It is a file, or holds another run or a part of one.
    """
    check_no_file(folder)
    found = read_manifest(folder)
    if found is None:
        if alone := [name for name in (MODEL, HISTORY) if (folder / name).exists()]:
            raise RunFolderError(f"{folder} holds {alone[0]} of a run without {MANIFEST}; choose a new folder")
        if not is_free(folder):  # among others' files a features.npz would be taken for one of the run
            raise RunFolderError(f"{folder} is not empty and holds no run; choose a new folder, nothing was changed")
        return
    started = [(found.get(key), manifest.get(key)) for key in ("start_sha256", "data")]
    own_training = found.get("status") == "training" and all(old is not None and old == new for old, new in started)
    if found.get("end_sha256") != weights and not own_training:
        raise RunFolderError(
            f"{folder} holds another run (its weights differ), and nothing was changed; choose a new folder, or delete "
            "that run first"
        )


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
    """Read ``manifest.json``; None if there is none.

    Raises:
        RunFolderError: The file is no JSON object, or cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror or error}); the run cannot be used") from None
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); the run cannot be used") from None
    if not isinstance(manifest, dict):
        raise RunFolderError(
            f"{path} holds a {type(manifest).__name__}, expected an object: it is no manifest of a run"
        )
    manifest = _of_right_kinds(manifest, path)
    manifest = with_new_names(manifest, f"the run in {folder}")
    for part in manifest.get("data", {}).values():
        if isinstance(part, dict) and "pictures" in part:  # before 0.2
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
    several = [one for one in source.get("sources") or () if isinstance(one, dict)]
    source = source.get("train") or (several or [source])[0]  # a training alone has two sets
    return {name: source[name] for name in ("fit", "bits", "pages") if source.get(name) is not None}


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        (
            "data",
            "trainer",
            "versions",
            "machine",
            "plugins",
            "source",
            "split",
            "recipe",
            "parent",
            "home",
            "adaptation",
        ),
        dict,
    ),
    **dict.fromkeys(("status", "date", "start_sha256", "end_sha256", "command"), str),
    **dict.fromkeys(("seconds", "parameters"), (int, float)),
    **dict.fromkeys(("image_shape", "members", "blocks"), list),
}


def _of_right_kinds(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Leave out fields that are not what they were; none of them is needed to predict."""
    bad = [name for name, kind in _KINDS.items() if name in manifest and not isinstance(manifest[name], kind)]
    if "members" not in bad and not all(isinstance(one, dict) for one in manifest.get("members", [])):
        bad.append("members")
    # they are put into a command that people copy
    if "plugins" not in bad and not all(
        isinstance(package, str) and _PACKAGE.fullmatch(package) for package in manifest.get("plugins", {}).values()
    ):
        bad.append("plugins")
    if bad:
        text = f"{path} is damaged: {', '.join(bad)} cannot be read and {'are' if len(bad) > 1 else 'is'} left out"
        warnings.warn(text, CellclfWarning, stacklevel=4)
    return {name: value for name, value in manifest.items() if name not in bad}


def class_names(folder: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the names of the classes, which a run cannot do without.

    Raises:
        RunFolderError: They are missing, or no list of different texts.
    """
    names = manifest.get("class_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        found = "no class_names" if names is None else f"class_names of another kind ({str(names)[:60]})"
        raise RunFolderError(f"{folder / MANIFEST} has {found}; expected the names of all classes in label order")
    spelled = tuple(map(printable, names))
    if len(set(spelled)) < len(spelled):
        raise RunFolderError(f"{folder / MANIFEST} names a class twice ({', '.join(spelled)}); expected each once")
    return spelled


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
    if not path.exists() or manifest.get("status") == "training":
        what = "adaptation" if "adaptation" in manifest else "training"
        raise RunFolderError(f"the run in {folder} is not finished; start the same {what} again to resume it")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # Keras reads weights here and there, without looking at checksums
    except Exception as error:  # zipfile and its decompressors raise a dozen kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunFolderError(f"{path} is damaged ({reason}); copy it again from where the run was trained") from None
    if damaged is not None:
        raise RunFolderError(f"{path} is damaged (checksum of {damaged}); copy it again from where the run was trained")
    check_backend()
    import keras

    try:
        with float32():
            return keras.models.load_model(path, compile=False)
    # layers of plugins raise errors of every kind while they are made
    except Exception as error:
        raise RunFolderError(f"{path} cannot be read ({_first_sentence(error)}); {_advice(manifest)}") from error


def check_model(folder: Path, model: Any, manifest: Mapping[str, Any]) -> str:
    """Check that a network belongs to the manifest beside it.

    Args:
        folder: Of the run.
        model: The network.
        manifest: Of the run.

    Returns:
        ``weights_sha256`` of the network.

    Raises:
        RunFolderError: It takes or gives something else, or has other weights.
    """
    names, size = class_names(folder, manifest), manifest.get("image_shape")
    takes, gives = ([tuple(one.shape) for one in getattr(model, end, ())] for end in ("inputs", "outputs"))
    if len(takes) != 1 or len(takes[0]) != 4 or takes[0][3] != 3 or not all(takes[0][1:3]):
        raise RunFolderError(f"{folder / MODEL} takes {_shapes(takes)}; expected images (n, height, width, 3)")
    if size is not None and list(takes[0][1:]) != size:
        raise RunFolderError(
            f"{folder / MODEL} takes images {takes[0][1:]} and {MANIFEST} says {tuple(size)}; they belong to two runs"
        )
    if len(gives) != 1 or gives[0][1:] != (len(names),):
        raise RunFolderError(
            f"{folder / MODEL} gives {_shapes(gives)} and {MANIFEST} names {len(names)} classes ({', '.join(names)}); "
            "expected a probability for each class: they belong to two runs"
        )
    found, expected = weights_sha256(model), manifest.get("end_sha256")
    # runs that version 0.1 adapted carry the hash of the run that they came from
    if expected is not None and found != expected and "adapted_to" not in manifest:
        raise RunFolderError(
            f"{folder / MODEL} is not the network that {MANIFEST} describes (its weights differ), so the order of the "
            "classes may differ; copy all files of one run"
        )
    return found


def _shapes(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(str(shape).replace("None", "n") for shape in shapes) or "nothing"


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.csv``, one row an epoch."""
    columns = list(history[0]) if history else ["stage", "epoch"]
    write_text(folder / HISTORY, csv_text(columns, history))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read ``history.csv``, also as a spreadsheet saved it; numbers and booleans are converted.

    Nothing needs it to predict: rows that cannot be read are left out, with a warning.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        (head, *rows), _ = read_rows(path, "one row an epoch")
    except DataError as error:
        warnings.warn(f"{error}; the run is used without its history", CellclfWarning, stacklevel=3)
        return []
    found, bad = [], 0
    for row in rows:
        try:
            found.append({name: _value(text) for name, text in zip(head, row, strict=True)})
        except ValueError:
            bad += 1
    if bad:
        text = f"{path}: {bad} of {len(rows)} rows cannot be read and are left out; it is not needed to predict"
        warnings.warn(text, CellclfWarning, stacklevel=3)
    return found


def _value(text: str) -> Any:
    text = restored(text.strip())
    if (said := text.lower()) in _TRUTHS:
        return _TRUTHS[said]
    return int(text) if text.isdecimal() else float(text.replace(",", "."))


_TRUTHS = {
    **dict.fromkeys(("true", "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar"), True),
    **dict.fromkeys(("false", "falsch", "faux", "falso", "onwaar"), False),
}
"""How spreadsheets of several languages write a truth value."""


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
    keras = manifest.get("versions", {}).get("keras", "?")
    made = f"it was written with keras {keras} (here {installed_version('keras')})"
    for name, package in plugins.items():
        there = f"{name!r} (package {package}; here {installed_version(package.split(' ')[0])})"
        made += f" and the plugin {there}: import the module that defines its layers first, or "
        made += f"pip install '{package.replace(' ', '==')}'"
    return made
