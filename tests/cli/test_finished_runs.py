"""What a finished run is used for: evaluate, robustness, explain and predict."""

from __future__ import annotations

import csv
import json

import numpy as np
from helpers.command import run, width_of
from PIL import Image

import cellclf
from cellclf.evaluation.robustness.result import stored


def test_a_finished_run_evaluates(finished, npz):
    out, _ = finished
    table = run("evaluate", out, npz)
    assert table.exit_code == 0 and "macro F1" in table.stdout and "neutrophil" in table.stdout
    data = json.loads(run("evaluate", out, npz, "--json", "--min-count", "9").stdout)
    assert data["n"] == len(cellclf.load(npz)) and len(data["confusion"]) == 8
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["copies"] == data


def test_a_finished_run_is_scored_on_bad_images(finished, npz, tmp_path):
    out, _ = finished
    plot = tmp_path / "curves.png"
    done = run("robustness", out, npz, "--limit", 16, "--plot", plot)
    assert done.exit_code == 0, done.output
    assert "medmnist-c: 16 images" in done.stdout and "jpeg_compression" in done.stdout and "BE " in done.stdout
    figures, report = done.stdout.splitlines()[-2:]
    assert figures == f"figures: {out / 'robustness.json'}" and report == f"report: {out / 'report.html'}"
    assert width_of(plot) > 500 and "Robustness: medmnist-c" in (out / "report.html").read_text(encoding="utf-8")
    (result,) = stored(out)
    assert result.n == 16 and len(result.corruptions) == 11 and result.seen == ()
    other = tmp_path / "other.json"
    done = run("robustness", out, npz, "--limit", 8, "--suite", npz, "--out", other)
    assert done.exit_code == 0 and json.loads(other.read_text(encoding="utf-8"))["suite"] == "cells"
    done = run("robustness", out, npz, "--suite", "medmnist")
    assert done.exit_code == 1 and "did you mean 'medmnist-c'?" in done.stderr.splitlines()[-1]


def test_a_finished_run_shows_where_it_looked(finished, npz, tmp_path):
    out, sheet = finished[0], tmp_path / "sheet.png"
    done = run("explain", out, npz, "--limit", 5, "--class", "monocyte", "--out", sheet)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(done.stdout.splitlines()[:-1]))
    assert len(rows) == 5 and {row["class"] for row in rows} == {"monocyte"}
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    shown = [int(row["x"]) for row in rows if row["x"]]  # Grad-CAM of an image may be 0 everywhere
    assert shown and all(0 <= x < 40 for x in shown)
    assert done.stdout.splitlines()[-1] == f"image: {sheet}" and width_of(sheet) > 300
    refused = run("explain", out, npz, "--class", "monocite", "--out", sheet)
    assert refused.exit_code == 1 and "did you mean 'monocyte'" in refused.stderr


def test_a_finished_run_predicts(finished, folder, npz, tmp_path):
    out, _ = finished
    target = tmp_path / "deep" / "named.csv"
    done = run("predict", out, folder, "--out", target)
    assert done.exit_code == 4 and done.stdout == f"65 predictions of 66 inputs: {target}\n"  # a file could not be read
    assert run("predict", out, folder, "--out", target, "--skip-ok").exit_code == 0
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    skipped = rows.pop()
    assert skipped["id"] == "platelet/truncated.png" and "decoded" in skipped["skipped"] and not skipped["class"]
    names = cellclf.load_run(out).class_names
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)
    assert all(row["class"] in (names[k], "unknown") for row, k in zip(rows, probabilities.argmax(1), strict=True))
    printed = run("predict", out, npz)
    assert printed.stdout.startswith("id,class,probability,") and len(printed.stdout.splitlines()) == 1 + len(
        cellclf.load(npz)
    )


def test_a_folder_is_read_at_any_depth_whatever_its_folders_are_called(finished, folder, tmp_path):
    out, _ = finished
    names = ["loose.png", "patient 3/a.png", "patient 3/day 2/b.png", "train/c.png", "@eaDir/d.png"]
    for name, image in zip(names, sorted(folder.glob("*/*.png")), strict=False):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(image.read_bytes())
    done = run("predict", out, tmp_path / "new")
    assert done.exit_code == 0 and "skipped" not in done.stderr and "@eaDir (1, thumbnails of a NAS)" in done.stderr
    assert sorted(row["id"] for row in csv.DictReader(done.stdout.splitlines())) == sorted(names[:4])
    sheet = tmp_path / "sheet.svg"
    done = run("explain", out, tmp_path / "new", "--method", "occlusion", "--out", sheet)
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 6, done.output
    assert "patient" not in sheet.read_text(encoding="utf-8")  # a patient's folder is no label
    done = run("explain", out, folder, "--method", "occlusion", "--limit", 2, "--out", sheet)
    assert done.exit_code == 4 and "/" in done.stdout  # a file could not be read


def test_a_prediction_is_never_written_onto_its_source(finished, folder, tmp_path):
    out, _ = finished
    (tmp_path / "t.csv").write_text(f"path\n{next((folder / 'monocyte').glob('*.png'))}\n", encoding="utf-8")
    done = run("predict", out, tmp_path / "t.csv", "--out", tmp_path / "t.csv")
    assert done.exit_code == 2 and "is read from" in done.stderr
    done = run("predict", out, tmp_path / "t.csv", "--out", tmp_path / "named.csv")
    assert done.exit_code == 0
    again = run("predict", out, tmp_path / "named.csv", "--root", tmp_path)  # its ids are paths
    assert again.exit_code == 0 and len(again.stdout.splitlines()) == 2, again.output


def test_images_of_another_size_are_resized_for_a_run_or_refused(finished, tmp_path):
    out, _ = finished
    other = cellclf.make_cells(8, size=24)
    Image.fromarray(other[0]).save(tmp_path / "small.png")
    assert len(run("predict", out, tmp_path).stdout.splitlines()) == 2
    refused = run("predict", out, other.save(tmp_path / "small.npz"))
    assert refused.exit_code == 1 and refused.stderr.count("\n") == 1 and "40" in refused.stderr
