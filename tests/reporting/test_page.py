from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from report_helpers import read

import cellclf as cc
from cellclf.errors import DataError, UnknownNameError
from cellclf.evaluation.metrics import evaluate
from cellclf.evaluation.robustness import robustness
from cellclf.reporting.page import PageContent, write_page
from cellclf.reporting.verdict import headline_name, verdict


@pytest.fixture(scope="session")
def page(content: PageContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(content, tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_loads_nothing_and_every_link_arrives(page: Path) -> None:
    text, reader, _ = read(page)
    assert "script" not in reader.tags
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert {a[1:] for a in reader.addresses if a.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text and len(text) < 5e6


def test_names_of_strangers_stay_text(page: Path) -> None:
    text, _, words = read(page)
    assert "<script>" not in text and "<b>odd" not in text and "<i>0" not in text
    assert "runs/a <script>alert(1)</script>" in words and "<b>odd & name</b>" in words
    assert 'name = "<fast>"' in words


def test_every_section_is_there_and_says_its_numbers(content: PageContent, page: Path) -> None:
    _, reader, words = read(page)
    wanted = {"overview", "incoming", "removed", "split", "augmentation", "training", "results", "cost", "rerun"}
    assert wanted | {"set0"} <= set(reader.ids)
    report = content.evaluations["test"][0]
    for name, value in report.headline().items():
        if name != "weighted precision":  # the table is wide enough
            assert f"{100 * value:.1f}\u202f% {100 * value.low:.1f}–{100 * value.high:.1f}" in words
    assert f"On {report.n} pictures of “test”, which it had never seen" in words
    assert "Checked: no id, no duplicate group stands in more than one part." in words
    assert "No patients or slides were named" in words
    assert "2 grey pictures were made RGB" in words and "truncated <file>" in words
    assert "conflict 13 pictures in 1 group" in words and "identical 1 picture in 1 group" in words
    assert "12 min 34 s" in words and "versions: keras 3.15" in words
    assert '"option8": 8' in words and "option8 8" not in words, "long settings are folded away"
    assert reader.tags.count("svg") == 6, "four curves of the training, two of the confidence"


def test_the_confusion_matrix_is_the_reports(content: PageContent, page: Path) -> None:
    _, _, words = read(page)
    report = content.evaluations["test"][0]
    for pair in report.confused():
        said = f"{pair.truth.replace('_', ' ')} called {pair.predicted.replace('_', ' ')} {pair.count}, "
        assert said + f"{100 * pair.rate:.1f}\u202f% of the class" in words


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
    assert "There is no mistake among these 2 pictures" in words


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
    assert "On bad pictures: next <month>" in words and words.count("a yardstick") == 1


def test_a_leaking_split_is_said(content: PageContent, tmp_path: Path) -> None:
    assert content.parts is not None
    torn = dataclasses.replace(content.parts, val=content.parts.train[:5])
    _, _, words = read(write_page(dataclasses.replace(content, parts=torn), tmp_path / "a.html"))
    assert "5 id values stand in more than one part" in words and "Checked" not in words


def test_pictures_of_another_set_are_refused(content: PageContent, tmp_path: Path) -> None:
    report, cells = content.evaluations["test"]
    assert cells is not None
    with pytest.raises(DataError, match="pass the evaluated set"):
        write_page(PageContent(title="a", evaluations={"test": (report, cells[1:])}), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_the_same_content_gives_the_same_page(content: PageContent, page: Path, tmp_path: Path) -> None:
    assert write_page(content, tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_headline() -> None:
    assert headline_name({"train": 1, "val": 1}, None) == "val"
    assert headline_name({"val": 1, "lab": 1, "test": 1}, None) == "test"
    assert headline_name({"val": 1, "test": 1}, "val") == "val"
    assert headline_name({}, None) is None
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        headline_name({"val": 1, "test": 1}, "tset")


def test_the_verdict_tells_memory_fewness_and_elsewhere(content: PageContent) -> None:
    reports = {name: report for name, (report, _) in content.evaluations.items()}
    lead, lines = verdict(reports, "test")
    assert "never seen" in lead and lines[0].startswith("The weakest class is ")
    assert any("Fewer than 20 pictures" in line for line in lines)
    assert any("learnt by heart" in line for line in lines)
    assert any("the other lab" in line and "do not rely on it" in line for line in lines)
    lead, lines = verdict({"val": reports["val"]}, "val")
    assert "the best epoch was chosen" in lead and "another laboratory" in lines[-1]


@pytest.fixture(scope="session")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("needs a headless Chromium: apt-get install chromium")
    return found


def browse(browser: str, page: Path, width: int, *more: str) -> subprocess.CompletedProcess[str]:
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--enable-logging=stderr", f"--window-size={width},900", "--virtual-time-budget=3000"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--hide-scrollbars", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.browser
def test_a_browser_asks_for_nothing_and_complains_of_nothing(browser: str, page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    done = browse(browser, page, 1280, f"--log-net-log={log}", "--dump-dom")
    assert "</html>" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    asked = re.findall(r'"url":"(https?://[^"]+)"', log.read_text(encoding="utf-8"))
    ours = [url for url in asked if not re.search(r"google|gvt1|chromium", url)]
    assert not ours


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_at_the_side(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    text = re.sub(r"<meta http-equiv[^>]+>", "", page.read_text(encoding="utf-8"))
    measure = "[innerWidth, document.documentElement.scrollWidth]"
    framed = tmp_path / "inner.html"
    framed.write_text(text + f"<script>parent.postMessage({measure}, '*')</script>", encoding="utf-8")
    outer = tmp_path / "outer.html"  # headless windows are 500 wide at least, a frame is as wide as it is told to
    outer.write_text(
        "<script>onmessage = e => document.title = JSON.stringify(e.data)</script>"
        f"<iframe src='inner.html' width='{width}' height='800' style='border:0'></iframe>",
        encoding="utf-8",
    )
    done = browse(browser, outer, 1400, "--dump-dom")
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found, done.stderr
    inner, wide = json.loads(found[1])
    assert (inner, wide) == (width, width)
