"""Every error that cellclf raises on purpose, in one tree.

Each class is also a built-in kind, so that code which does not know cellclf can catch it::

    CellclfError
    ├── DataError            (ValueError)    images, labels or ids that a step cannot use
    ├── OptionError          (ValueError)    an argument or a recipe field has an unusable value
    ├── UnknownNameError     (LookupError)   no backbone, recipe, preset, class ... of that name
    ├── WeightsError         (ValueError)    a weights file is missing, unreadable or of another network
    ├── MissingPackageError  (ImportError)   an optional package is not installed
    ├── PluginError          (RuntimeError)  a plugin broke its contract
    ├── RunFolderError       (OSError)       a run folder cannot be used as asked
    ├── TrainingError        (RuntimeError)  a training cannot go on
    └── ExportError          (RuntimeError)  an exported network would not predict what the run predicts

A notice that does not stop the work is a CellclfWarning (UserWarning).

Every message is one line: what is wrong, the value, what was expected, the fix. It names files, classes and columns
that may come from anyone, so it is always printable and below 1,000 characters.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_LONGEST = 990
_PLAIN = re.compile(r"[\x20-\x7e]*")
_KEPT = "\u200c\u200d"
"""Joiners without a width: Persian and Hindi names are written with them, and they do nothing else."""


def printable(text: str) -> str:
    r"""Spell what would steer a terminal, break a line or be no text in a file as an escape.

    Those are control and format characters, line ends, and bytes of a file name that are not UTF-8.

    Args:
        text: Any text: a class name, a file name.

    Examples:
        >>> print(printable("red\x1b[31m\nline"), printable("Zellen_\udcfc"), printable("κύτταρο"))
        red\x1b[31m\nline Zellen_\xfc κύτταρο
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(map(_spelled, text))


def _spelled(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python carries a byte that is not UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    if sign.isprintable() or sign in _KEPT or unicodedata.category(sign) == "Zs":  # Zs: blanks of every width
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    r"""Make a message one printable line of less than 1,000 characters; what is cut is in its middle.

    Examples:
        >>> one_line("a\n b"), len(one_line("long" * 1000))
        ('a b', 990)
    """
    text = printable(re.sub(r"[ \t]*(?:\r\n|\r|\n)\s*", " ", text))
    if len(text) <= _LONGEST:
        return text
    end = 300
    return f"{text[: _LONGEST - end - 5]} ... {text[-end:]}"


class CellclfError(Exception):
    """Root of the tree: catch it to catch everything that cellclf raises on purpose."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class DataError(CellclfError, ValueError):
    """Images, labels or ids that the step cannot use."""


class OptionError(CellclfError, ValueError):
    """An argument, command-line option or recipe field has an unusable value."""


class UnknownNameError(CellclfError, LookupError):
    """There is nothing of that name; the message lists the names that exist."""


class WeightsError(CellclfError, ValueError):
    """A weights file is missing, unreadable or made for another network."""


class MissingPackageError(CellclfError, ImportError):
    """A package that this step needs is not installed."""


class PluginError(CellclfError, RuntimeError):
    """A plugin broke its contract with cellclf."""


class RunFolderError(CellclfError, OSError):
    """A run folder cannot be read, written or continued as asked."""


class TrainingError(CellclfError, RuntimeError):
    """A training cannot go on."""


class ExportError(CellclfError, RuntimeError):
    """An exported network would not predict what the run predicts, or cannot be made."""


class CellclfWarning(UserWarning):
    """A notice that does not stop the work."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def joined(messages: Iterable[str], limit: int = 950) -> str:
    """Join messages to one line; those that make it longer than the limit are only counted.

    Examples:
        >>> joined(["a is 3", "b is 4", "c is 5"], limit=14)
        'a is 3; b is 4; and 1 more'
    """
    shown: list[str] = []
    rest = list(messages)
    while rest and (not shown or len("; ".join([*shown, rest[0]])) <= limit):
        shown.append(rest.pop(0))
    return "; ".join([*shown, *([f"and {len(rest)} more"] if rest else [])])


def unknown(kind: str, name: object, choices: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that does not exist, with the nearest one and the whole list.

    Args:
        kind: What was asked for, in the singular: ``"backbone"``.
        name: The name that was asked for.
        choices: The names that exist.

    Examples:
        >>> print(unknown("recipe", "fsat", ["fast", "report"]))
        there is no recipe 'fsat'; did you mean 'fast'? There are: fast, report
    """
    names = sorted(set(choices))
    spelled = {text.lower(): text for text in names}
    near = difflib.get_close_matches(str(name)[:80].lower(), spelled, n=1, cutoff=0.5)
    hint = f"; did you mean {spelled[near[0]]!r}?" if near else "."
    shown = name if len(repr(name)) <= 80 else f"{str(name)[:60]}..."
    return UnknownNameError(f"there is no {kind} {shown!r}{hint} There are: {', '.join(names) or 'none'}")
