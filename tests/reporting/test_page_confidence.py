from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from helpers.report import read

from cellclf.evaluation.conformal import fit_conformal
from cellclf.evaluation.ood import fit_ood_detector
from cellclf.reporting.confidence import confidence_view
from cellclf.reporting.content import PageContent
from cellclf.reporting.page import write_page
from cellclf.runs.confidence import Confidence


def known(content: PageContent) -> Confidence:
    report = content.evaluations["val"][0]
    rows = np.random.default_rng(0).normal(size=(90, 6))
    detector = fit_ood_detector(rows[:60], np.arange(60) % 3, rows[60:])
    return Confidence(1.25, fit_conformal(report.truth, report.probabilities), detector)


def test_the_page_shows_calibration_sets_and_shift(content: PageContent, tmp_path: Path) -> None:
    confidence = known(content)
    domain_shifts = {"test": confidence.familiar.compare(np.full(50, 40.0))}
    changed = dataclasses.replace(content, confidence=confidence, domain_shifts=domain_shifts)
    _, reader, words = read(write_page(changed, tmp_path / "a.html"))
    assert "confidence" in reader.ids and "#confidence" in reader.addresses
    assert "Temperature (1.25)" in words and "sets of one class" in words
    assert "test : shifted" in words or "test: shifted" in words
    assert "Least confident correct predictions" in words and ", second" in words
    assert len(set(reader.ids)) == len(reader.ids)


def test_without_calibration_there_are_no_sets(content: PageContent, tmp_path: Path) -> None:
    _, _, words = read(write_page(content, tmp_path / "a.html"))
    assert "This run was not calibrated" in words and "sets of one class" not in words


def test_a_training_set_alone_shows_nothing(content: PageContent) -> None:
    report = content.evaluations["val"]
    assert confidence_view({"train": report}, "train", None, {}) is None
    assert confidence_view({}, None, None, {}) is None
