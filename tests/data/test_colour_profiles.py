"""Colour profiles: an image looks the same whatever its numbers are relative to, and what was converted is reported."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from cellclf import DataError, load, make_cells

CELLS = make_cells(4, size=24, seed=3).images


def profile(name: str, gamma: float, primaries: tuple[tuple[float, float, float], ...] = ()) -> bytes:
    """Write a small profile: grey, or of three primaries (relative to D50)."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    words = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)
    tags = [(b"desc", words + bytes(-len(words) % 4)), (b"wtpt", b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249))]
    if primaries:
        for letter, primary in zip(b"rgb", primaries, strict=True):
            tags += [(bytes([letter]) + b"XYZ", b"XYZ \0\0\0\0" + fixed(*primary)), (bytes([letter]) + b"TRC", curve)]
    else:
        tags.append((b"kTRC", curve))
    start, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, value in tags:
        table += tag + struct.pack(">II", start + len(data), len(value))
        data += value
    space = b"RGB " if primaries else b"GRAY"
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + data


WIDE = profile("Wide RGB", 2.2, ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)))
GREY = profile("Linear Grey", 1.0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def stored(image: np.ndarray, own: bytes) -> Image.Image:
    """Give an image in the numbers of a profile."""
    return ImageCms.profileToProfile(
        Image.fromarray(image), ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(own)), 1
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".alpha.png"])
def test_wide_colours_come_to_srgb(tmp_path: Path, suffix: str) -> None:
    for k, cell in enumerate(CELLS):
        image = stored(cell, WIDE)
        if "alpha" in suffix:
            image.putalpha(Image.new("L", image.size, 255))
        image.save(tmp_path / f"{k}{suffix}", icc_profile=WIDE, **({"quality": 98} if suffix == ".jpg" else {}))
    found = load(tmp_path)
    assert "colours of the profile 'Wide RGB' converted to sRGB" in found.notices[0]
    assert np.abs(found.images.astype(int) - CELLS).mean() < (3 if suffix == ".jpg" else 0.5)


def test_linear_greys_come_to_srgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 55, np.uint8)).save(tmp_path / "a.png", icc_profile=GREY)
    found = load(tmp_path)
    assert abs(int(found.images[0, 0, 0, 0]) - 128) <= 3 and "'Linear Grey'" in found.notices[0]


@pytest.mark.parametrize(
    ("own", "notice"), [(SRGB, None), (b"nonsense", "the colour profile is damaged and ignored"), (GREY, None)]
)
def test_profiles_that_change_nothing(tmp_path: Path, own: bytes, notice: str | None) -> None:
    Image.fromarray(CELLS[0]).save(tmp_path / "a.png", icc_profile=own)
    found = load(tmp_path)
    assert (found.images[0] == CELLS[0]).all()
    assert (notice is None and not found.notices) or (notice is not None and notice in found.notices[0])


def test_rows_that_were_saved_as_pages_are_no_images(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", CELLS[0], photometric="minisblack")
    with pytest.raises(DataError, match=r"24 pages of 24x3 pixels, the rows of one image with colour as last axis"):
        load(tmp_path)
    assert load(tmp_path, pages="first").image_shape[:2] == (24, 3)


def test_images_of_some_pixels_are_reported(tmp_path: Path) -> None:
    Image.new("RGB", (200, 2), (9, 90, 200)).save(tmp_path / "a.png")
    assert "images of 2x200 pixels are too small to show a cell" in load(tmp_path).notices[0]
