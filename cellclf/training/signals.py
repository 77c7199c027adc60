"""Ctrl-C that stops the training after the batch, not within it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupt:
    """Whether the training was asked to stop, by Ctrl-C (SIGINT) or by ``kill`` (SIGTERM).

    A second Ctrl-C stops at once. Signals for which the calling program has its own handler are left to it, and so are
    all signals outside of ``deferred``.

    Args:
        asked: Whether to stop at the next point from which the training can resume.
    """

    def __init__(self, asked: bool = False) -> None:
        self.asked = asked

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Record signals while the block runs, where they would otherwise end the program."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) is usual:
                    before[number] = signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(OSError):  # not print or a logger: the signal may have interrupted one
            os.write(2, b"\nstopping after this batch; press Ctrl-C again to stop at once\n")
