"""What somebody meets in the first hour at the command line: what --check looked at, patients above classes, seeds."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from helpers.command import run
from PIL import Image

import cellclf
from cellclf.cli.recipe_choice import RecipeChoice


def test_a_check_says_what_it_looked_at(npz, recipe, tmp_path):
    more = cellclf.make_cells(16, size=40, seed=5).save(tmp_path / "more.npz")
    words = ("--recipe", recipe, "--backbone", "sequential", "--out", tmp_path / "a", "--test", f"more={more}")
    done = run("run", npz, *words, "--check")
    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first == "no mistake found" and lines[0] == "looked at, without training:"
    text = "\n".join(lines)
    for part in (f"{npz}: ImageSet: ", "more: ImageSet: 16 images 40x40", "dedup, split, trainer", "can hold the run"):
        assert part in text
    assert "network: sequential with random weights" in text and "outliers" not in text
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="another name of the home folder")
def test_a_check_says_that_imagenet_weights_are_not_there(npz, tmp_path):
    away = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "cellclf", "run", str(npz), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **away}, check=False)
    assert done.returncode == 3, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cellclf: ")]
    assert "the 'imagenet' weights of MobileNet cannot be loaded" in line
    assert "pass its path as --weights, or --weights none for random ones" in line


def test_folders_of_patients_above_those_of_classes_are_read_as_such(tmp_path):
    cells = cellclf.make_cells(48, size=32, seed=1, balance="even")
    for k, (image, label) in enumerate(zip(cells.images, cells.labels.tolist(), strict=True)):
        place = tmp_path / f"P{k % 4:02}" / cells.class_names[label % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k}.png")
    done = run("inspect", tmp_path)
    assert done.exit_code == 0, done.output
    assert "48 images 32x32, 3 classes" in done.stdout and "groups: 4 patients or slides" in done.stdout
    assert "look like patients or slides with the classes" in done.stdout
    assert "read as --group-from '{group}/{label}/**'" in done.stdout and "group_from" not in done.stdout


def test_seed_and_processes_of_a_label_check_reach_the_folds(npz, recipe, tmp_path, monkeypatch):
    given = {}

    def check_labels(cells, **arguments):
        given.update(arguments)
        raise cellclf.DataError("that is enough")

    monkeypatch.setattr(cellclf, "check_labels", check_labels)
    run("labels", npz, "--recipe", recipe, "--seed", "5", "--n-jobs", "2", "--folds", "4", "--out", tmp_path / "a")
    assert (given["seed"], given["n_jobs"], given["folds"]) == (5, 2, 4)
    assert given["recipe"]["seed"] == 5
    run("labels", npz, "--recipe", recipe, "--out", tmp_path / "a")
    assert (given["seed"], given["n_jobs"], given["folds"]) == (0, None, 3)


def test_a_seed_assigns_the_folds(npz, recipe, tmp_path, monkeypatch):
    seeds = []

    def folds(split, cells, count):
        seeds.append((split.seed, count))
        raise cellclf.DataError("that is enough")

    monkeypatch.setattr(cellclf.Split, "folds", folds)
    for command in ("labels", "crossval"):
        done = run(command, npz, "--recipe", recipe, "--seed", "6", "--folds", "4", "--out", tmp_path / command)
        assert done.exit_code == 1 and "that is enough" in done.stderr
    assert seeds == [(6, 4), (6, 4)]


def test_a_seed_changes_everything_random_in_the_recipe_of_a_run_too(finished):
    out, _ = finished
    stored = tomllib.loads((out / "recipe.toml").read_text(encoding="utf-8"))
    assert stored["split"]["seed"] == stored["trainer"]["seed"] == 5
    table = RecipeChoice(str(out), seed=8).read()
    assert table["seed"] == 8 and "seed" not in table["split"] and "seed" not in table["trainer"]
