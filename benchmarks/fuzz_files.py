"""Files that no one would choose: each is loaded as it should be, or refused in a line. Results: docs/benchmarks.md.

    python benchmarks/fuzz_files.py npz --count 10000 --seed 1
    python benchmarks/fuzz_files.py trees --count 4000 --seed 1
    python benchmarks/fuzz_files.py csv --count 4000 --seed 1
    python benchmarks/fuzz_files.py runs --count 2500 --seed 1
    python benchmarks/fuzz_files.py recipes --count 6000 --seed 1

Each input is generated from (seed, number), and with it comes its right outcome, which NumPy, Pillow, csv, json,
tomllib and zipfile compute without cellclf: pixels within one level, labels, groups and ids; which files are skipped;
which settings a recipe has; or that there is nothing to load. Any other outcome is wrong, also an error of another
kind, a line of 1,000 characters or more, and a sign that is not printable. Wrong ones are printed with their number,
which --only repeats; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import cellclf as cc
from cellclf.errors import CellclfError, CellclfWarning

Random = np.random.Generator


@dataclass
class Outcome:
    """What is right: a set, or a refusal.

    Args:
        refused: Whether there is nothing to load; "perhaps" if it may be refused, but not loaded as something else.
        pixels: (N, H, W, 3) values 0-255; None are not compared.
        ids: N texts; None are not compared.
        labels: N class names, or None without labels.
        groups: N texts, or None.
        skipped: Ids of what is left out.
    """

    refused: bool | str = False
    pixels: np.ndarray | None = None
    ids: list[str] | None = None
    labels: list[str] | None = None
    groups: list[str] | None = None
    skipped: set[str] = field(default_factory=set)


REFUSED = Outcome(refused=True)


# what a message may be


def unreadable(text: str) -> str | None:
    """Say what is wrong with a line that people are shown; None if nothing is."""
    if len(text) >= 1000:
        return f"a line of {len(text)} characters: {text[:80]!r}"
    bad = [c for c in text if not c.isprintable() and unicodedata.category(c) != "Zs" and c not in "\u200c\u200d"]
    return f"unprintable {bad[:3]} in {text[:80]!r}" if bad else None


def spelled(name: str) -> str:
    """Spell a file name as it is shown: bytes that are no UTF-8, control and format characters as escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs" or c in "\u200c\u200d"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def wrong(load: Callable[[], cc.ImageSet], right: Outcome) -> str | None:
    """Load something and compare; give what is wrong."""
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            cells = load()
            pixels = cells.images if right.refused != "perhaps" or right.pixels is not None else None
    except CellclfError as error:
        text = str(error)
        return unreadable(text) or (None if right.refused else f"refused: {text}")
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    said += [str(one.message) for one in noted if issubclass(one.category, CellclfWarning)]
    said += [*cells.notices, *(text for one in cells.skipped for text in (one.id, one.reason)), *cells.class_names]
    if bad := next(filter(None, map(unreadable, said)), None):
        return bad
    if right.refused is True:
        return f"loaded {cells!r}, expected a refusal"
    return _differs(cells, pixels, right)


def _differs(cells: cc.ImageSet, pixels: np.ndarray | None, right: Outcome) -> str | None:
    labels = None if cells.labels is None else [cells.class_names[k] for k in cells.labels.tolist()]
    groups = None if cells.groups is None else cells.groups.tolist()
    if right.ids is not None and cells.ids.tolist() != right.ids:
        return f"ids {cells.ids.tolist()[:5]}, expected {right.ids[:5]}"
    if labels != right.labels:
        return f"labels {labels and labels[:8]}, expected {right.labels and right.labels[:8]}"
    if groups != right.groups:
        return f"groups {groups and groups[:5]}, expected {right.groups and right.groups[:5]}"
    found = {one.id for one in cells.skipped}
    if found != right.skipped:
        return f"skipped {sorted(found)[:5]}, expected {sorted(right.skipped)[:5]}"
    if not all(one.reason for one in cells.skipped):
        return "skipped without a reason"
    if right.pixels is None or pixels is None:
        return None
    if pixels.shape != right.pixels.shape:
        return f"pixels {pixels.shape}, expected {right.pixels.shape}"
    apart = np.abs(pixels.astype(float) - right.pixels).max(initial=0)
    return f"pixels differ by {apart:.1f} levels" if apart > 1 else None


# npz


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


# folders of files


