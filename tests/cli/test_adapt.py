"""``cellclf adapt``: from a table of labels to a run in a folder, and its page."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest
from helpers.command import run

import cellclf as cc
from cellclf.training.adapt import reader

NAMES = ("dark", "light")


def levels(count, low, step, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.normal(low + step * labels[:, None, None, None], 25, (count, 16, 16, 3)).clip(0, 255)
    return cc.ImageSet(images.astype(np.uint8), labels, class_names=NAMES, ids=[f"={seed}+{k}" for k in range(count)])


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Give a folder with a run that calls images by their level, cells of both laboratories, and a table."""
    root = tmp_path_factory.mktemp("adapt")
    home, there = levels(60, 80, 90, 1), levels(60, 125, 60, 2)
    home.save(root / "home.npz")
    there.replace(labels=None).save(root / "there.npz")
    answers = {there.ids[row]: NAMES[there.labels[row]] for row in range(20)} | {there.ids[20]: "unsure"}
    cc.Decisions.from_labels(answers).save(root / "labelled.csv")
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    maps = keras.layers.Conv2D(3, 1, use_bias=False)
    dense = keras.layers.Dense(2, activation="softmax", name="probabilities")
    model = keras.Model(pixels, dense(keras.layers.GlobalAveragePooling2D(name="head_pool")(maps(x))))
    maps.set_weights([np.eye(3).reshape(1, 1, 3, 3)])
    dense.set_weights([np.tile([-5.0, 5.0], (3, 1)), np.array([0.06, -0.06]) * 125])
    cc.Run(model, NAMES, manifest={"status": "finished", "class_names": list(NAMES)}).save(root / "a")
    return root


@pytest.fixture(autouse=True)
def here(bench, monkeypatch):
    monkeypatch.chdir(bench)
    monkeypatch.setattr(reader, "ZOOMS", (1.0,))


WORDS = ("adapt", "a", "there.npz", "--labels", "labelled.csv")


@pytest.fixture(scope="module")
def done(bench):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(bench)
        patch.setattr(reader, "ZOOMS", (1.0,))
        return run(*WORDS, "--home", "home.npz", "--out", "b")


def test_a_run_a_page_and_the_next_step(done, bench):
    assert done.exit_code == 0, done.output
    assert "balanced accuracy there" in done.stdout and "20 of 60 cells labelled, 1 unsure and ignored" in done.stdout
    assert "run: b\npage: b/adapt.html\nnext: cellclf predict b there.npz" in done.stdout
    assert "home 100.0 %" in done.stdout
    page = (bench / "b" / "adapt.html").read_text("utf-8")
    assert "cellclf adapt" in page and "<script" not in page
    manifest = json.loads((bench / "b" / "manifest.json").read_text("utf-8"))
    assert manifest["source"]["cells"]["src"] == str(bench / "there.npz")
    assert manifest["source"]["home"]["src"] == str(bench / "home.npz")


def test_the_same_command_reads_what_is_there_and_another_is_refused(done):
    again = run(*WORDS, "--home", "home.npz", "--out", "b")
    assert again.exit_code == 0 and again.stdout == done.stdout
    other = run(*WORDS, "--out", "b")
    assert other.exit_code == 1 and "choose a new folder" in other.output


def test_the_folder_works_with_other_commands(done, bench):
    predicted = run("predict", "b", "there.npz", "--out", "p.csv")
    assert predicted.exit_code == 0, predicted.output
    assert (bench / "p.csv").read_text("utf-8-sig").startswith("id,class,probability,set,ood_score")
    assert run("evaluate", "b", "home.npz").exit_code == 0
    again = run("rerun", "b")
    assert again.exit_code == 0 and "the same, bit for bit" in again.output, again.output


def test_a_second_round_joins_the_first(done, bench):
    there = levels(60, 125, 60, 2)
    cc.Decisions.from_labels({there.ids[k]: NAMES[there.labels[k]] for k in range(30, 36)}).save(bench / "more.csv")
    more = run("adapt", "b", "there.npz", "--labels", "more.csv", "--out", "c")
    assert more.exit_code == 0 and "26 of 60 cells labelled, in 2 rounds" in more.stdout, more.output
    both = run(*WORDS, "--labels", "more.csv", "--out", "d")
    assert both.exit_code == 0 and "26 of 60 cells labelled" in both.stdout


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("adapt", "a", "there.npz", "--labels", "nowhere.csv", "--out", "e"), 2, "nowhere.csv"),
        (("adapt", "a", "there.npz"), 2, "Missing option '--out'"),
        (("adapt", "a", "home.npz", "--labels", "labelled.csv", "--out", "e"), 1, "ids are not in the set"),
        ((*WORDS, "--classes", "dark,ligth", "--out", "e"), 1, "did you mean 'light'"),
        ((*WORDS, "--home", "there.npz", "--out", "e"), 2, "expected another file"),
        ((*WORDS, "--out", "labelled.csv"), 1, "is a file"),
        ((*WORDS, "--out", "a"), 1, "choose a new folder"),
        (("adapt", "there.npz", "a", "--out", "e"), 1, "there.npz"),
    ],
)
def test_mistakes_are_one_line(bench, words, code, expected):
    done = run(*words)
    assert done.exit_code == code and expected in done.output, done.output
    assert not (bench / "e").exists()


def test_without_labels_the_notice_stands_once(bench):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run("adapt", "a", "there.npz", "--out", "f")
    assert found.exit_code == 0 and found.output.count("the run is unchanged") == 1, found.output
