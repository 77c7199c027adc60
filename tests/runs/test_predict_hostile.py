"""``cellclf predict`` on any files in a folder: each has a row, and memory does not grow with them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.hostile import bomb
from PIL import Image

import cellclf as cc
from cellclf.cli import main

SIDE = 48
RGB = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in a folder; its weights do not matter."""
    import keras

    images = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(3, "softmax")(pooled))
    names = ("dark", "grey", "light")
    made = cc.Run(model, names, manifest={"status": "finished", "class_names": list(names)})
    cells = cc.make_cells(120, size=SIDE, seed=1)
    cells = cells.replace(labels=np.arange(120) % 3, class_names=names)
    made.calibrate(cells[:60], cells[60:])
    return made.save(tmp_path_factory.mktemp("runs") / "a")


def encoded(kind, size=(SIDE, SIDE)):
    buffer = io.BytesIO()
    Image.fromarray(RGB).resize(size).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def hostile(tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, data in {
        "good.png": encoded("png"),
        "細胞 🧬.jpg": encoded("jpeg"),
        "large.png": encoded("png", (3000, 2000)),
        "text.png": b"no image",
        "empty.jpg": b"",
        "bomb.png": bomb(30_000, 30_000),
        "cut.jpg": encoded("jpeg")[:-400],
        "notes.txt": b"x",
    }.items():
        (folder / name).write_bytes(data)
    (folder / "huge.png").touch()
    os.truncate(folder / "huge.png", 100_000_000)
    if os.name != "nt":
        (folder / "two\nlines.png").write_bytes(b"no image")
        (folder / "self").symlink_to(folder)
        (folder / "loop.png").symlink_to(folder / "loop.png")
    return folder


def predict(*words):
    return CliRunner().invoke(main, ["predict", *map(str, words)])


def test_every_input_has_a_row_with_its_class_or_the_reason(run, hostile, tmp_path):
    done = predict(run, hostile, "--out", tmp_path / "named.json", "--refuse", "0")
    assert done.exit_code == 4, done.output
    rows = json.loads((tmp_path / "named.json").read_text("utf-8"))
    named = {row["id"] for row in rows if row["class"]}
    skipped = {row["id"]: row["skipped"] for row in rows if not row["class"]}
    assert named == {"good.png", "細胞 🧬.jpg", "large.png"} and len(rows) == len(named) + len(skipped)
    assert skipped.keys() >= {"text.png", "empty.jpg", "bomb.png", "cut.jpg", "notes.txt", "huge.png"}
    assert "truncated" in skipped["cut.jpg"] and "too many pixels" in skipped["bomb.png"]
    if os.name != "nt":
        assert r"two\nlines.png" in skipped and "folder above" in skipped["self"] and "symbolic" in skipped["loop.png"]
    assert f"skipped (the table gives the reasons): {len(skipped)}" in done.stderr
    assert f"and {len(skipped) - 5} more skipped" in done.stderr and "3 predictions" in done.stdout
    printed = predict(run, hostile)
    assert [row["id"] for row in csv.DictReader(io.StringIO(printed.stdout))] == [row["id"] for row in rows]


def test_nothing_readable_is_one_line_and_exit_code_1(run, hostile, tmp_path):
    for name in ("good.png", "細胞 🧬.jpg", "large.png"):
        (hostile / name).unlink()
    done = predict(run, hostile, "--out", tmp_path / "named.csv")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "names no readable image" in done.stderr
    assert not (tmp_path / "named.csv").exists()
    for name in ("bomb.png", "huge.png", "empty.jpg"):
        assert predict(run, hostile / name).exit_code == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows does not report the peak of a process that ended")
def test_ten_thousand_files_take_no_more_memory_than_some_hundred(run, tmp_path):
    some = [np.random.default_rng(k).integers(0, 256, (96, 96, 3), np.uint8) for k in range(10)]
    data = [io.BytesIO() for _ in some]
    for pixels, buffer in zip(some, data, strict=True):
        Image.fromarray(pixels).save(buffer, "jpeg")
    peaks = []
    for count in (600, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for k in range(count):
            (folder / f"{k}.jpg").write_bytes(b"" if k % 1000 == 999 else data[k % 10].getvalue())
        out = tmp_path / f"{count}.csv"
        words = [sys.executable, "-m", "cellclf", "predict", run, folder, "--out", out]
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
        with (tmp_path / "output").open("w+") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output, env=env)
            _, status, usage = os.wait4(process.pid, 0)  # the peak of this process alone
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            assert process.returncode == 0, output.read()
        with out.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count and sum(bool(row["skipped"]) for row in rows) == count // 1000
        peaks.append(usage.ru_maxrss)
    grown = (peaks[1] - peaks[0]) * (1 if sys.platform == "darwin" else 1024)
    print(f"grown by {grown / 1e6:.0f} MB")
    assert grown < 100e6, "their pixels are 276 MB"
