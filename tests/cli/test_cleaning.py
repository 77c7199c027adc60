"""Commands that look at a set before anything is trained: inspect, dedup, outliers, leaks and augment."""

from __future__ import annotations

import tomllib

from helpers.command import run, width_of

import cellclf


def test_inspect_prints_and_draws(folder, tmp_path):
    done = run("inspect", folder, "--plot", tmp_path / "sheet.png")
    assert done.exit_code == 0
    for text in ("65", "40x40", "neutrophil", "truncated.png"):
        assert text in done.stdout
    assert width_of(tmp_path / "sheet.png") > 200


def test_dedup_writes_all_that_is_asked_for(npz, tmp_path):
    files = {name: tmp_path / f"{name}.{end}" for name, end in zip("abcd", ("svg", "html", "csv", "npz"), strict=True)}
    words = (
        "--plot",
        files["a"],
        "--gallery",
        files["b"],
        "--pairs",
        files["c"],
        "--apply",
        files["d"],
        "--on-loss",
        "warn",
    )
    done = run("dedup", npz, *words)
    assert done.exit_code == 0, done.output
    cells, cleaned = cellclf.load(npz), cellclf.load(files["d"])
    assert f"{len(cells)} images -> {len(cleaned)}" in done.stdout and f"kept {len(cleaned)}: " in done.stdout
    assert f"gallery: {files['b']}" in done.stdout and "conflict" in files["b"].read_text(encoding="utf-8")
    assert files["a"].read_text(encoding="utf-8").startswith("<?xml")
    assert len(files["c"].read_text(encoding="utf-8").splitlines()) > 3
    assert set(cleaned.ids.tolist()) == set(cellclf.Dedup().apply(cells).ids.tolist())


def test_outliers_writes_the_files_that_are_kept_and_a_gallery(folder, tmp_path):
    done = run("outliers", folder, "--apply", tmp_path / "kept.csv", "--gallery", tmp_path / "outliers.html")
    assert done.exit_code == 0, done.output
    cells, kept = cellclf.load(folder), cellclf.load(tmp_path / "kept.csv")
    found = cellclf.OutlierFilter().fit(cells).find(cells)
    assert kept.ids.tolist() == cells.ids[found.keep].tolist() and kept.class_names == cells.class_names
    assert f"kept {len(kept)}: " in done.stdout
    assert (tmp_path / "outliers.html").stat().st_size > 1000


def test_leaks_finds_shared_images(npz, tmp_path):
    cellclf.load(npz)[:5].save(tmp_path / "test.npz")
    done = run("leaks", npz, tmp_path / "test.npz", "--pairs", tmp_path / "pairs.csv")
    assert done.exit_code == 0 and "5" in done.stdout
    assert len((tmp_path / "pairs.csv").read_text(encoding="utf-8").splitlines()) >= 6


def test_augment_lists_shows_and_draws(npz, tmp_path):
    listed = run("augment")
    assert listed.exit_code == 0 and "challenge" in listed.stdout and "laboratory" in listed.stdout
    shown = run("augment", "show", "report", "--strength", "0.5", "--seed", "9")
    table = tomllib.loads(shown.stdout)["trainer"]["augmenter"]
    expected = cellclf.Augmenter.preset("report", strength=0.5, seed=9)
    assert cellclf.Augmenter.from_dict({"seed": 9, **table}) == expected
    drawn = run("augment", "show", "none", "--plot", tmp_path / "a.png", "--on", npz)
    assert drawn.exit_code == 0 and width_of(tmp_path / "a.png") > 200
    assert run("augment", "show", "none", "--on", npz).exit_code == 2
    wrong = run("augment", "show", "reprot")
    assert wrong.exit_code == 1 and "did you mean 'report'" in wrong.stderr
