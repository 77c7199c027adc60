"""Tables as text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


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
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in lines)
