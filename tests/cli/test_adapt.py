"""``cellclf adapt``: from a table of labels to a run in a folder, and its page."""

from __future__ import annotations

import json

import pytest
from helpers.command import run
from helpers.levels import NAMES, level_run, levels, there

import cellclf as cc
from cellclf.training.adapt import reader


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Give a folder with a run that calls images by their level, cells of both laboratories, and a table."""
    root = tmp_path_factory.mktemp("adapt")
    cells = there(60)
    levels(60, seed=8).save(root / "home.npz")
    cells.replace(labels=None).save(root / "there.npz")
    answers = {cells.ids[row]: NAMES[cells.labels[row]] for row in range(20)} | {cells.ids[20]: "unsure"}
    cc.Decisions.from_labels(answers).save(root / "labelled.csv")
    level_run(root / "a")
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
    assert "balanced accuracy" in page and "<script" not in page
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
    assert again.exit_code == 0 and "the same" in again.output, again.output


def test_a_second_round_joins_the_first(done, bench):
    cells = there(60)
    cc.Decisions.from_labels({cells.ids[k]: NAMES[cells.labels[k]] for k in range(30, 36)}).save(bench / "more.csv")
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
        ((*WORDS, "--classes", "dark,grey,ligth", "--out", "e"), 1, "did you mean 'light'"),
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
    found = run("adapt", "a", "there.npz", "--out", "f")
    assert found.exit_code == 0 and found.output.count("the run is unchanged") == 1, found.output
