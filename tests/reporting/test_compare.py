from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_helpers import history, read

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
    first, second = comparison.to_dict()
    assert first["name"] == "mobilenet"
    assert first["validation"]["macro_f1"] == {"kept": 1 - 0.7 / 5, "max": 1 - 0.7 / 6}
    assert second["validation"]["macro_f1"]["kept"] == 1 - 0.7 / 2, "none is marked best: the last epoch"
    assert first["validation"]["macro_recall"] == {"kept": None, "max": None}
    assert first["seconds"] == 12
    json.dumps([first, second], allow_nan=False)


def test_text_markdown_and_page_tell_the_same(comparison: Comparison, tmp_path: Path) -> None:
    columns = comparison.columns()
    assert "macro recall" not in columns and columns["macro F1"] == ["86.0", "65.0"]
    text = str(comparison).splitlines()
    assert text[0].split()[:3] == ["name", "macro", "F1"] and text[1].startswith("mobilenet")
    assert len({len(line) for line in text[:3]}) <= 2
    markdown = comparison.to_markdown().splitlines()
    assert markdown[2].startswith("| mobilenet | 86.0 | 88.3 |") and "small \\| own" in markdown[3]
    assert (tmp_path / "c.md").exists() is False
    assert comparison.write(tmp_path / "c.md").read_text(encoding="utf-8").startswith("| name |")
    _, reader, words = read(comparison.write(tmp_path / "c.html"))
    assert all(address.startswith("data:") for address in reader.addresses)
    assert "mobilenet has the best macro F1" in words and "86.0 88.3" in words


def test_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="one candidate or more"):
        Comparison([])
    assert "unknown" in str(Comparison([Candidate(name="unknown")]))
