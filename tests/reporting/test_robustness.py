"""Robustness enters the report when it is measured, also of a job that was finished before."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.report import read

import cellclf as cc
from cellclf.errors import RunFolderError
from cellclf.evaluation.robustness.measure import robustness
from cellclf.evaluation.robustness.result import Robustness, stored
from cellclf.reporting import add_robustness
from cellclf.reporting.content import PageContent
from cellclf.reporting.json_report import write_data
from cellclf.reporting.markdown import write_markdown
from cellclf.reporting.page import write_page

FILES = ("report.html", "report.md", "report.json")


def guess(images: np.ndarray) -> np.ndarray:
    return np.tile(np.eye(8)[0], (len(images), 1))


@pytest.fixture(scope="module")
def suites() -> list[Robustness]:
    cells = cc.make_cells(12, size=16, seed=1)
    return [robustness(guess, cells, resamples=100), robustness(guess, cells, cells, name="<next> 1", resamples=100)]


def write(content: PageContent, folder: Path) -> Path:
    for writer, name in zip((write_page, write_markdown, write_data), FILES, strict=True):
        writer(content, folder / name)
    return folder


def texts(folder: Path) -> list[str]:
    return [(folder / name).read_text(encoding="utf-8") for name in FILES]


def test_a_report_gets_it_later_as_if_it_had_been_there(
    content: PageContent, suites: list[Robustness], tmp_path: Path
) -> None:
    both = dataclasses.replace(content, robustness=suites[::-1])  # stored in the order of their files
    expected = texts(write(both, tmp_path / "whole"))
    folder = write(content, tmp_path / "later")
    assert add_robustness(folder, suites[0]) == folder / "robustness.json"
    assert add_robustness(str(folder), suites[1]).name == "robustness--next-1.json"
    assert [found.suite for found in stored(folder)] == ["<next> 1", "medmnist-c"]
    page, markdown, data = texts(folder)
    assert re.sub(r"\n+", "\n", page) == re.sub(r"\n+", "\n", expected[0])
    assert markdown == expected[1] and json.loads(data) == json.loads(expected[2])
    add_robustness(folder, suites[0])
    assert texts(folder) == [page, markdown, data], "the same suite again replaces itself"
    _, reader, words = read(folder / "report.html")
    assert {"#robustness0", "#robustness1"} <= set(reader.addresses) and "Robustness: <next> 1" in words
    assert "## Robustness: medmnist-c" in markdown and "| jpeg compression |" in markdown


def test_a_report_of_an_older_version_gets_it_before_what_follows(
    content: PageContent, suites: list[Robustness], tmp_path: Path
) -> None:
    folder = write(content, tmp_path)
    for name, text in zip(FILES, texts(folder), strict=True):
        (folder / name).write_text(re.sub(r"<!-- /?robustness(-\w+)? -->\n*", "", text), encoding="utf-8")
    add_robustness(folder, suites[0])
    page, markdown, _ = texts(folder)
    _, reader, _ = read(folder / "report.html")
    assert reader.ids.index("set0") < reader.ids.index("robustness0") < reader.ids.index("cost")
    assert markdown.index("## Scores") < markdown.index("## Robustness") < markdown.index("## Images")
    add_robustness(folder, suites[0])
    assert texts(folder)[:2] == [page, markdown]


def test_a_run_without_a_report_keeps_the_figures(suites: list[Robustness], tmp_path: Path) -> None:
    assert [one.name for one in tmp_path.iterdir()] == []
    add_robustness(tmp_path, suites[0])
    assert [one.name for one in tmp_path.iterdir()] == ["robustness.json"]


def test_what_cannot_be_changed_is_left_as_it_was(
    content: PageContent, suites: list[Robustness], tmp_path: Path
) -> None:
    folder = write(content, tmp_path)
    (folder / "report.json").write_text("[1, 2", encoding="utf-8")
    before = texts(folder)
    with pytest.raises(RunFolderError, match=r"report\.json is damaged"):
        add_robustness(folder, suites[0])
    assert texts(folder) == before
    with pytest.raises(RunFolderError, match="there is no folder"):
        add_robustness(tmp_path / "nowhere", suites[0])
