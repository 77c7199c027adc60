"""The exit codes of every command, in one place."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """With which number a command ends; 0 is success."""

    ERROR = 1
    """An error, reported in one line."""
    USAGE = 2
    """A command line that cannot be understood; ``click`` itself uses this number."""
    FINDING = 3
    """A check found something: ``run --check``, ``rerun``."""
    SKIPPED = 4
    """Done, but inputs were skipped: ``predict``, ``features``, ``explain``; ``--skip-ok`` gives 0."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; the same command continues a run."""
