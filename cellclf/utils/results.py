"""What every result shares: text for people, a short form in notebooks, plain data, files by their ending, a plot."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from cellclf.errors import OptionError
from cellclf.utils.atomic import replacing, write_json, write_text

_LINES = 14
_PLOTS = (".png", ".svg", ".pdf")


class Result:
    r"""A result: ``str(x)`` for people, ``repr(x)`` under 15 lines, ``to_dict()``, ``save(path)``, mostly ``plot()``.

    A child has ``summary()`` or its own ``__str__``, and ``to_dict()``; dataclasses among them say ``repr=False``.

    Examples:
        >>> class Count(Result):
        ...     def summary(self):
        ...         return "\n".join(f"line {k}" for k in range(20))

        >>> repr(Count()).splitlines()[-1]
        '... 7 more lines: print(...) shows them'
    """

    def __str__(self) -> str:
        text: str = self.summary() if hasattr(self, "summary") else object.__repr__(self)
        return text

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], f"... {len(lines) - _LINES + 1} more lines: print(...) shows them"]
        return "\n".join(line if len(line) <= 200 else line[:197] + "..." for line in lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        raise OptionError(f"{type(self).__name__} has no plain form")

    def save(self, path: str | Path) -> Path:
        """Write the result, by the ending of the name; each file is whole or not there.

        Args:
            path: ``.json`` for the plain data, ``.txt`` or ``.md`` for the text, ``.html`` for a page of it, or, where
                there is a plot, ``.png``, ``.svg`` or ``.pdf``.

        Raises:
            OptionError: Another ending, or a plot of a result that has none.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".json":
            return write_json(path, self.to_dict())
        if ending in (".txt", ".md"):
            markdown = getattr(self, "to_markdown", None) if ending == ".md" else None
            return write_text(path, (str(self) if markdown is None else markdown()).rstrip() + "\n")
        if ending == ".html":
            title = html.escape(type(self).__name__)
            head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            return write_text(path, f"{head}<pre>{html.escape(str(self))}</pre>\n")
        draw = getattr(self, "plot", None)
        endings = (".json", ".txt", ".md", ".html", *(_PLOTS if draw is not None else ()))
        if ending not in endings or draw is None:
            raise OptionError(
                f"a {type(self).__name__} cannot be written to {path.name!r}; expected {', '.join(endings)}"
            )
        with replacing(path) as new:
            draw().savefig(new, bbox_inches="tight")
        return path
