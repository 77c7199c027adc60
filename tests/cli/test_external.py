"""Commands that take finished runs to a set: another laboratory, runs side by side."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from helpers.command import run

import cellclf as cc

NAMES = ("dark", "light")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Give a folder with two runs that call images by their level, one of them wrongly, and a set."""
    root = tmp_path_factory.mktemp("lab")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = rng.normal(80 + 90 * labels[:, None, None, None], 25, (60, 16, 16, 3)).clip(0, 255).astype(np.uint8)
    cc.ImageSet(images, labels, class_names=NAMES).save(root / "own.npz")
    cc.ImageSet(images, labels, class_names=["D", "light"]).save(root / "theirs.npz")
    for name, middle in (("good", 125.0), ("poor", 170.0)):
        pixels = keras.Input((16, 16, 3))
        dense = keras.layers.Dense(2, activation="softmax")
        model = keras.Model(pixels, dense(keras.layers.GlobalAveragePooling2D()(pixels)))
        dense.set_weights([np.tile([-0.02, 0.02], (3, 1)), np.array([0.06, -0.06]) * middle])
        manifest = {"status": "finished", "class_names": list(NAMES), "seconds": 3.0}
        cc.Run(model, NAMES, manifest=manifest).save(root / name)
    return root


def test_external_prints_draws_and_writes(lab, tmp_path):
    words = ["external", lab / "good", lab / "theirs.npz", "--map", "D=dark", "--reference", lab / "own.npz"]
    done = run(*words, "--out", tmp_path / "e.json", "--plot", tmp_path / "e.png")
    assert done.exit_code == 0, done.output
    assert "balanced accuracy 100.0 %" in done.output and "25 labels were not tried" in " ".join(done.output.split())
    assert json.loads((tmp_path / "e.json").read_text("utf-8"))["mapping"] == {"D": "dark", "light": "light"}
    assert (tmp_path / "e.png").stat().st_size
    assert run(*words, "--tta", "1", "--out", tmp_path / "e.md").exit_code == 0
    assert (tmp_path / "e.md").read_text("utf-8").startswith("- balanced accuracy")


def test_external_says_what_is_wrong(lab):
    done = run("external", lab / "good", lab / "theirs.npz", "--map", "D:dark")
    assert done.exit_code == 2 and "expected THEIRS=OURS" in done.output
    done = run("external", lab / "good", lab / "theirs.npz", "--map", "D=drak")
    assert done.exit_code == 1 and "did you mean 'dark'" in done.output
    left = run("external", lab / "good", lab / "theirs.npz", "--map", "D=", "--no-labels", "--tta", "1")
    assert left.exit_code == 0 and "excluded by the mapping" in left.output and "about: dark" in left.output


def test_finished_runs_are_compared_without_training(lab, tmp_path):
    done = run("compare", lab / "own.npz", lab / "poor", lab / "good", "--out", tmp_path / "side")
    assert done.exit_code == 0, done.output
    assert "Chosen: good, which has the highest macro F1 on own.npz (100.0 %)" in done.output
    assert "Every other candidate is significantly worse" in done.output
    assert {path.name for path in (tmp_path / "side").iterdir()} == {"compare.html", "compare.md", "compare.json"}
    data = json.loads((tmp_path / "side" / "compare.json").read_text("utf-8"))
    assert [one["name"] for one in data["candidates"]] == ["good", "poor"]


def test_runs_and_backbones_are_not_mixed(lab):
    done = run("compare", lab / "own.npz", lab / "good", "mobilenet")
    assert done.exit_code == 2 and "expected all of one kind" in done.output
    done = run("compare", lab / "own.npz", lab / "good", "--test", lab / "theirs.npz")
    assert done.exit_code == 2 and "finished runs are only scored" in done.output
    done = run("compare", lab / "own.npz", "mobilenet")
    assert done.exit_code == 2 and "expected --out FOLDER" in done.output