def file_of(rng: Random, side: tuple[int, int]) -> tuple[bytes, str, bool]:
    """Give a file, its suffix, and whether it is an image that can be read."""
    height, width = side
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    kind = str(
        rng.choice(
            [
                "png",
                "jpg",
                "bmp",
                "tif",
                "grey",
                "palette",
                "alpha",
                "clear",
                "bits",
                "deep",
                "cmyk",
                "turned",
                "frames",
                "progressive",
                "text",
                "empty",
                "cut",
                "zeros",
                "bomb",
                "float",
                "exif16",
                "heic",
            ]
        )
    )
    buffer = io.BytesIO()
    image, smooth = Image.fromarray(rgb), Image.fromarray(rgb // 16 + 100)
    if kind in ("png", "bmp"):
        image.save(buffer, kind)
        return buffer.getvalue(), f".{kind}", True
    if kind in ("jpg", "progressive"):
        smooth.save(buffer, "JPEG", quality=int(rng.integers(60, 100)), progressive=kind != "jpg")
        return buffer.getvalue(), str(rng.choice([".jpg", ".JPEG", ".png"])), True
    if kind in ("tif", "frames"):
        more = {"save_all": True, "append_images": [smooth]} if kind == "frames" else {}
        image.save(buffer, "TIFF", compression=str(rng.choice(["raw", "tiff_lzw", "tiff_deflate"])), **more)
        return buffer.getvalue(), ".tif", True
    if kind in ("grey", "bits"):
        image.convert("L" if kind == "grey" else "1").save(buffer, "PNG")
        return buffer.getvalue(), ".png", True
    if kind == "palette":
        image.quantize(16).save(buffer, "PNG")
        return buffer.getvalue(), ".png", True
    if kind == "alpha":
        Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8)).save(buffer, "PNG")
        return buffer.getvalue(), ".png", True
    if kind == "clear":
        image.quantize(8).save(buffer, "PNG", transparency=3)
        return buffer.getvalue(), ".png", True
    if kind == "deep":
        Image.fromarray(rng.integers(60_000, 65_536, (height, width), np.uint16)).save(buffer, "PNG")
        return buffer.getvalue(), ".png", True
    if kind == "cmyk":
        smooth.convert("CMYK").save(buffer, "JPEG")
        return buffer.getvalue(), ".jpg", True
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9)) if height == width else int(rng.choice([1, 2, 3, 4]))
        smooth.save(buffer, "JPEG", exif=exif)
        return buffer.getvalue(), ".jpg", True
    image.save(buffer, "PNG")
    data = buffer.getvalue()
    if kind == "cut":
        return data[: len(data) - int(rng.integers(30, len(data) - 20))], ".png", False
    if kind == "zeros":
        return bytes(len(data)), ".png", False
    if kind == "bomb":
        return data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:], ".png", False
    if kind == "float":
        buffer = io.BytesIO()
        Image.fromarray(rng.random((height, width), np.float32)).save(buffer, "TIFF")
        return buffer.getvalue(), ".tif", False
    if kind == "empty":
        return b"", str(rng.choice([".png", ".jpg", ".tif"])), False
    return b"no image at all", str(rng.choice([".png", ".txt", "", ".csv", ".db", ".heic"])), False


def decoded(data: bytes, side: tuple[int, int]) -> np.ndarray:
    """Decode an image with Pillow: 8-bit RGB, white behind what is transparent, of one size."""
    image = Image.open(io.BytesIO(data))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = np.asarray(image) / 257
        image = Image.fromarray(np.round(grey).astype(np.uint8))
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        over = np.asarray(image.convert("RGBA")).astype(float)
        share = over[..., 3:] / 255
        image = Image.fromarray(np.round(over[..., :3] * share + 255 * (1 - share)).astype(np.uint8))
    image = image.convert("RGB")
    if (image.height, image.width) != side:
        image = image.resize((side[1], side[0]), Image.Resampling.LANCZOS)
    return np.asarray(image).astype(float)


ODD = (
    "a",
    "b c",
    "Ünal",
    "细胞",
    "=1+1",
    "x'y",
    "a;b",
    "-1",
    "100%",
    "\x1b[31m",
    "new\nline",
    "\udcfc",
    "a" * 120,
    "7",
    "#1",
)


