"""Folders of image files, and what is right for each. A part of fuzz_files.py."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from fuzz_outcome import REFUSED, Outcome, Random, spelled, wrong
from PIL import Image, ImageOps

import cellclf as cc


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
