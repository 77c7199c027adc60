"""Classes, patients and laboratories from paths: ``'{label}/{group}/*'``."""

from __future__ import annotations

import re
from typing import NamedTuple

from cellclf.errors import OptionError

_TOKEN = re.compile(r"\{(\w*)\}|(\*\*/)|(\*\*)|(\*)|(\?)")


class Found(NamedTuple):
    """What a path says; None for what the pattern does not ask for."""

    label: str | None
    group: str | None
    domain: str | None = None


class PathPattern:
    """A pattern with ``{label}``, ``{group}``, ``{domain}``; ``*`` is anything in a name, ``**`` across folders, too.

    The names in braces take as few letters as possible and no ``/``: of ``slide07_0123.png``,
    ``'{group}_*'`` takes ``slide07``.

    Args:
        pattern: Such as ``"{label}/{group}/*"``.
        whole: Whether the path begins where the pattern does; else anything may stand before it.

    Raises:
        OptionError: None of the three names, one of them twice, or another name in braces.

    Examples:
        >>> PathPattern("{label}/{group}_*").match("neutrophil/slide07_0123.png")
        Found(label='neutrophil', group='slide07', domain=None)
        >>> PathPattern("{group}/*").match("neutrophil/slide07/0123.png") is None
        True
    """

    def __init__(self, pattern: str, *, whole: bool = True) -> None:
        self.pattern = pattern
        names = re.findall(r"\{(\w*)\}", pattern) if isinstance(pattern, str) else []
        if not names or not {*names} <= {"label", "group", "domain"} or len({*names}) < len(names):
            raise OptionError(
                f"group_from={pattern!r}; expected a pattern with {{group}}, {{label}}, {{domain}}, each once, such as "
                "'{label}/{group}/*'"
            )
        self.names = tuple(names)
        parts, end = ["" if whole else "(?:.*/)?"], 0
        for token in _TOKEN.finditer(pattern):
            parts.append(re.escape(pattern[end : token.start()].replace("\\", "/")))
            name, folders, across, within, _ = token.groups()
            parts.append(
                f"(?P<{name}>[^/]+?)"
                if name
                else "(?:.*/)?"
                if folders
                else ".*"
                if across
                else "[^/]*"
                if within
                else "[^/]"
            )
            end = token.end()
        parts.append(re.escape(pattern[end:].replace("\\", "/")))
        self._regex = re.compile("".join(parts), re.DOTALL)

    def match(self, path: str) -> Found | None:
        """Read label, group and domain from a path; None if it does not match."""
        found = self._regex.fullmatch(path.replace("\\", "/").removeprefix("./"))
        return None if found is None else Found(*(found.groupdict().get(name) for name in Found._fields))

    def no_match(self, paths: list[str]) -> str:
        """Say that paths do not match."""
        return (
            f"{len(paths):,} path{'s do' if len(paths) != 1 else ' does'} not match group_from={self.pattern!r}; "
            f"the first: {paths[0]!r}"
        )