def make_tree(rng: Random, root: Path) -> Outcome:
    """Write a folder for each class, with files of every kind; give its outcome."""
    side = (
        (int(rng.integers(4, 14)),) * 2 if rng.random() < 0.5 else (int(rng.integers(4, 14)), int(rng.integers(4, 14)))
    )
    root.mkdir()
    classes = [str(name) for name in rng.choice(ODD, int(rng.integers(1, 5)), replace=False)]
    found: list[tuple[str, str, np.ndarray]] = []
    skipped: set[str] = set()
    for name in classes:
        for k in range(int(rng.integers(0, 6))):
            deeper = "" if rng.random() < 0.8 else "deeper/"
            data, suffix, good = file_of(rng, side)
            file = f"{name}/{deeper}{rng.choice(ODD)}{k}{suffix}"
            path = os.path.join(root, file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_bytes(data)
            if good:
                found.append((name, file, decoded(data, side)))
            else:
                skipped.add(spelled(file))
        if rng.random() < 0.2:
            os.makedirs(os.path.join(root, name, ".hidden"), exist_ok=True)
            Path(os.path.join(root, name, ".hidden", "a.png")).write_bytes(b"x")
    if rng.random() < 0.2:
        (root / "notes.txt").write_text("no image")
        skipped.add("notes.txt")
    if not found:
        return REFUSED
    # as os.walk lists them: classes in order, in each the files of a folder before those of the folders in it
    kept = sorted({name for name, _, _ in found}, key=spelled)
    if all(spelled(name).isdecimal() for name in kept):
        kept.sort(key=int)
    ordered = [
        one
        for name in kept
        for one in sorted((one for one in found if one[0] == name), key=lambda one: (one[1].count("/"), one[1]))
    ]
    return Outcome(
        pixels=np.stack([pixels for _, _, pixels in ordered]),
        ids=[spelled(file) for _, file, _ in ordered],
        labels=[spelled(name) for name, _, _ in ordered],
        skipped=skipped,
    )


def fuzz_trees(rng: Random, folder: Path) -> str | None:
    """Make one tree and load it."""
    right = make_tree(rng, folder / "cells")
    return wrong(lambda: cc.load(folder / "cells", show=False), right)


# tables


def make_csv(rng: Random, folder: Path) -> tuple[Path, Outcome]:
    """Write images and a table of them, in every spelling of a table; give its outcome."""
    side = (8, 8)
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    classes = [str(name) for name in rng.choice(["round", "lobed", "=sum", "-1", "'x", "naïve", "x|y", "@b"], 3, False)]
    labelled, grouped = rng.random() < 0.8, rng.random() < 0.4
    separator = str(rng.choice([",", ";", "\t"])) if labelled or grouped else ","
    head = [
        str(rng.choice(["path", "file", "filename", "image", "Path", " FILE "])),
        *([str(rng.choice(["label", "class", "Target"]))] if labelled else []),
        *([str(rng.choice(["group", "patient", "slide"]))] if grouped else []),
    ]
    rows: list[list[str]] = []
    right = Outcome(ids=[], labels=[] if labelled else None, groups=[] if grouped else None)
    pixels: list[np.ndarray] = []
    for k in range(int(rng.integers(1, 9))):
        data, suffix, good = file_of(rng, side)
        name = f"{rng.choice(['a', 'b c', '=1', '-2', 'Ü', 'x,y', 'p;q'])}{k}{suffix or '.png'}"
        label, group = str(rng.choice(classes)), str(rng.choice(["p1", "p2", "+7"]))
        fate = str(rng.choice(["fine"] * 7 + ["missing", "twice", "nameless"] + ["unlabelled"] * (k > 0)))
        if fate != "missing":
            (folder / name).write_bytes(data)
        shown = name if rng.random() < 0.8 else os.path.join(".", name)
        disarm = rng.random() < 0.5  # as a program writes it that knows what spreadsheets do
        cells = ["" if fate == "nameless" else shown]
        cells += ["" if fate == "unlabelled" else label] if labelled else []
        cells += [group] if grouped else []
        cells = ["'" + cell if disarm and cell[:1] in tuple("=+-@'") else cell for cell in cells]
        rows += [cells] * (2 if fate == "twice" else 1)
        if fate == "nameless":
            if any(cell.strip() for cell in cells):
                right.skipped.add(spelled(",".join(cells)))
            continue
        if (fate == "unlabelled" and labelled) or fate == "missing" or not good:
            right.skipped.add(spelled(shown))
            continue
        if fate == "twice":
            right.skipped.add(spelled(shown))
        right.ids.append(spelled(shown))
        pixels.append(decoded(data, side))
        if labelled:
            right.labels.append(label)
        if grouped:
            right.groups.append(group)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=str(rng.choice(["\n", "\r\n"])))
    writer.writerows([head, *rows])
    path = folder / "cells.csv"
    path.write_bytes(text.getvalue().encode(encoding, "replace"))
    right.pixels = np.stack(pixels) if pixels else None
    if not pixels:
        return path, REFUSED
    if encoding in ("utf-16", "cp1252") and not text.getvalue().isascii():
        right.refused, right.pixels = "perhaps", None
        return path, right
    if encoding == "utf-16":
        right.refused = "perhaps"
    if rng.random() < 0.1:
        damage(rng, path)
        return path, Outcome(refused="anything")
    return path, right


