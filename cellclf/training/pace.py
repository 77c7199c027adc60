"""The pace of a stage within a budget: how far it is by the clock, and so its rate; repeated by steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from cellclf.training.budget import Budget

LEVELS = 100
"""Parts of a stage; the rate changes from one to the next, so that few numbers say at which step it was what."""
_ANNEALED = 0.02
"""Share of the peak below which a rate has to be at the stop."""
_COOLING = 10
"""Most steps that are added where a stage ends before its rate has come down."""
_SLEEP = 30.0
_SLEEP_TIMES = 20
"""During a batch of more seconds than the first, and more times as long as usual than the second, the machine slept."""


def anneal(share: float, warmup: float) -> float:
    """Give the rate as a share of its peak: up in a line, then down to nothing along a cosine.

    Args:
        share: Of the training that is done, 0 to 1.
        warmup: Share over which the rate rises from a twentieth.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.

    Examples:
        >>> anneal(0.0, 0.1), anneal(0.1, 0.1), anneal(1.0, 0.1)
        (0.05, 1.0, 0.0)
    """
    if share < warmup:
        return max(0.05, share / warmup)
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


@dataclass
class Pace:
    """How far a stage is.

    Args:
        peak: Highest learning rate.
        part: Which part of the way from the peak to nothing it takes: stages of other sizes share one way.
        warmup: Share of the whole way over which the rate rises.
        budget: Whose time counts; None where a stage is repeated.
        begin: Seconds of the budget that were spent when it began.
        end: Seconds at which it ends.
        changes: Pairs of the steps done and the level, 0 to 99, that began then.
        steps: Steps done.
        total: Steps that it does, where it is repeated; None where time counts.
        least: Steps that it does even when its time is over before it begins.
        over: Whether it is through.
    """

    peak: float
    part: tuple[float, float] = (0.0, 1.0)
    warmup: float = 0.05
    budget: Budget | None = None
    begin: float = 0.0
    end: float = 0.0
    changes: list[list[int]] = field(default_factory=lambda: [[0, 0]])
    steps: int = 0
    total: int | None = None
    least: int = 3
    over: bool = False
    _last: float | None = field(default=None, init=False)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=15), init=False)
    _cooling: int | None = field(default=None, init=False)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.rate_at(self.level_at(self.steps))

    def rate_at(self, level: int) -> float:
        """Give the learning rate of a level."""
        first, last = self.part
        return self.peak * anneal(first + (last - first) * (level + 0.5) / LEVELS, self.warmup)

    def level_at(self, steps: int) -> int:
        """Give the level of the step that follows so many."""
        return [level for begin, level in self.changes if begin <= steps][-1]

    def share_at(self, steps: int) -> float:
        """Give the share of the stage that was done after so many steps."""
        return self.level_at(steps) / LEVELS

    def start(self) -> None:
        """Begin, or go on after a stop: what happened since is no time of a batch."""
        self._last = None if self.budget is None else self.budget.spent()
        self._recent.clear()
        self._advance()

    def begin_epoch(self) -> None:
        """Go on after the scores of an epoch, which are no time of a batch, however long they take."""
        self._last = None if self.budget is None else self.budget.spent()

    def after_step(self) -> None:
        """Count a step, look at the clock, and decide on the next: its rate, and whether there is one."""
        self.steps += 1
        if self.total is not None:
            self.over = self.steps >= self.total
            return
        assert self.budget is not None
        now = self.budget.spent()
        if self._last is not None:
            took = now - self._last
            usual = median(self._recent) if len(self._recent) >= 3 else math.inf
            if took > max(_SLEEP, _SLEEP_TIMES * usual):
                self.budget.asleep += took - usual
                now -= took - usual
            else:
                self._recent.append(took)
        self._last = now
        self.budget.keep()
        self._advance()

    def _advance(self) -> None:
        if self.budget is None or self.total is not None:
            return
        # by the end of the next batch: the last one has the lowest rate
        following = self.budget.spent() + (median(self._recent) if self._recent else 0.0)
        by_time = (following - self.begin) / max(self.end - self.begin, 1e-9)
        share = min(by_time, (self.steps + 1) / self.least)
        last = self.level_at(self.steps)
        if share > 1:
            self.over = self._is_cool(last)
        level = max(last, min(LEVELS - 1, int(share * LEVELS)))
        if level > last and not self.over:
            self.changes.append([self.steps, level])

    def _is_cool(self, level: int) -> bool:
        """Whether the rate of the last step was low enough to end; else a few more are done at the lowest."""
        if self.part[1] < 1:
            return True
        if self._cooling is None:
            done = self.rate_at(self.level_at(max(0, self.steps - 1))) < _ANNEALED * self.peak
            self._cooling = 0 if done else max(1, min(_COOLING, self.steps // 50))
        else:
            self._cooling -= 1
        return self._cooling <= 0

    def to_dict(self) -> dict[str, Any]:
        """Give what is needed to go on after a stop."""
        return {"begin": self.begin, "end": self.end, "changes": self.changes, "steps": self.steps}

    def load(self, data: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was saved."""
        self.begin, self.end, self.steps = data["begin"], data["end"], data["steps"]
        if self.total is None:
            self.changes = [list(change) for change in data["changes"] if change[0] <= self.steps]
        else:
            self.over = self.steps >= self.total

    def done(self) -> dict[str, Any]:
        """Give what is needed to repeat it."""
        changes = [change for change in self.changes if change[0] < max(1, self.steps)]
        return {"steps": self.steps, "changes": changes}


def repeated(peak: float, part: Sequence[float], warmup: float, done: Mapping[str, Any]) -> Pace:
    """Give the pace of a stage that is repeated step by step.

    Args:
        peak: See ``Pace``.
        part: See ``Pace``.
        warmup: See ``Pace``.
        done: What ``Pace.done`` gave.
    """
    changes = [[int(begin), int(level)] for begin, level in done["changes"]]
    return Pace(peak, (part[0], part[1]), warmup, changes=changes, total=int(done["steps"]))
