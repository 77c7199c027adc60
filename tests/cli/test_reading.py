"""How files are read is said once: the run keeps it, and everything that is done with it reads in the same way."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import tifffile
from helpers.command import run
from PIL import Image

import cellclf as cc
from cellclf.data import decode as decoding
from cellclf.pipeline.rerun import _read as images_again
from cellclf.runs.features.reader import FeatureReader

MADE = cc.make_cells(48, size=32, seed=11, balance="even")
WORDS = ("--weights", "none", "--set", "trainer.stages.0.epochs=1")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Give cells of a 12-bit camera, some of them cropped, by class."""
    root = tmp_path_factory.mktemp("camera")
    for k, (image, label) in enumerate(zip(MADE.images, MADE.labels.tolist(), strict=True)):
        place = root / MADE.class_names[label]
        place.mkdir(exist_ok=True)
        deep = image[4:28].astype(np.uint16) * 16 if k % 3 == 0 else image.astype(np.uint16) * 16
        tifffile.imwrite(place / f"{k}.tif", deep, photometric="rgb")
    return root


def counted(monkeypatch):
    """Count decodes of each file, and the images that went through the network."""
    counts, seen, lock = {}, [], threading.Lock()
    whole, batches = decoding._decoded, FeatureReader.batches

    def decoded(path, *rest):
        with lock:
            counts[str(path)] = counts.get(str(path), 0) + 1
        return whole(path, *rest)

    def reading(self, cells, rows=None, **options):
        seen.append(len(cells) if rows is None else len(rows))
        return batches(self, cells, rows, **options)

    monkeypatch.setattr(decoding, "_decoded", decoded)
    monkeypatch.setattr(FeatureReader, "batches", reading)
    return counts, seen


def test_a_run_decodes_each_file_once_or_twice_and_keeps_how_it_read(sizes, recipe, tmp_path, monkeypatch):
    counts, seen = counted(monkeypatch)
    predicted = []
    monkeypatch.setattr(cc.Run, "predict_proba", predicting(cc.Run.predict_proba, predicted))
    further = tmp_path / "further"
    further.mkdir()
    for name in MADE.class_names[:3]:
        (further / name).mkdir()
        for path in sorted((sizes / name).iterdir()):
            (further / name / path.name).write_bytes(path.read_bytes())
    images = sum(1 for _ in further.glob("*/*"))
    out = tmp_path / "run"
    words = (*WORDS, "--bits", "12", "--fit", "pad")
    done = run("run", sizes, "--recipe", recipe, *words, "--test", f"other={further}", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert (
        "16-bit colours read as 12 bits" in done.stderr
        and "padded" in done.stderr
        and "nearly black" not in done.stderr
    )
    assert len(counts) == 48 + images and max(counts.values()) <= 2, "verified, cleaned, trained and reported on"
    assert seen.count(images) == 1, "one pass for scores and domain shift"
    assert images not in predicted
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"]["bits"] == 12 and manifest["source"]["fit"] == "pad"

    counts.clear()
    done = run("evaluate", out, sizes)
    assert done.exit_code == 0 and "padded" in done.stderr and "read as 12 bits" in done.stderr
    assert max(counts.values()) <= 2
    trained = cc.load_run(out)
    read = cc.load(sizes, bits=12, fit="pad")
    assert np.array_equal(images_again(manifest["source"], out).images, read.images), "what rerun reads"
    assert np.allclose(trained.predict_proba(sizes), trained.predict_proba(read), atol=1e-5), "as a path is read"
    monkeypatch.undo()
    with pytest.warns(cc.errors.CellclfWarning, match="resized"):
        small = trained.predict_proba(cc.load(sizes, bits=12, fit="crop", size=(24, 30)))
    padded = cc.load(sizes, bits=12, fit="pad", size=(32, 32))
    assert np.allclose(small, trained.predict_proba(padded), atol=1e-5), "files are fitted as in the training"


def predicting(whole, sizes):
    def predict_proba(self, images, **options):
        sizes.append(len(images) if hasattr(images, "__len__") and not isinstance(images, str) else 0)
        return whole(self, images, **options)

    return predict_proba


def test_notices_name_the_options_of_the_command_line(sizes, tmp_path):
    done = run("run", sizes, "--check", "--recipe", "demo")
    assert "nearly black: no value reaches 4096, so pass --bits 12 for a camera of 12 bits" in done.stderr
    tifffile.imwrite(tmp_path / "a.tif", MADE.images[:4], photometric="rgb")
    assert "--pages cells makes each an image" in run("inspect", tmp_path).stdout
    assert "4 images" in run("inspect", tmp_path, "--pages", "cells").stdout
    Image.fromarray(MADE.images[0]).resize((40, 32)).save(tmp_path / "b.png")
    done = run("inspect", tmp_path, "--fit", "refuse")
    assert done.exit_code == 1 and "2 sizes" in done.stderr
