"""Files of every kind in a folder of images: none stops the work, and every one is reported."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers.hostile import bomb
from PIL import Image

import cellclf as cc
from cellclf.errors import DataError
from cellclf.utils import npz_files

POSIX = pytest.mark.skipif(os.name == "nt", reason="links, pipes and such names are another matter on Windows")
RGB = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def encoded(pixels, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_hostile(root):
    """Write one of each kind; give what each reason must contain."""
    (root / "huge.png").touch()
    os.truncate(root / "huge.png", 100_000_000)
    for name, data in {
        "text.png": b"no image",
        "empty.jpg": b"",
        "bomb.png": bomb(30_000, 30_000),
        "wide.png": bomb(60_000, 1_000),
        "cut.jpg": encoded(RGB, "jpeg")[:-300],
        "notes.txt": b"x",
    }.items():
        (root / name).write_bytes(data)
    return {
        "huge.png": "not a jpg, png, tif or bmp",
        "text.png": "not a jpg, png, tif or bmp",
        "empty.jpg": "not a jpg, png, tif or bmp",
        "bomb.png": "far too many pixels",
        "wide.png": "60000x1000 pixels are too many",
        "cut.jpg": "truncated",
        "notes.txt": "the suffix is .txt",
    }


def reasons(cells):
    return {skipped.id: skipped.reason for skipped in cells.skipped}


@pytest.mark.parametrize("verify", [True, False])
def test_each_file_that_is_no_image_is_reported_with_its_reason(tmp_path, verify):
    expected = write_hostile(tmp_path)
    (tmp_path / "good.png").write_bytes(encoded(RGB))
    (tmp_path / "large.png").write_bytes(encoded(np.zeros((3000, 2000), np.uint8)))
    cells = cc.load(tmp_path, size=(24, 24), verify=verify)
    if not verify:
        expected.pop("cut.jpg")  # its header is whole
    found = reasons(cells)
    assert found.keys() == expected.keys() and all(message in found[name] for name, message in expected.items())
    assert {"good.png", "large.png"} <= set(cells.ids.tolist())
    assert cells.sizes[cells.ids.tolist().index("large.png")].tolist() == [3000, 2000]
    assert cells.subset(np.isin(cells.ids, ["good.png", "large.png"])).images.shape == (2, 24, 24, 3)


def test_a_folder_of_nothing_else_is_refused_in_one_line(tmp_path):
    write_hostile(tmp_path)
    with pytest.raises(DataError, match="names no readable image, of 7 files; the first") as caught:
        cc.load(tmp_path)
    assert "\n" not in str(caught.value)


@POSIX
@pytest.mark.timeout(60)
def test_links_in_circles_and_pipes_end(tmp_path):
    root = tmp_path / "cells"
    (root / "round").mkdir(parents=True)
    (root / "round" / "a.png").write_bytes(encoded(RGB))
    (root / "self").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "round" / "back").symlink_to(root)
    (root / "round" / "also").symlink_to("..")
    (root / "loop").symlink_to(root / "loop")
    (root / "round" / "loop.png").symlink_to(root / "round" / "loop.png")
    os.mkfifo(root / "round" / "pipe.png")
    cells = cc.load(root)
    assert cells.ids.tolist() == ["round/a.png"] and cells.class_names == ("round",)
    found = reasons(cells)
    assert all("folder above" in found[name] for name in ("self", "above", "round/back", "round/also"))
    assert "pipe" in found["round/pipe.png"] and "symbolic links" in found["round/loop.png"] and "loop" in found
    assert cc.load(root, verify=False).ids.tolist() == ["round/a.png"]
    below = cc.load(str(root / "**" / "*.png"))
    assert [os.path.basename(name) for name in below.ids.tolist()] == ["a.png"] and len(below.skipped) == 2


@POSIX
def test_names_of_every_kind_are_one_line_each(tmp_path):
    names = [
        "new\nline",
        "car\rriage",
        "\x1b[31mred",
        "\u2028line",
        "細胞 \U0001f9ec",
        "quote\"'",
        "a,b;c",
        "=1+1",
        "-x",
    ]
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(encoded(RGB))
        (tmp_path / f"{name}.jpg").write_bytes(b"no image")
    cells = cc.load(tmp_path)
    assert len(cells) == len(names) == len(cells.skipped) and cells.images.shape == (len(names), 24, 24, 3)
    for text in (*cells.ids.tolist(), *reasons(cells)):
        assert len(text.splitlines()) == 1 and "\x1b" not in text
    assert r"new\nline.png" in cells.ids and "細胞 \U0001f9ec.png" in cells.ids


def test_a_compressed_array_that_no_memory_holds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "cells.npz"
    np.savez_compressed(path, images=np.zeros((40, 96, 96, 3), np.uint8))
    assert path.stat().st_size < 100_000 and len(cc.load(path)) == 40
    monkeypatch.setattr(npz_files, "memory", lambda: 1e6)
    with pytest.raises(DataError, match=r"cells\.npz: 'images' unpacks to 0.0 GB and .* has 0.0; .*") as caught:
        cc.load(path)
    assert str(caught.value).count("cells.npz") == 1
    np.savez(path, images=np.zeros((40, 96, 96, 3), np.uint8))
    assert len(cc.load(path)) == 40, "what is mapped needs no memory"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["images.npy"]


GROWTH = """
import os, sys, resource
os.cpu_count = lambda: 8
import numpy, PIL.Image
import cellclf
from cellclf.data import batches, decode
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
cellclf.load(sys.argv[1] + "/few", size=(96, 96)).images
before = peak()
cells = cellclf.load(sys.argv[1] + "/many", size=(96, 96))
count = sum(len(batch) for batch in cells.batches(256))
print(count, len(cells.skipped), peak() - before)
"""


def growth(root):
    """Give how many images were read, how many skipped, and by how many bytes the process grew meanwhile."""
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}  # so that glibc gives back what is freed
    done = subprocess.run([sys.executable, "-c", GROWTH, root], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@POSIX
def test_large_images_are_decoded_one_at_a_time(tmp_path):
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "small.png").write_bytes(encoded(RGB))
    write_hostile(tmp_path / "many")
    large = encoded(np.zeros((6000, 6000), np.uint8))
    for k in range(4):
        (tmp_path / "many" / f"large{k}.png").write_bytes(large)
    count, skipped, grown = growth(tmp_path)
    assert (count, skipped) == (5, 7) and grown < 1.6 * 36e6 * 5, "four at once take 4 x 180 MB"


@POSIX
@pytest.mark.slow
def test_ten_thousand_files_are_not_held_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    some = [encoded(rng.integers(0, 256, (96, 96, 3), np.uint8), "jpeg") for _ in range(10)]
    for name, number in (("few", 600), ("many", 10_000)):
        (tmp_path / name).mkdir()
        for k in range(number):
            (tmp_path / name / f"{k}.jpg").write_bytes(some[k % 10])
    count, skipped, grown = growth(tmp_path)
    assert (count, skipped) == (10_000, 0) and grown < 60e6, "their pixels are 276 MB"
