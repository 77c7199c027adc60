"""Damaged run folders: loaded with what is whole, or refused. A part of fuzz_files.py."""

from __future__ import annotations

import json
import shutil
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_npz import damage
from fuzz_outcome import Random, spelled, unreadable

import cellclf as cc
from cellclf.errors import CellclfError, CellclfWarning

SIDE = 8
CELLS = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), np.uint8)


def make_run(folder: Path) -> np.ndarray:
    """Save a small calibrated run; give what its network says of some images, computed by Keras alone."""
    import keras

    images = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    start = keras.initializers.RandomNormal(seed=3)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax", kernel_initializer=start)(pooled))
    row = {"stage": 1, "epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 0.001, "seconds": 3.2, "best": True}
    manifest = {"status": "finished", "image_shape": [SIDE, SIDE, 3], "seconds": 3.2, "versions": {"keras": "3"}}
    manifest |= {"data": {"train": {"images": 8}}, "plugins": {}, "trainer": {"seed": 3}}
    run = cc.Run(model, ("round", "lobed"), [row], manifest)
    cells = cc.ImageSet(CELLS, [0, 1] * 8, class_names=["round", "lobed"])
    run.calibrate(cells[:8], cells[8:], show=False)
    run.save(folder)
    return np.asarray(keras.models.load_model(folder / "model.keras", compile=False).predict_on_batch(CELLS))


def mangled(rng: Random, value: Any) -> Any:
    """Change a value of JSON."""
    choices = [None, 7, -1.5, "text", "", [], {}, [1, "a"], {"a": 1}, True, "\x1b[2J", "x" * 5000, [[]], 10**40]
    return choices[int(rng.integers(len(choices)))]


def damaged_run(rng: Random, whole: Path, folder: Path) -> tuple[bool | None, str]:
    """Copy a run and damage one of its files; say whether it must load (None: either), and what was done."""
    shutil.copytree(whole, folder)
    name = str(
        rng.choice(["model.keras", "confidence.npz", "features.npz", "manifest.json", "manifest.json", "history.csv"])
    )
    path, before = folder / name, (whole / name).read_bytes()
    what = str(rng.choice(["damage", "damage", "delete", "json"])) if name == "manifest.json" else "damage"
    if what == "delete" or (what == "damage" and rng.random() < 0.05):
        path.unlink()
        return name not in ("model.keras", "manifest.json"), f"{name} deleted"
    if what == "json":
        manifest = json.loads(before)
        key = str(rng.choice(list(manifest)))
        if rng.random() < 0.3:
            del manifest[key]
        else:
            manifest[key] = mangled(rng, manifest[key])
        path.write_text(json.dumps(manifest), "utf-8")
    else:
        damage(rng, path)
    if path.read_bytes() == before or name in ("history.csv", "features.npz"):
        return True, name
    if name == "manifest.json":
        return _manifest_is_fine(path, json.loads(before)), name
    return (None if _same_zip(path, whole / name) else False), name


def _manifest_is_fine(path: Path, before: dict[str, Any]) -> bool:
    try:
        found = json.loads(path.read_bytes())
        names = found["class_names"]
        assert isinstance(names, list) and len(names) == 2 and all(isinstance(name, str) for name in names)
        assert spelled(names[0]) != spelled(names[1])
    except Exception:
        return False
    size, weights = found.get("image_shape"), found.get("end_sha256")
    if isinstance(size, list) and size != before["image_shape"]:
        return False
    if isinstance(weights, str) and weights != before["end_sha256"]:
        return False
    return found.get("status") != "training"


def _same_zip(path: Path, other: Path) -> bool:
    """Whether all that a damaged zip file holds is there, and as it was."""
    try:
        with zipfile.ZipFile(path) as one, zipfile.ZipFile(other) as two:
            return {name: one.read(name) for name in one.namelist()} == {
                name: two.read(name) for name in two.namelist()
            }
    except Exception:
        return False


def fuzz_runs(rng: Random, folder: Path, whole: Path, expected: np.ndarray) -> str | None:
    """Damage one run and load it."""
    loads, what = damaged_run(rng, whole, folder / "run")
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            run = cc.load_run(folder / "run")
            found = run.predict_proba(CELLS, show=False)
    except CellclfError as error:
        text = str(error)
        return unreadable(text) or (f"{what}: refused: {text}" if loads else None)
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    said = [str(one.message) for one in noted if issubclass(one.category, CellclfWarning)]
    if bad := next(filter(None, map(unreadable, [*said, *run.class_names])), None):
        return bad
    if loads is False:
        return f"{what}: loaded, expected a refusal"
    if np.abs(found - expected).max() > 1e-6:
        return f"{what}: other probabilities"
    if run.confidence is None and (folder / "run" / "confidence.npz").exists():
        return f"{what}: the calibration was left out in silence"
    names = json.loads((folder / "run" / "manifest.json").read_bytes())["class_names"]
    return None if run.class_names == tuple(map(spelled, names)) else f"{what}: classes {run.class_names}"
