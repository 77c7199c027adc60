"""One logger for the whole library: the command line and notebooks show its lines, a service routes them."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from cellclf.errors import one_line

logger = logging.getLogger("cellclf")
"""The logger of everything: ``logging.getLogger("cellclf")``."""


class _Spelled(logging.Formatter):
    """Spells what would steer a terminal: names of files and classes may be anyone's."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(one_line, super().format(record).split("\n")))


def is_shown(show: bool | None) -> bool:
    """Decide whether progress is shown.

    Args:
        show: As every function that takes long has it: True or False; None shows on a terminal and in a notebook.
    """
    if show is not None:
        return show
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextlib.contextmanager
def showing(show: bool | None) -> Iterator[bool]:
    """Show the logger's lines of level INFO while the block runs, where ``is_shown`` allows it.

    They go to stderr, or to the handlers of a program that has set up logging itself. Blocks may be nested: a line is
    shown once.

    Args:
        show: See ``is_shown``.

    Returns:
        Whether they are shown.

    Examples:
        >>> with showing(False) as shown:
        ...     logger.info("12 images -> 11")
        >>> shown
        False
    """
    if not is_shown(show):
        yield False
        return
    level, handler = logger.level, None
    if not logger.hasHandlers() and sys.stderr is not None:  # without a console stderr is None
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Spelled("%(message)s"))
        logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield True
    finally:
        logger.setLevel(level)
        if handler is not None:
            logger.removeHandler(handler)
