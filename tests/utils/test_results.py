"""Every result has one form: text, a short repr, HTML for notebooks, plain data, files by their ending."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.probabilities import honest

import cellclf as cc
from cellclf.errors import OptionError
from cellclf.evaluation import abstain, calibrate, compare_paired, compare_sets, coverage, fit_conformal
from cellclf.evaluation.ood import fit_ood_detector
from cellclf.utils.results import Result


def results() -> dict[str, Result]:
    labels, probabilities = honest(400, 0, classes=20)
    names = [f"class {k}" for k in range(20)]
    report = cc.evaluate(labels, probabilities, names)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 24, 24, 3), dtype=np.uint8)
    images[1::2] = images[::2]
    cells = cc.ImageSet(images, np.repeat(np.arange(30), 2), class_names=[f"class {k}" for k in range(30)])
    features = rng.normal(size=(100, 8))
    known = fit_ood_detector(features, np.arange(100) % 4, rng.normal(size=(50, 8)))
    other = np.roll(probabilities, 1, axis=1)
    return {
        "evaluate": report,
        "calibrate": calibrate(labels, probabilities),
        "abstain": abstain(labels, probabilities),
        "coverage": coverage(labels, fit_conformal(labels, probabilities).sets(probabilities, 0.1), names),
        "domain shift": known.compare(known.distance(features)),
        "paired": compare_paired(labels, probabilities.argmax(1), other.argmax(1), 20),
        "sets": compare_sets(report.confusion, report.confusion, names)[0][0],
        "Dedup": cc.Dedup().find(cells),
        "leaks": cc.Dedup().find(cells[:30], against=cells[20:]),
        "Outliers": cc.OutlierFilter().find(cells),
        "Downsample": cc.Downsample().find(cells),
        "Split": cc.Split(val=0.3).apply(cells),
        "robustness": cc.robustness(lambda x: np.tile([0.6, 0.4], (len(x), 1)), cc.ImageSet(images[:8], [0, 1] * 4)),
    }


RESULTS = results()


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_short_in_a_notebook_and_plain_in_a_file(name, tmp_path):
    found = RESULTS[name]
    assert isinstance(found, Result)
    assert len(repr(found).splitlines()) < 15
    assert str(found).strip() and "object at 0x" not in str(found)
    assert found._repr_html_().startswith("<pre>")
    data = json.loads(json.dumps(found.to_dict()))
    assert json.loads(found.save(tmp_path / "a.json").read_text("utf-8")) == data
    assert found.save(tmp_path / "a.txt").read_text("utf-8").strip()
    assert "<pre>" in found.save(tmp_path / "a.html").read_text("utf-8")
    if hasattr(found, "plot"):
        assert found.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match=r"cannot be written to 'a.docx'; expected .json"):
        found.save(tmp_path / "a.docx")


@pytest.mark.parametrize(
    "thing",
    [
        cc.Trainer(backbone="residual"),
        cc.Pipeline.from_recipe("challenge"),
        cc.Augmenter.preset("challenge"),
        cc.Dedup(n_jobs=2),
        cc.Stage(epochs=3, learning_rate=1e-3),
        cc.CellClassifier(trainer=cc.Trainer(backbone="residual")),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_configured_shows_in_a_few_lines(thing):
    text = repr(thing)
    assert type(thing).__name__ in text and "object at 0x" not in text
    assert len(text.splitlines()) < 15


def test_html_of_names_is_escaped(tmp_path):
    report = cc.evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["<b>odd</b>", "b"])
    assert "<b>odd" not in report._repr_html_()
    assert "<b>odd" not in report.save(tmp_path / "a.html").read_text("utf-8")
