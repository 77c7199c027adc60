from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.report import history, read

from cellclf.errors import DataError
from cellclf.evaluation.metrics import evaluate
from cellclf.reporting.compare import Candidate, Comparison


@pytest.fixture
def comparison() -> Comparison:
    report = evaluate([0, 0, 1], [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], ["a", "b"])
    return Comparison(
        [
            Candidate(name="small | own", history=history(3)[:2], params=900),
            Candidate(name="mobilenet", history=history(6), params=1_832_976, report=report),
        ]
    )


def test_the_kept_epoch_stands_beside_the_maximum(comparison: Comparison) -> None:
    first, second = comparison.to_dict()["candidates"]
    assert first["name"] == "mobilenet"
    assert first["val"]["macro_f1"] == {"kept": 1 - 0.7 / 5, "max": 1 - 0.7 / 6}
    assert second["val"]["macro_f1"]["kept"] == 1 - 0.7 / 2, "none is marked best: the last epoch"
    assert first["val"]["macro_recall"] == {"kept": None, "max": None}
    assert first["seconds"] == 12
    json.dumps([first, second], allow_nan=False)


def test_text_markdown_and_page_agree(comparison: Comparison, tmp_path: Path) -> None:
    columns = comparison.columns()
    assert "macro recall" not in columns and columns["macro F1"] == ["86.0", "65.0"]
    text = str(comparison).splitlines()
    assert text[0].split()[:3] == ["name", "macro", "F1"] and text[1].startswith("mobilenet")
    assert len({len(line) for line in text[:3]}) <= 2
    markdown = comparison.to_markdown().splitlines()
    assert markdown[2].startswith("| mobilenet | 86.0 | 88.3 |") and "small \\| own" in markdown[3]
    assert comparison.write(tmp_path / "c.md").read_text(encoding="utf-8").startswith("| name |")
    assert json.loads(comparison.write(tmp_path / "c.json").read_text("utf-8"))["chosen"] == "mobilenet"
    _, reader, words = read(comparison.write(tmp_path / "c.html"))
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "Chosen: mobilenet, which has the highest macro F1" in words and "were not tested" in words
    assert "86.0 88.3" in words


TRUTH = np.arange(240) % 3


def scored(name: str, wrong: int, *, seed: int, params: int, test: bool = False) -> Candidate:
    called = TRUTH.copy()
    places = np.random.default_rng(seed).permutation(len(TRUTH))[:wrong]
    called[places] = (called[places] + 1) % 3
    report = evaluate(TRUTH, np.eye(3)[called] * 0.8 + 0.2 / 3, list("abc"), resamples=100)
    return Candidate(name=name, params=params, size=4 * params, val=report, report=report if test else None)


def test_the_best_is_chosen_and_the_smallest_that_is_no_worse_is_named(tmp_path: Path) -> None:
    every = [
        scored("huge", 6, seed=1, params=9_000_000),
        scored("small", 9, seed=2, params=300_000),
        scored("poor", 90, seed=3, params=1_000),
    ]
    found = Comparison(every, chosen_on="val")
    assert found.best.name == "huge" and found.smallest is not None and found.smallest.name == "small"
    small, poor = found.against("val")
    assert not small.paired.significant and poor.paired.significant
    assert poor.corrected == pytest.approx(2 * poor.paired.p_value) and small.corrected == small.paired.p_value
    assert found.verdict().startswith("Chosen: huge, which has the highest macro F1 on val (97.5 %). The smallest")
    assert "small, with 0.3 M parameters instead of 9.0 M: -1.3 points (" in found.verdict()
    assert found.columns()["macro F1"][0].startswith("97.5 (") and found.columns()["size"][0] == "36.0 MB"
    for text in (str(found), found.to_markdown(), read(found.write(tmp_path / "c.html"))[2]):
        assert "Against huge on val, 240 images" in text and "< 0.0001" in text and found.verdict() in text
    data = found.to_dict()
    json.dumps(data, allow_nan=False)
    assert (data["chosen"], data["smallest"]) == ("huge", "small")
    assert [one["name"] for one in data["tests"]["val"]] == ["small", "poor"]
    assert list(data["tests"]) == ["val"]


def test_the_reason_of_the_choice() -> None:
    clear = Comparison([scored("good", 5, seed=1, params=9), scored("poor", 90, seed=2, params=5)])
    assert "Every other candidate is significantly worse" in clear.verdict() and clear.smallest is clear.best
    equal = Comparison([scored("good", 5, seed=1, params=5), scored("like it", 6, seed=2, params=9)])
    assert "also the smallest of those without a significant difference" in equal.verdict()
    rows = [replace(one, params=None) for one in equal.candidates]
    assert "No significant difference on these images: like it" in Comparison(rows).verdict()
    assert Comparison(rows[:1]).verdict() == ""


def test_sets_that_played_no_part_are_tested_too() -> None:
    every = [scored(name, wrong, seed=wrong, params=9, test=True) for name, wrong in (("a", 4), ("b", 60))]
    titles = [title for title, _ in Comparison(every, chosen_on="val", reported_on="bccd").tests()]
    assert titles == ["Against a on val, 240 images", "Against a on bccd, 240 images"]
    other = evaluate(TRUTH[:6], np.eye(3)[TRUTH[:6]], list("abc"), resamples=100)
    with pytest.raises(DataError, match="was evaluated on other images than"):
        Comparison([every[0], replace(every[1], val=other)])


def test_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="one candidate or more"):
        Comparison([])
    assert "unknown" in str(Comparison([Candidate(name="unknown")]))
