"""The standard streams of a command: they exist, and print any name in whatever their encoding is."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from cellclf.errors import printable

ERRORS = "cellclf-spelled"
"""Name of the way in which what an encoding lacks is spelled, as ``str.encode(errors=...)`` takes it."""

_PLAIN = {
    "█": "#",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "…": "...",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "µ": "u",
    "·": "-",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}
"""Signs of this program's own texts in plain letters; what else is missing becomes an escape."""


@contextlib.contextmanager
def any_text() -> Iterator[None]:
    r"""Make the standard streams print every text while the block runs.

    On Windows, output that is redirected has the code page of the country, which lacks most letters, and a name that is
    no UTF-8 cannot be printed as UTF-8 either: both would end a command in the middle of its output.

    Examples:
        >>> with any_text():
        ...     print("κύτταρο ██".encode("cp1252", ERRORS).decode())
        \u03ba\u03cd\u03c4\u03c4\u03b1\u03c1\u03bf ##
    """
    with contextlib.ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            # streams of notebooks have their own ways; pythonw has none
            before = getattr(stream, "errors", None)
            if before in ("strict", "surrogateescape") or (before == "backslashreplace" and stream is sys.stderr):
                set_errors = getattr(stream, "reconfigure", None)
                if set_errors is not None:
                    set_errors(errors=ERRORS)
                    stack.callback(_restore, set_errors, before)
        yield


def _restore(set_errors: Any, before: str) -> None:
    with contextlib.suppress(ValueError):  # closed meanwhile, as by `cellclf ... | head`
        set_errors(errors=before)


def open_closed_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2 on nothing (`cellclf ... 2>&-`, services without a console).

    Else the next file that is opened gets the number, and what a library prints is written into a user's table.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or _escaped(sign) for sign in signs), error.end


def _escaped(sign: str) -> str:
    spelled = printable(sign)
    if sign.isspace():
        return " "
    return spelled if spelled.isascii() else sign.encode("unicode_escape").decode("ascii")


codecs.register_error(ERRORS, _spelled)
