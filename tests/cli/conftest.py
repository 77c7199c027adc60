"""Sets, a recipe, third-party packages and one finished run, made once for all tests of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

import cellclf

RECIPE = """
seed = 3

[dedup]

[split]
val = 0.25

[trainer]
backbone = { name = "residual", params = { filters = [16, 16, 16] } }
optimizer = "adamw"
batch_size = 16
head = { units = [], dropout = 0.0 }

[[trainer.stages]]
epochs = 2
learning_rate = 2e-3
"""

PLUGIN = """
    from cellclf import BackboneSpec, hookimpl

    def build(input_shape, *, weights, width):
        import keras
        pixels = keras.Input(input_shape, name="pixels")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
        x = keras.layers.Conv2D(width, 3, strides=4, activation="relu", name="conv1")(x)
        x = keras.layers.Conv2D(width, 3, strides=2, activation="relu", name="conv2")(x)
        return keras.Model(pixels, x)

    @hookimpl
    def cellclf_backbones():
        return [BackboneSpec(name="twoconv", build=build, summary="two convolutions", source="a test", min_size=16,
                             blocks=("conv1", "conv2"), params={"width": 16})]
"""


def install(folder, plugin, code):
    """Write what pip would leave behind of a package with an entry point."""
    (folder / f"pkg_{plugin}.py").write_text(textwrap.dedent(code), encoding="utf-8")
    info = folder / f"pkg_{plugin}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pkg-{plugin}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[cellclf]\n{plugin} = pkg_{plugin}\n", encoding="utf-8")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Give a folder with two installed third-party packages, one of them broken."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "good", PLUGIN)
    install(folder, "broken", "import nowhere_to_be_found")
    return folder


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """Give a generated set with copies and non-cell images."""
    path = tmp_path_factory.mktemp("data") / "cells.npz"
    cells = cellclf.make_cells(96, size=40, seed=1, balance="even", duplicates=3, conflicts=2, foreign_copies=2)
    return cells.save(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Give a folder with one folder for each class, and a truncated file among them."""
    root = tmp_path_factory.mktemp("data") / "cells"
    cells = cellclf.make_cells(64, size=40, seed=2, balance="even", duplicates=1)
    for label, id_, image in zip(cells.labels, cells.ids, cells.images, strict=True):
        place = root / cells.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{id_.replace(':', '-')}.png")
    whole = next((root / "platelet").glob("*.png")).read_bytes()
    (root / "platelet" / "truncated.png").write_bytes(whole[:200])
    return root


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(site, folder, npz, recipe, tmp_path_factory):
    """Do the whole job as a user would: in a shell, with a network from a package of its own."""
    out = tmp_path_factory.mktemp("runs") / "a"
    words = ["run", folder, "--recipe", recipe, "--backbone", "twoconv", "--param", "width=24", "--out", out]
    words += ["--test", f"copies={npz}", "--min-count", "9", "--seed", "5"]
    env = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "cellclf", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return out, done