def fuzz_csv(rng: Random, folder: Path) -> str | None:
    """Make one table and load it."""
    path, right = make_csv(rng, folder)
    if right.refused == "anything":  # a table has no checksum: it is read as what it says now, or refused in a line
        said = wrong(lambda: cc.load(path, show=False), REFUSED)
        return None if said is not None and said.startswith("loaded") else said
    return wrong(lambda: cc.load(path, show=False), right)


# run folders


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


# recipes


def number(low: float, high: float) -> Callable[[Random], Any]:
    """Give numbers between two limits, neither of which is among them."""
    return lambda rng: float(rng.uniform(low + 1e-6, high - 1e-6))


def whole(low: int, high: int) -> Callable[[Random], Any]:
    """Give whole numbers."""
    return lambda rng: int(rng.integers(low, high + 1))


def one_of(*values: Any) -> Callable[[Random], Any]:
    """Give one of some values."""
    return lambda rng: values[int(rng.integers(len(values)))]


SETTINGS: dict[str, tuple[Callable[[Random], Any], list[Any]]] = {
    "seed": (whole(0, 2**31), [-1, 1.5, "seven", [1]]),
    "split.val": (number(0.1, 0.4), [1.5, -0.1, "a fifth", [0.2], float("nan")]),
    "split.test": (number(0.05, 0.3), [1.0, -1, "none of it", float("inf")]),
    "dedup.max_copies": (whole(2, 50), [0, -3, 2.5, "many"]),
    "dedup.augmented": (one_of("auto", "cluster", "remove", "off"), ["yes", 3, ["auto"]]),
    "outliers.threshold": (number(0.5, 2), [float("nan"), "high", [1.0]]),
    "trainer.batch_size": (whole(1, 512), [0, -8, 2.5, "many", [32]]),
    "trainer.optimizer": (one_of("adam", "adamw", "sgd", "lion", "rmsprop"), ["adamm", 3, ["adam"]]),
    "trainer.weight_decay": (number(0, 0.1), [-0.1, "small", float("nan"), float("inf")]),
    "trainer.label_smoothing": (number(0, 0.5), [1.5, -0.1, "a little", float("nan")]),
    "trainer.class_weight": (one_of("balanced"), ["even", 3.5]),
    "trainer.ema": (number(0.5, 0.999), [1.5, -0.1, "slow"]),
    "trainer.backbone": (one_of("residual", "sequential", "inception"), ["residuel", 7, ["residual"]]),
    "trainer.head.dropout": (number(0, 0.9), [1.5, -0.5, "half"]),
    "trainer.head.units": (one_of([], [16], [32, 16]), [[-1], [2.5], "wide", [[16]]]),
    "trainer.stages.epochs": (whole(1, 100), [0, -1, 2.5, "some", [3]]),
    "trainer.stages.learning_rate": (number(0, 0.01), [0, -1e-3, "low", float("nan")]),
    "trainer.stages.patience": (whole(1, 30), [-1, 2.5, "a while"]),
    "trainer.stages.monitor": (one_of("val_loss", "val_macro_f1"), ["val_losss", 3]),
}
"""Good values of settings, and values that must be refused."""

SLIPS = {"batch_size": "batchsize", "val": "vall", "optimizer": "optimiser", "epochs": "epoch", "dropout": "drop_out"}


def toml_value(value: Any) -> str:
    """Write a value as TOML; JSON is that, but for numbers that JSON lacks."""
    if isinstance(value, float):
        return repr(value)
    return "[" + ", ".join(map(toml_value, value)) + "]" if isinstance(value, list) else json.dumps(value)


