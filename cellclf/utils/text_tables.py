"""Tables as text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cellclf.errors import one_line

_LIVE = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)|\[(?=.*\]\()")
_DEAD = {"<": "&lt;", "&": "&amp;", "[": "\\["}
"""Beginnings of tags, character references and links, and what shows the same signs without being one."""


def columns(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> list[str]:
    """Align texts in columns, two blanks apart.

    Args:
        rows: Of the same length each.
        right: Numbers of the columns that are aligned to the right.

    Returns:
        One line a row.

    Examples:
        >>> columns([["set", "n"], ["val", "1,200"]], right=(1,))
        ['set      n', 'val  1,200']
    """
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if k in right else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    r"""Write a table of Markdown; the first row is its head, the first column is aligned to the left.

    Args:
        rows: Of the same length each.

    Examples:
        >>> print(markdown_table([["set", "n"], ["a|b", "7"]]))
        | set | n |
        | :-- | --: |
        | a\|b | 7 |
    """
    lines = [list(rows[0]), [":--", *["--:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in lines)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def without_html(text: str) -> str:
    r"""Make a page of Markdown show what looks like HTML, or like an image or a link, as the text that it is.

    Names of classes and files may be anyone's, and most renderers let HTML through. What stands in code is shown as it
    is anyway, and nothing written here holds HTML or links on purpose.

    Args:
        text: The whole page; its blocks of code begin with three backticks.

    Examples:
        >>> print(without_html("# <script> & ![x](http://a)"))
        # &lt;script> & !\[x](http://a)
    """
    lines, code = [], False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        if not code:
            line = _LIVE.sub(lambda found: _DEAD[found[0]], line)
        lines.append(line)
    return "\n".join(lines)
