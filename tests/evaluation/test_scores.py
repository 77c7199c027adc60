"""A score is defined once, and is shown everywhere: history, report, pages, comparison, differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.report import read

import cellclf as cc
from cellclf.errors import OptionError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.scores import SCORES, Score, scores_in
from cellclf.evaluation.significance import compare_paired, compare_sets
from cellclf.reporting.compare import Candidate, Comparison
from cellclf.reporting.content import PageContent
from cellclf.reporting.json_report import write_data
from cellclf.reporting.markdown import write_markdown
from cellclf.reporting.page import write_page
from cellclf.training.loop import validate

NAMES = ("round", "lobed", "small")


def scored(seed: int = 0) -> Report:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 3
    logits = rng.normal(size=(60, 3)) + 1.5 * np.eye(3)[labels]
    return evaluate(labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), NAMES, resamples=100)


@pytest.fixture
def worst() -> Iterator[Score]:
    """The lowest recall of all classes: one definition, in the one place where scores stand."""
    score = Score(
        name="worst_recall",
        label="worst recall",
        of_counts=lambda counts: counts.recall[..., counts.averaged].min(-1),
    )
    SCORES[score.name] = score
    yield score
    del SCORES[score.name]


@pytest.fixture
def brier() -> Iterator[Score]:
    """A score of probabilities: no interval, no per cent, and lower is better."""
    score = Score(
        name="brier",
        label="Brier score",
        of_probabilities=lambda labels, p: float(np.square(p - np.eye(p.shape[1])[labels]).sum(1).mean()),
        higher_is_better=False,
        percent=False,
    )
    SCORES[score.name] = score
    yield score
    del SCORES[score.name]


def history(score: Score) -> list[dict[str, float]]:
    """Validate a real network on real images; the second epoch has the same weights."""
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(
        pixels, keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(pixels))
    )
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    cells = cc.ImageSet(images, np.arange(30) % 3, class_names=NAMES)
    row = validate(model, cells)
    report = evaluate(cells.labels, model.predict(images.astype(np.float32), verbose=0), NAMES, resamples=100)
    assert row[f"val_{score.name}"] == pytest.approx(report.scores[score.name], abs=1e-6)
    shifted = validate(model, cells, "shifted")
    assert f"shifted_{score.name}" in shifted
    return [row | {"stage": 1, "epoch": 1, "seconds": 1.0, "best": True}]


def check_everywhere(score: Score, folder: Path) -> None:
    report = scored()
    number = score.number(report.scores[score.name])
    assert f"{score.label} " in str(report) and score.text(report.scores[score.name]) in str(report)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert score.name in data
    content = PageContent(title="toy", evaluations={"test": (report, None)}, history=history(score))
    _, _, words = read(write_page(content, folder / "report.html"))
    assert score.label in words and number in words
    markdown = write_markdown(content, folder / "report.md").read_text(encoding="utf-8")
    head, row = (line for line in markdown.splitlines() if line.startswith(("| set |", "| test |")))
    assert row.split(" | ")[head.split(" | ").index(score.label)].startswith(number)
    stored = json.loads(write_data(content, folder / "report.json").read_text(encoding="utf-8"))
    assert score.name in stored["scores"]["test"]
    candidates = [Candidate(name="a", history=content.history), Candidate(name="b", history=content.history)]
    found = Comparison(candidates)
    value = content.history[0][f"val_{score.name}"]
    best = "max" if score.higher_is_better else "min"
    assert found.columns()[score.label] == found.columns()[f"{score.label} {best}"] == [score.number(value)] * 2
    assert found.to_dict()["candidates"][0]["val"][score.name] == {"kept": value, best: value}
    known = Comparison([Candidate(name=n, val=scored(k), report=scored(k)) for k, n in enumerate("ab")])
    assert number in known.columns()[score.label]
    for text in (str(found), found.to_markdown(), read(found.write(folder / "c.html"))[2]):
        assert score.label in text


def test_a_new_score_of_counts_is_shown_everywhere(worst: Score, tmp_path: Path) -> None:
    check_everywhere(worst, tmp_path)
    report, other = scored(0), scored(1)
    recalls = [one.recall for one in report.classes]
    assert report.scores["worst_recall"] == min(recalls) and report.headline()["worst recall"].low < min(recalls)
    paired = compare_paired(report.truth, report.predicted, other.predicted, 3, resamples=100)
    assert paired.differences["worst_recall"] == pytest.approx(min(recalls) - min(one.recall for one in other.classes))
    assert "worst_recall" in paired.to_dict()
    changes, _ = compare_sets(report.confusion, other.confusion, NAMES, resamples=100)
    assert [one.name for one in changes] == ["balanced accuracy", "macro F1", "accuracy", "worst recall"]
    compared = Comparison([Candidate(name="a", val=report, report=report), Candidate(name="b", val=other)])
    assert "worst recall on test" in compared.columns()


def test_a_new_score_of_probabilities_is_shown_everywhere(brier: Score, tmp_path: Path) -> None:
    check_everywhere(brier, tmp_path)
    assert brier not in scores_in("difference"), "there is nothing to resample"


def test_a_removed_score_is_gone() -> None:
    assert "worst_recall" not in SCORES and "worst recall" not in str(scored())


def test_places_are_kept(worst: Score, tmp_path: Path) -> None:
    SCORES[worst.name] = dataclasses.replace(worst, places=frozenset({"report"}))
    content = PageContent(title="toy", evaluations={"test": (scored(), None)})
    assert "worst recall" in str(scored())
    assert "worst recall" not in read(write_page(content, tmp_path / "report.html"))[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no function or two"),
        ({"of_counts": lambda c: c.hits, "of_probabilities": lambda labels, p: 0.0}, "no function or two"),
        ({"of_counts": lambda c: c.hits, "places": frozenset({"paper"})}, "no place 'paper'; expected some of"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Score(name="toy", label="toy", **options)