def fuzz_recipes(rng: Random, folder: Path) -> str | None:
    """Write one recipe, right or wrong, and read it as a file with settings on the command line."""
    chosen = {name: SETTINGS[name][0](rng) for name in SETTINGS if rng.random() < 0.4}
    chosen.setdefault("trainer.backbone", "residual")
    blamed, what = "", str(rng.choice(["right", "right", "value", "slip", "table", "syntax", "bytes"]))
    if what == "value":
        blamed = str(rng.choice(list(SETTINGS)))
        chosen[blamed] = one_of(*SETTINGS[blamed][1])(rng)
    if what == "table":
        blamed = str(rng.choice(["split", "trainer", "dedup"]))
        chosen = {name: value for name, value in chosen.items() if not name.startswith(f"{blamed}.")}
        chosen[blamed] = one_of(7, "some text", 1.5)(rng)
    if any("stages" in name for name in chosen):  # of a stage, two settings have no default
        for name in ("trainer.stages.epochs", "trainer.stages.learning_rate"):
            chosen.setdefault(name, SETTINGS[name][0](rng))
    # what stands in no list of tables can be given on the command line as well
    later = [name for name in chosen if "stages" not in name and rng.random() < 0.3 and what != "table"]
    texts = [f"{name}={toml_value(chosen[name])}" for name in later]
    text = recipe_of({name: value for name, value in chosen.items() if name not in later})
    if what == "slip":
        blamed = one_of(*SLIPS.items())(rng)
        good, bad = blamed
        where = {"val": "split", "epochs": "trainer.stages", "dropout": "trainer.head"}.get(good, "trainer")
        chosen = {f"{where}.{good}": SETTINGS[f"{where}.{good}"][0](rng), "trainer.backbone": "residual"}
        if good == "epochs":
            chosen["trainer.stages.learning_rate"] = 1e-3
        text, texts, blamed = recipe_of(chosen).replace(f"{good} =", f"{bad} ="), [], bad
    content = text.encode()
    if what == "syntax":
        content = (
            text.encode() + str(rng.choice(["\n[", "\nkey", '\nname = "open', "\n[a]\n[a]\n", "\nx = 1 2"])).encode()
        )
    if what == "bytes":
        content = b"\xff\xfe" + content if rng.random() < 0.5 else content + b'\nname = "\xe9"\n'
    path = folder / "recipe.toml"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            pipe = cc.Pipeline.from_recipe(path, texts)
            pipe.check(MADE)
    except CellclfError as error:
        said = str(error)
        if what == "right":
            return f"{texts} {text}: refused: {said}"
        return unreadable(said) or (
            None if blamed.rpartition(".")[2] in said else f"{what} {blamed}: it is not named: {said}"
        )
    except Exception as error:
        return f"{what} {blamed}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    if what != "right":
        return f"{what} {blamed}={chosen.get(blamed)!r}: accepted"
    found = pipe.to_dict()
    for name, value in chosen.items():
        if name == "seed":  # of all parts that name none
            name = "split.seed"
        here = at(found, name)
        if here != value and not (isinstance(here, dict) and here.get("name") == value):
            return f"{name} is {here!r}, expected {value!r}"
    return None if cc.Pipeline.from_recipe(found) == pipe else "its own recipe makes another pipeline"


MADE = cc.make_cells(60, size=64, seed=3, balance="even")


def recipe_of(chosen: dict[str, Any]) -> str:
    """Write settings as TOML."""
    tables: dict[str, list[str]] = {}
    for name, value in chosen.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {toml_value(value)}")
    lines = tables.pop("", [])
    for table, rows in sorted(tables.items()):
        lines += [f"[[{table}]]" if table.endswith("stages") else f"[{table}]", *rows]
    return "\n".join(lines) + "\n"


def at(table: Any, name: str) -> Any:
    """Give a setting of a recipe; of stages, the first one's."""
    for key in name.split("."):
        table = table[0].get(key) if isinstance(table, list) else table.get(key)
    return table


KINDS: dict[str, Callable[[Random, Path], str | None]] = {
    "npz": fuzz_npz,
    "trees": fuzz_trees,
    "csv": fuzz_csv,
    "recipes": fuzz_recipes,
}


def fuzz(kind: str, count: int, seed: int, only: int | None = None) -> int:
    """Try some inputs of a kind; give how many outcomes are wrong."""
    bad = 0
    with contextlib.ExitStack() as stack:
        work = KINDS.get(kind)
        if work is None:
            whole = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
            expected = make_run(whole)
            work = lambda rng, folder: fuzz_runs(rng, folder, whole, expected)  # noqa: E731  # of these two
        for number in range(count) if only is None else [only]:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                said = work(np.random.default_rng([seed, *kind.encode(), number]), Path(folder))
            if said is not None:
                bad += 1
                print(f"{kind} --seed {seed} --only {number}: {said}".encode("utf-8", "backslashreplace").decode())
    return bad


def main() -> None:
    """Read the command line, and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*KINDS, "runs"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="repeat this number alone")
    options = parser.parse_args()
    bad = fuzz(options.kind, options.count, options.seed, options.only)
    print(f"{options.kind}: {options.count if options.only is None else 1:,} inputs, {bad} wrong")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
