from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.report import read
from markupsafe import escape

import cellclf as cc
from cellclf.errors import DataError
from cellclf.evaluation.metrics import evaluate
from cellclf.evaluation.robustness.measure import robustness
from cellclf.reporting.content import PageContent
from cellclf.reporting.matrix import panels
from cellclf.reporting.page import write_page


def test_the_page_loads_nothing_and_every_link_arrives(page: Path) -> None:
    text, reader, _ = read(page)
    assert "script" not in reader.tags
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert {a[1:] for a in reader.addresses if a.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text and len(text) < 5e6


def test_any_name_stays_text(page: Path) -> None:
    text, _, words = read(page)
    assert "<script>" not in text and "<b>odd" not in text and "<i>0" not in text
    assert "runs/a <script>alert(1)</script>" in words and "<b>odd & name</b>" in words
    assert 'name = "<fast>"' in words


def test_every_section_is_there_with_its_numbers(content: PageContent, page: Path) -> None:
    _, reader, words = read(page)
    expected = {"overview", "incoming", "removed", "split", "augmentation", "training", "results", "cost", "rerun"}
    assert expected | {"set0"} <= set(reader.ids)
    report = content.evaluations["test"][0]
    for name, value in report.headline().items():
        if name != "weighted precision":  # the table is wide enough
            assert f"{100 * value:.1f}\u202f% {100 * value.low:.1f}–{100 * value.high:.1f}" in words
    assert f"On {report.n} images of “test”, which it has never seen" in words
    assert "Checked: no id, no duplicate group is in more than one part." in words
    assert "No patients or slides were given" in words
    assert "2 grey images were made RGB" in words and "truncated <file>" in words
    assert "conflicting labels 13 images in 1 group" in words and "identical 1 image in 1 group" in words
    assert "12 min 34 s" in words and "versions: keras 3.15" in words
    assert '"option8": 8' in words and "option8 8" not in words, "long settings are folded away"
    assert reader.tags.count("svg") == 6, "four curves of the training, two of the confidence"


def test_the_confusion_matrix_is_the_reports(content: PageContent, page: Path) -> None:
    _, _, words = read(page)
    report = content.evaluations["test"][0]
    for pair in report.confused():
        text = f"{pair.truth.replace('_', ' ')} predicted as {pair.predicted.replace('_', ' ')} {pair.count}, "
        assert text + f"{100 * pair.rate:.1f}\u202f% of the class" in words


def test_every_number_of_a_matrix_leads_to_its_images(content: PageContent, page: Path) -> None:
    text, reader, words = read(page)
    report, cells = content.evaluations["test"]
    assert cells is not None
    for r, row in enumerate(report.confusion):
        for c, number in enumerate(row):
            assert (f"set0-{r}-{c}" in reader.ids) == (number > 0) == (f"#set0-{r}-{c}" in reader.addresses)
    parts = re.split(r'<div class="panel(?: open)?" id="(set0-\d+-\d+)"', text.split('id="set1"')[0])
    shown = {key: set(re.findall(r'title="([^"]+)"', part)) for key, part in zip(parts[1::2], parts[2::2], strict=True)}
    for k in range(3):  # the least confident correct predictions
        rows = np.flatnonzero((report.truth == k) & (report.predicted == k))
        rows = rows[np.argsort(report.confidence[rows])][:8]
        if len(rows):
            expected = {str(escape(cells.ids[row])) for row in rows}
            assert shown[f"set0-{k}-{k}"] >= expected and len(shown[f"set0-{k}-{k}"]) < len(rows) + 30
    assert "the least confident first" in words


def test_the_images_behind_a_matrix_are_few(content: PageContent) -> None:
    """Eight classes with every number in the matrix: some hundred thumbnails, and never none for a number."""
    names, rng = [f"class {k}" for k in range(8)], np.random.default_rng(0)
    labels, called = np.repeat(np.arange(8), 80), np.tile(np.arange(8), 80)
    probabilities = 0.5 * np.eye(8)[called] + 0.5 * rng.dirichlet(np.ones(8), 640)
    report = evaluate(labels, probabilities / probabilities.sum(1, keepdims=True), names, resamples=100)
    cells = cc.ImageSet(np.zeros((640, 8, 8, 3), np.uint8), labels, class_names=names)
    for full, most in ((True, 320), (False, 160)):
        found = panels(report, cells, "set0", full=full)
        sizes = [len(panel["images"]) for panel in found]
        assert len(found) == (report.confusion > 0).sum() and min(sizes) >= 1 and sum(sizes) <= most
        assert sum(panel["open"] for panel in found) == (8 if full else 4)


def test_heatmaps_stand_beside_mistakes_and_uncertain_predictions(content: PageContent, tmp_path: Path) -> None:
    _, reader, words = read(write_page(content, tmp_path / "a.html"))
    _, bare, without = read(write_page(dataclasses.replace(content, run=None), tmp_path / "b.html"))
    report = content.evaluations["test"][0]
    wrong = len(report.mistakes())
    more = reader.tags.count("img") - bare.tags.count("img")
    assert more == min(14, wrong) + min(14, report.n - wrong), "of the leading set alone"
    assert words.count("heat map") == 2 and "heat map" not in without


def test_what_is_absent_is_left_out(tmp_path: Path, content: PageContent) -> None:
    report = content.evaluations["test"][0]
    _, reader, words = read(
        write_page(PageContent(title="bare", evaluations={"x": (report, None)}), tmp_path / "a.html")
    )
    assert {"incoming", "removed", "split", "augmentation", "training", "cost", "rerun"}.isdisjoint(reader.ids)
    assert "Macro F1" in words and "img" not in reader.tags
    _, reader, words = read(write_page(PageContent(title="nothing at all"), tmp_path / "b.html"))
    assert words.startswith("nothing at all") and "results" not in reader.ids


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(PageContent) if field.name != "title"])
def test_any_one_piece_may_be_missing(name: str, content: PageContent, tmp_path: Path) -> None:
    default = getattr(PageContent(title=""), name)
    read(write_page(dataclasses.replace(content, **{name: default}), tmp_path / "a.html"))


