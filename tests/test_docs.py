"""What README and docs show is run: the python fences of a page, one after the other in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


@pytest.mark.parametrize("page", [p for p in PAGES if FENCE.search(p.read_text("utf-8"))], ids=lambda p: p.name)
def test_the_python_fences_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in FENCE.findall(page.read_text("utf-8")):
        exec(compile(code, page.name, "exec"), names)


def test_every_page_is_in_the_navigation_and_there():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = set(re.findall(r": (\S+\.md)$", text, re.M))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}
