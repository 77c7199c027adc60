"""Ctrl-C that ends after the batch: the training is asked to stop instead of being torn."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupt:
    """Whether someone asked the training to stop, by Ctrl-C (SIGINT) or by ``kill`` (SIGTERM).

    A second Ctrl-C stops at once. Signals that the program around it handles in its own way are left to it, and
    so are all signals outside of ``deferred``.

    Args:
        asked: Whether the training shall stop at the next place where it can go on later.
    """

    def __init__(self, asked: bool = False) -> None:
        self.asked = asked

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note signals instead of letting them end the program, for as long as the context lasts."""
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
        with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, b"\nstopping after this batch; once more stops at once\n")