def test_sets_without_labels_or_mistakes(content: PageContent, tmp_path: Path) -> None:
    assert content.cells_before is not None
    bare = content.cells_before.replace(labels=None)
    read(write_page(PageContent(title="a", cells_before=bare, cells_after=bare[:9]), tmp_path / "a.html"))
    perfect = evaluate([0, 1], [[1.0, 0], [0, 1]], ["a", "b"])
    _, _, words = read(write_page(PageContent(title="a", evaluations={"test": (perfect, None)}), tmp_path / "b.html"))
    assert "There is no mistake among these 2 images" in words


def test_robustness_is_shown_suite_by_suite(content: PageContent, tmp_path: Path) -> None:
    cells = cc.make_cells(12, size=16, seed=1)

    def guess(images: np.ndarray) -> np.ndarray:
        return np.tile(np.eye(8)[0], (len(images), 1))

    suites = [robustness(guess, cells, seen=["jpeg"], resamples=100)]
    suites.append(robustness(guess, cells, cells, name="next <month>", resamples=100))
    _, reader, words = read(write_page(dataclasses.replace(content, robustness=suites), tmp_path / "a.html"))
    assert {"robustness0", "robustness1"} <= set(reader.ids)
    assert reader.tags.count("polyline") == 12
    assert "jpeg compression compression, seen 12.5 12.5 12.5 12.5 12.5 12.5" in words
    assert "Robustness: next <month>" in words and words.count("a rough scale only") == 1


def test_a_leaking_split_is_reported(content: PageContent, tmp_path: Path) -> None:
    assert content.parts is not None
    leaking = dataclasses.replace(content.parts, val=content.parts.train[:5])
    _, _, words = read(write_page(dataclasses.replace(content, parts=leaking), tmp_path / "a.html"))
    assert "5 id values are in more than one part" in words and "Checked" not in words


def test_images_of_another_set_are_refused(content: PageContent, tmp_path: Path) -> None:
    report, cells = content.evaluations["test"]
    assert cells is not None
    with pytest.raises(DataError, match="pass the evaluated set"):
        write_page(PageContent(title="a", evaluations={"test": (report, cells[1:])}), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_the_same_content_gives_the_same_page(content: PageContent, page: Path, tmp_path: Path) -> None:
    assert write_page(content, tmp_path / "again.html").read_bytes() == page.read_bytes()
