"""Files of arrays as others write them, whole or damaged, and what is right for each. A part of fuzz_files.py."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_outcome import REFUSED, Outcome, Random, spelled, wrong

import cellclf as cc

IMAGE_KEYS, LABEL_KEYS = ("images", "x", "X", "image"), ("labels", "y", "Y", "label")


def as_rgb(array: np.ndarray) -> np.ndarray | None:
    """Compute 8-bit RGB as documented, in floats; None for what is no image of 0-255."""
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (3, 4):
        return None
    if array.ndim == 3 and array.shape[2] in (3, 4):
        return None  # one image
    values = array / 257 if array.dtype == np.uint16 else array.astype(float)
    values = values[..., None] if array.ndim == 3 else values
    if values.shape[3] == 1:
        return values.repeat(3, 3)
    if values.shape[3] == 4:
        share = values[..., 3:] / 255
        return values[..., :3] * share + 255 * (1 - share)
    return values if values.shape[3] == 3 else None


def arrays_in(path: Path) -> dict[str, np.ndarray | None]:
    """Read the arrays of an npz with zipfile and NumPy, None for damaged ones."""
    found: dict[str, np.ndarray | None] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            try:
                with archive.open(member) as file:
                    data = file.read()
                array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
                assert array.nbytes < 1e8
            except Exception:
                array = None
            found[member.filename.removesuffix(".npy")] = array
    return found


def texts(array: np.ndarray) -> list[str]:
    """Give a column as texts; bytes are UTF-8."""
    array = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array.astype(str)
    return array.tolist()


def outcome_of(path: Path) -> Outcome:
    """Compute the outcome of an npz from what NumPy reads."""
    try:
        arrays = arrays_in(path)
    except Exception:
        return REFUSED
    images = next((key for key in IMAGE_KEYS if key in arrays), None)
    if images is None or arrays[images] is None or (pixels := as_rgb(arrays[images])) is None:
        return REFUSED
    key = next((key for key in LABEL_KEYS if key in arrays), None)
    used = [name for name in (key, "class_names", "ids", "groups", "clusters", "sizes") if name in arrays]
    if any(arrays[name] is None for name in used):
        return REFUSED
    count = len(pixels)
    ids = texts(arrays["ids"]) if "ids" in arrays else [str(k) for k in range(count)]
    groups = texts(arrays["groups"]) if "groups" in arrays else None
    if len(ids) != count or len(set(ids)) < count or (groups is not None and len(groups) != count):
        return REFUSED
    names = [spelled(name) for name in texts(arrays["class_names"])] if "class_names" in arrays else None
    if names is not None and len(set(names)) < len(names):
        return REFUSED
    labels = None
    if key is not None:
        values = arrays[key]
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.shape != (count,):
            return REFUSED
        if values.dtype.kind in "US":
            labels = [spelled(text) for text in texts(values)]
            if names is not None and not set(labels) <= set(names):
                return REFUSED
        else:
            if values.dtype.kind not in "iubf" or not np.isfinite(values.astype(float)).all():
                return REFUSED
            whole = values.astype(float)
            if (whole != whole.round()).any() or (count and whole.min() < 0):
                return REFUSED
            numbers = whole.astype(int).tolist()
            if names is not None and count and max(numbers) >= len(names):
                return REFUSED
            labels = [str(k) if names is None else names[k] for k in numbers]
    return Outcome(False, pixels, [spelled(i) for i in ids], labels, groups and [spelled(g) for g in groups])


NAMES = (
    "round",
    "lobed",
    "Ünal",
    "细胞",
    "=1+1",
    "a,b;c",
    "<b>",
    "line\nbreak",
    "\x1b[31mred",
    "a/b",
    "'x",
    "naïve cell",
)


def make_npz(rng: Random, folder: Path) -> Path:
    """Write an npz: of every spelling, with every mistake, whole or damaged."""
    path, count = folder / "cells.npz", int(rng.integers(1, 9))
    height, width = (int(rng.integers(1, 13)) for _ in range(2))
    if rng.random() < 0.03:  # mapped, not read
        count, height, width = 8, 220, 220
    kind = rng.choice(
        [
            "rgb",
            "rgb",
            "rgb",
            "grey",
            "grey1",
            "rgba",
            "deep",
            "deepgrey",
            "unit",
            "wide",
            "first",
            "one",
            "nan",
            "bool",
        ]
    )
    shape: tuple[int, ...] = (count, height, width, 3)
    images: Any = rng.integers(0, 256, shape, np.uint8)
    if kind in ("grey", "deepgrey"):
        images = images[..., 0]
    images = {
        "grey1": lambda: images[..., :1],
        "rgba": lambda: rng.integers(0, 256, (*shape[:3], 4), np.uint8),
        "deep": lambda: images.astype(np.uint16) * 257,
        "deepgrey": lambda: rng.integers(60_000, 65_536, images.shape, np.uint16),
        "unit": lambda: images / 255,
        "wide": lambda: images.astype(np.int64),
        "first": lambda: images.transpose(0, 3, 1, 2),
        "one": lambda: images[0],
        "nan": lambda: np.full(shape, np.nan, np.float32),
        "bool": lambda: images > 100,
    }.get(str(kind), lambda: images)()
    if rng.random() < 0.1:
        images = np.asfortranarray(images)
    arrays: dict[str, Any] = {str(rng.choice(IMAGE_KEYS)): images}
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 5)), replace=bool(rng.random() < 0.02))]
    if rng.random() < 0.8:
        arrays[str(rng.choice(LABEL_KEYS))] = _labels(rng, count, names)
        if rng.random() < 0.6:
            arrays["class_names"] = np.array(names) if rng.random() < 0.8 else np.char.encode(names, "utf-8")
    if rng.random() < 0.3:
        ids = [f"{rng.choice(NAMES)} {k // (2 if rng.random() < 0.03 else 1)}" for k in range(count)]
        arrays["ids"] = np.array(ids)
    if rng.random() < 0.2:
        arrays["groups"] = rng.choice(["p1", "p2", "=p3"], count + int(rng.random() < 0.05))
    if rng.random() < 0.2:
        arrays[str(rng.choice(["notes", "weights", "pictures\x1b[31m", "a b"]))] = np.arange(3)
    if rng.random() < 0.02:
        arrays[str(rng.choice(list(arrays)))] = np.array([{}, None], object)
    (np.savez_compressed if rng.random() < 0.4 else np.savez)(path, **arrays)
    if rng.random() < 0.45:
        damage(rng, path)
    return path


def _labels(rng: Random, count: int, names: list[str]) -> np.ndarray:
    numbers = rng.integers(0, len(names), count)
    kind = rng.choice(["int", "int", "small", "unsigned", "column", "float", "text", "bytes", "minus", "half", "long"])
    return {
        "small": lambda: numbers.astype(np.int8),
        "unsigned": lambda: numbers.astype(np.uint64),
        "column": lambda: numbers[:, None],
        "float": lambda: numbers.astype(np.float32),
        "text": lambda: np.array(names)[numbers],
        "bytes": lambda: np.char.encode(np.array(names)[numbers], "utf-8"),
        "minus": lambda: numbers - 1,
        "half": lambda: numbers + 0.5,
        "long": lambda: np.append(numbers, 0),
    }.get(str(kind), lambda: numbers)()


def damage(rng: Random, path: Path) -> None:
    """Damage a file in one of the ways in which files are damaged."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["cut", "flip", "flip", "flip", "zeros", "empty", "text", "front", "twice", "header", "random"])
    place = int(rng.integers(0, max(1, len(data))))
    if kind == "cut":
        data = data[:place]
    elif kind == "flip":
        for k in rng.integers(0, len(data), int(rng.integers(1, 4))).tolist():
            data[k] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif kind == "empty":
        data = bytearray()
    elif kind == "text":
        data = bytearray(b"hello, this is a text\n" * 3)
    elif kind == "front":
        data = data[place:]
    elif kind == "twice":
        data = data[:place] + data[max(0, place - 40) :]
    elif kind == "header" and (at := data.find(b"'shape': (")) >= 0:
        data[at + 10 : at + 11] = bytes(str(rng.integers(10)), "ascii")
    else:
        data = bytearray(rng.integers(0, 256, 300, np.uint8).tobytes())
    path.write_bytes(data)


def fuzz_npz(rng: Random, folder: Path) -> str | None:
    """Make one npz and load it."""
    path = make_npz(rng, folder)
    return wrong(lambda: cc.load(path), outcome_of(path))
