"""The time that a whole job may take: kept with the run, so that what was spent before a stop counts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellclf.errors import OptionError
from cellclf.runs.folder import MODEL
from cellclf.utils.atomic import write_json
from cellclf.utils.locks import BUDGET
from cellclf.utils.parameters import Positive, check_value, plain

if TYPE_CHECKING:
    from cellclf.training.plan import Speed

_KEEP_EVERY = 5.0
"""Seconds after which the time spent is written again."""


class Budget:
    """The time that a job may take, from its start to its report.

    Time is read from a clock that only goes forward and that most systems stop while the machine sleeps. What earlier
    processes of the same run took is counted, what lies between them is not.

    Args:
        minutes: How long the whole job may take.
        clock: Gives seconds; ``time.monotonic``, or another one for tests.
        started: What the clock showed when the job began; None is now.

    Examples:
        >>> now = iter([100.0, 130.0])
        >>> budget = Budget(1, clock=lambda: next(now))
        >>> budget.spent()
        30.0
    """

    def __init__(
        self, minutes: float, *, clock: Callable[[], float] = time.monotonic, started: float | None = None
    ) -> None:
        check_value(minutes, Positive, "minutes")
        self.minutes = float(plain(minutes))
        self.clock = clock
        self.started = clock() if started is None else started
        self.before = 0.0
        self.asleep = 0.0
        self.images_after = 0
        self.train_after = 0
        self.seconds_after = 0.0
        self.speed: Speed | None = None
        self._path: Path | None = None
        self._kept = self.started

    @property
    def seconds(self) -> float:
        """How long the whole job may take."""
        return self.minutes * 60

    def spent(self) -> float:
        """Give the seconds that the job has taken, earlier processes included, without those that the machine slept."""
        return self.before + self.clock() - self.started - self.asleep

    def open(self, folder: Path | None) -> None:
        """Go on counting where an earlier process of the run stopped, and keep the count in its folder.

        Args:
            folder: Of the run, which is held; None keeps nothing, and so does a finished run, which is only read.
        """
        if folder is None or self._path is not None or (folder / MODEL).exists():
            return
        self._path = folder / BUDGET
        with suppress(OSError, ValueError, KeyError, TypeError):  # none, or damaged: only what is known counts
            self.before = max(0.0, float(json.loads(self._path.read_text("utf-8"))["spent"]))
        self.keep(now=True)

    def keep(self, *, now: bool = False) -> None:
        """Write what was spent, at most every few seconds.

        Args:
            now: Write it in any case.
        """
        if self._path is not None and (now or self.clock() - self._kept > _KEEP_EVERY):
            self._kept = self.clock()
            write_json(self._path, {"spent": round(self.spent(), 3), "minutes": self.minutes})

    def close(self) -> None:
        """Remove the count of a run that is finished: its manifest holds it."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def budget_of(minutes: float | Budget | None) -> Budget | None:
    """Give the budget of a job that starts now.

    Args:
        minutes: How long it may take; a budget is that of a job that has begun; None is no budget.

    Raises:
        OptionError: No number above 0.
    """
    if minutes is None or isinstance(minutes, Budget):
        return minutes
    if isinstance(minutes, bool):
        raise OptionError(f"minutes={minutes}; expected a number above 0")
    return Budget(minutes)
