"""What cannot be written, downloaded or read is known before the work, and what is written says it all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.command import run

import cellclf
from cellclf import BackboneSpec
from cellclf.errors import RunFolderError, WeightsError
from cellclf.utils.atomic import check_writable, replacing, write_json, write_text


@pytest.fixture
def blocked(tmp_path):
    """A file where a folder is needed."""
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file"


@pytest.mark.parametrize(
    "words",
    [
        ("dedup", "{npz}", "--apply", "{file}/kept.npz"),
        ("dedup", "{npz}", "--apply", "{file}/kept.csv"),
        ("dedup", "{npz}", "--plot", "{file}/a.png"),
        ("dedup", "{npz}", "--gallery", "{file}/a.html"),
        ("dedup", "{npz}", "--pairs", "{file}/a.csv"),
        ("leaks", "{npz}", "{npz}", "--pairs", "{file}/deep/a.parquet"),
        ("outliers", "{npz}", "--apply", "{file}/deep/deeper/kept.csv"),
        ("inspect", "{npz}", "--plot", "{file}/a.pdf"),
        ("predict", "run", "{npz}", "--out", "{file}/a.csv"),
        ("external", "run", "{npz}", "--out", "{file}/a.md"),
        ("explain", "run", "{npz}", "--out", "{file}/a.png"),
        ("robustness", "run", "{npz}", "--out", "{file}/a.json"),
        ("robustness", "{file}/run", "{npz}"),
        ("export", "run", "--out", "{file}/net.onnx"),
        ("compare", "{npz}", "residual", "sequential", "--recipe", "demo", "--out", "{file}/a"),
        ("labels", "{npz}", "--recipe", "demo", "--out", "{file}/a"),
        ("crossval", "{npz}", "--recipe", "demo", "--out", "{file}/a"),
        ("run", "{npz}", "--recipe", "demo", "--out", "{file}/a"),
        ("run", "{npz}", "--val", "{copy}", "--recipe", "demo", "--out", "{file}/a"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(words, npz, blocked):
    copy = shutil.copy(npz, blocked.with_name("copy.npz"))
    done = run(*(word.format(npz=npz, file=blocked, copy=copy) for word in words))
    assert done.exit_code == 1, done.output
    assert "is a file" in done.stderr and "choose another name" in done.stderr
    assert done.stdout == "" and done.stderr.splitlines()[-1].startswith("cellclf: ")
    assert blocked.read_text() == "mine"


def test_check_finds_it_too(npz, recipe, blocked):
    done = run("run", npz, "--recipe", recipe, "--check", "--out", blocked / "run")
    assert done.exit_code == 3 and "is a file; choose another name" in done.stderr


def no_weights(shape, *, weights):
    if weights is not None:
        raise WeightsError("the 'imagenet' weights cannot be loaded (Name or service not known); pass weights=FILE")
    import keras

    pixels = keras.Input(shape)
    return keras.Model(pixels, keras.layers.Conv2D(4, 3, name="conv")(pixels))


def test_weights_that_cannot_be_downloaded_are_found_by_check(npz):
    spec = BackboneSpec(
        name="far",
        build=no_weights,
        summary="a test",
        source="a test",
        min_size=8,
        blocks=("conv",),
        weights=("imagenet",),
    )
    cells = cellclf.load(npz)
    for weights, message in (("imagenet", "service not known"), ("default", "service not known"), (None, None)):
        pipe = cellclf.Pipeline(trainer=cellclf.Trainer(backbone=cellclf.Backbone(spec, weights=weights)))
        pipe.check(cells)  # asks no network
        if message is None:
            pipe.check_weights()
            continue
        for work in (pipe.check_weights, lambda pipe=pipe: pipe.run(cells)):
            with pytest.raises(WeightsError, match=message):
                work()


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter on Windows")
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("{file}/a", "is a file"),
        ("{file}/b/c", "is a file"),
        ("/proc/a.csv", ""),
        ("/sys/a/b.csv", ""),
        ("{tmp}/" + "x" * 300, "too long"),
        ("{tmp}/" + "x" * 300 + "/a.csv", "too long"),
    ],
)
def test_places_where_nothing_can_be_written(place, why, blocked, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RunFolderError, match=f"cannot write .*{why}.*; choose another name or folder"):
        check_writable(place.format(file=blocked, tmp=tmp_path))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "name", ["a", "deep/deeper/a.csv", "x" * 250, "细" * 80 + ".csv", ".a", "a b;c'\".npz", "file"]
)
def test_places_where_something_can_be_written(name, blocked, tmp_path):
    before = sorted(tmp_path.iterdir())
    check_writable(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before and blocked.read_text() == "mine"
    assert write_text(tmp_path / name, "new").read_text() == "new"


def test_two_writers_of_one_file_never_share_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in two containers
    with replacing(tmp_path / "a.txt") as one, replacing(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a.txt").read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


NAMES = (b"Zellen_\xfc", b"\xe4\xf6", b"a\xffb", b"\xc3", b"caf\xe9", b"\x80", b"\xed\xa0\x80", b"x\xfe.y")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_utf_8_is_written_and_read_back(name, tmp_path):
    text = os.fsdecode(name)
    assert json.loads(write_json(tmp_path / "a.json", {"src": text}).read_text("utf-8")) == {"src": text}
    src = os.fsencode(tmp_path) + b"/" + name + b".npz"
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1] * 6)
    os.rename(tmp_path / "a.npz", src)
    out = os.fsencode(tmp_path) + b"/" + name + b"-kept.npz"
    command = [sys.executable.encode(), b"-m", b"cellclf", b"dedup", src, b"--apply", out]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(out) and b"\\x" in done.stdout
    done.stdout.decode("utf-8")
