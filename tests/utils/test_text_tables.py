"""Pages of Markdown hold names as text."""

from __future__ import annotations

import pytest

import cellclf as cc
from cellclf.reporting.content import PageContent
from cellclf.reporting.markdown import write_markdown
from cellclf.utils.text_tables import markdown_table, without_html

LIVE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td><b>",
    "<!-- hidden",
    "<?php",
    "<http://evil>",
    "<a href=javascript:alert(1)>x",
    "![x](http://evil/track.png)",
    "[open](javascript:alert(1))",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "a\nb",
    "a\n\n# Heading",
    "a|b",
    "`<b>`",
)


@pytest.mark.parametrize("name", LIVE)
def test_a_name_of_anyone_is_shown_as_text(name, tmp_path):
    report = cc.evaluate([0, 1] * 5, [[0.9, 0.1], [0.2, 0.8]] * 5, [name, "b"])
    path = write_markdown(PageContent(title=name, evaluations={"test": (report, None)}), tmp_path / "r.md")
    text = path.read_text("utf-8")
    for tag in ("<script", "<img", "</td", "<!--", "<?php", "<http", "<a ", "<b>"):
        assert tag not in text
    assert "](http" not in text.replace("\\[x](http", "") and "&lt;script&gt;" not in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith(("# ", "## "))
    ]
    assert "# Heading" not in text.splitlines() and "| a\nb" not in text


def test_what_is_meant_is_left_alone():
    text = "# a\n\n| p |\n| -- |\n| < 0.0001 |\n\n1 & 2, a[0], *b*\n\n```sh\ncellclf run '<a>'\n```\n`recipe.toml`"
    assert without_html(text) == text
    assert markdown_table([["a"], ["x\ny|z"]]).splitlines()[-1] == "| x y\\|z |"
