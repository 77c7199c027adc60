"""What the work says of itself: one logger, which the command line and notebooks show and a service routes."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

logger = logging.getLogger("cellclf")
"""The logger of everything: ``logging.getLogger("cellclf")``."""


def is_shown(show: bool | None) -> bool:
    """Decide whether progress is shown: True and False say it; None shows it on a terminal and in a notebook.

    Args:
        show: As every function that works for long takes it.
    """
    if show is not None:
        return show
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextlib.contextmanager
def showing(show: bool | None) -> Iterator[bool]:
    """Show the logger's lines on stderr while the block runs, where ``is_shown`` says so.

    A program that has set up logging itself gets the lines through its own handlers, and none here.

    Args:
        show: See ``is_shown``.

    Returns:
        Whether they are shown.
    """
    shown = is_shown(show)
    if not shown or sys.stderr is None or logger.handlers or logging.getLogger().handlers:
        yield shown
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield shown
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
