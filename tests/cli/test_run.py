"""The whole job at the command line: what a run prints, records and checks; demo."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib

import pytest
from helpers.command import run

import cellclf


def test_the_run_says_what_it_does_and_ends_with_the_page(finished, folder):
    out, done = finished
    assert done.stdout.splitlines()[-1] == f"report: {out / 'report.html'}"
    assert (out / "report.html").is_file()
    assert "skipped platelet/truncated.png" in done.stderr
    assert "duplicates: 65 images -> 64" in done.stderr
    assert "stage 1/1 epoch   2/2" in done.stderr
    assert "copies" in done.stdout and "macro F1" in done.stdout
    assert "oneDNN" not in done.stderr and "absl" not in done.stderr, "TensorFlow's own lines are left out"


def test_the_backbone_of_a_plugin_is_trained_and_recorded(finished):
    out, _ = finished
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plugins"] == {"good": "pkg-good 1.0"}
    assert manifest["trainer"]["backbone"] == {
        "name": "good:twoconv",
        "weights": None,
        "params": {"width": 24},
        "blocks": None,
    }
    assert manifest["trainer"]["stages"][0]["unfreeze"] == "all", "random weights learn, whatever the recipe froze"
    assert manifest["command"].startswith("cellclf run ") and manifest["command"].endswith("--seed 5")
    stored = tomllib.loads((out / "recipe.toml").read_text(encoding="utf-8"))
    assert stored["split"] == {"val": 0.25, "test": 0.0, "seed": 5}
    with (out / "split.csv").open(newline="", encoding="utf-8") as file:
        parts = [row["part"] for row in csv.DictReader(file)]
    assert len(parts) == 66 and parts.count("skipped") == 1 and parts.count("dropped") == 1


def test_a_val_that_is_given_may_lack_classes_and_no_step_is_needed(folder, recipe, finished, tmp_path):
    lacking = tmp_path / "val"
    for name in ("monocyte", "platelet"):
        (lacking / name).mkdir(parents=True)
        for file in sorted((folder / name).glob("cell*.png"))[:2]:
            (lacking / name / file.name).write_bytes(file.read_bytes())
    words = ("--recipe", recipe, "--weights", "none", "--set", "trainer.stages.0.epochs=1", "--set", "dedup=")
    done = run("run", folder, "--val", lacking, *words, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    trained = cellclf.load_run(tmp_path / "run")
    assert len(trained.class_names) == 8 and trained.manifest["data"]["val"]["images"] == 4
    assert cellclf.rerun(tmp_path / "run", show=False).matches


def test_check_finds_nothing_or_everything(npz, recipe, tmp_path):
    good = run("run", npz, "--recipe", recipe, "--check")
    assert good.exit_code == 0 and good.stdout.startswith("no mistake found\nlooked at, without training:\n")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    other = npz.parent / "other.npz"
    shutil.copy(npz, other)
    words = ("--set", "trainer.optimizer=lino", "--set", "split.val=2", "--test", f"val={other}", "--out", tmp_path)
    bad = run("run", npz, "--recipe", recipe, "--check", *words)
    assert bad.exit_code == 3 and sum(line.startswith("cellclf: ") for line in bad.stderr.splitlines()) == 1
    for text in ("4 mistakes", "did you mean 'lion'", "--set split.val=2", "called 'val'", "is not empty"):
        assert text in bad.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    for wrong in (("--set", "spilt.val=1"), ("--recipe", "fsat"), ("--backbone", "mobilnet")):
        done = run("run", npz, "--check", *wrong)
        assert done.exit_code == 3 and "did you mean" in done.stderr, wrong


@pytest.mark.slow
def test_the_demo_ends_with_a_page_and_sensible_scores(tmp_path):
    done = run("demo", "--out", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'demo' / 'report.html'}"
    report = json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["test"]["macro_f1"]["value"] > 0.8
    assert "planted: 48 of 48 copies, 12 of 12 cells under two labels" in done.stdout
