"""Stratified assignment of units (patients, slides, single images) to parts that get their fraction of each class.

The cost of an assignment is the squared deviation of each part from its fraction, of every class by its own count and
of the images as a whole, as scikit-learn's StratifiedGroupKFold weighs it; a class that a part could have and lacks
costs extra. Of a few units every assignment is tried. Else large ones are assigned greedily, then moved and exchanged
while that lowers the cost; single images fill what is left, so that without groups the fractions are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Places = NDArray[np.int64]

_ABSENT = 3.0
"""What a class costs that a part lacks: a class that validation lacks is not measured, whatever the fractions are."""

_MOST_MOVED = 4_000
"""Units; beyond, the greedy assignment is near enough, and each further one changes little."""

_MOST_EXCHANGED = 160
_MOST_TRIED = 7_000
_STEPS = 200
_OFF = 0.1
"""By which fraction a part may be larger or smaller than asked for before the rounding of small classes is shared."""

_LEAST_GAIN = 1e-9


def assign(
    unit: Places, labels: Places, classes: int, fractions: Sequence[float], seed: int, *, favoured: int | None = None
) -> Places:
    """Assign each image to a part; images of one unit go to one part.

    Args:
        unit: (N,) number of the unit of each image, from 0.
        labels: (N,) class of each image.
        classes: How many classes there are.
        fractions: Of each part; they sum to 1.
        seed: Of the order in which equal units are assigned.
        favoured: The part that has an image of every class, whatever it costs; None for folds, of which each is
            left out once: then no class with two units or more is in one part only.

    Returns:
        (N,) number of the part of each image.
    """
    if not len(unit):
        return np.empty(0, np.int64)
    sizes = np.bincount(unit)
    content = np.zeros((len(sizes), classes))
    np.add.at(content, (unit, labels), 1)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(sizes))
    search = _Search(content, np.asarray(fractions, np.float64), favoured)
    if (sizes > 1).any() and len(fractions) ** min(len(sizes), 64) <= _MOST_TRIED:
        return search.best_of_all(rng)[unit]

    weight = (search.share**2).sum(1)
    order = shuffled[np.argsort(-weight[shuffled], kind="stable")]
    large = order[sizes[order] > 1]
    single = order[sizes[order] == 1]
    for number in large:
        search.place(int(number))
    if len(large) <= _MOST_MOVED:
        search.improve(np.sort(large))
    of_class = content[single].argmax(1) if len(single) else np.empty(0, np.int64)
    for label in range(classes):
        search.fill(single[of_class == label], label)
    search.complete()
    return search.part[unit]


class _Search:
    """An assignment that is being made."""

    def __init__(self, content: Counts, fractions: Counts, favoured: int | None) -> None:
        self.content = content
        self.fractions = fractions
        self.favoured = favoured
        totals = content.sum(0)
        self.units_with = np.count_nonzero(content, axis=0)
        self.units_with_any = np.flatnonzero(self.units_with)
        self.targets = _targets(totals, fractions, favoured)
        everything = np.concatenate([content, content.sum(1, keepdims=True)], axis=1)
        self.share = everything / np.maximum(everything.sum(0), 1)
        goal = np.concatenate([self.targets, fractions[:, None] * content.sum()], axis=1)
        self.goal = goal / np.maximum(everything.sum(0), 1)
        self.scale = np.maximum(fractions, 1e-12)[:, None]
        self.open = fractions > 0
        # a part should have a class if it is due an image of it, the first parts first where there are too few units
        due = np.logical_and(goal >= 0.5, self.open[:, None])
        units = np.append(self.units_with, len(content))
        self.due: NDArray[np.bool_] = np.logical_and(due, np.cumsum(due, axis=0) <= units)
        self.part = np.full(len(content), -1, np.int64)
        self.held = np.zeros_like(self.goal)
        self.pinned: NDArray[np.bool_] = np.zeros(len(content), bool)
        if favoured is not None:
            rare = self.units_with == 1
            self.pinned = np.asarray((content[:, rare] > 0).any(1))

    def best_of_all(self, rng: np.random.Generator) -> Places:
        """Try every assignment and give the part of each unit; of equally good ones, one at random."""
        parts = np.flatnonzero(self.open)
        tried = parts[
            np.stack(np.unravel_index(np.arange(len(parts) ** len(self.content)), [len(parts)] * len(self.content)), 1)
        ]
        chosen = tried[..., None] == np.arange(len(self.fractions))
        held = np.einsum("nup,uc->npc", chosen.astype(float), self.share)
        absent = held < 1e-12
        cost = ((held - self.goal) ** 2 / self.scale).sum((1, 2)) + _ABSENT * (self.due & absent).sum((1, 2))
        empty = (absent[..., -1] & self.due[:, -1]).sum(1)
        if self.favoured is not None:
            untrained = absent[:, self.favoured, self.units_with_any].sum(1)
        else:
            whole = (held[..., :-1] > 1 - 1e-9).any(1)
            untrained = (whole & (self.units_with > 1)).sum(1)
        cost += 1e3 * empty + 1e6 * untrained
        best = np.flatnonzero(cost < cost.min() + _LEAST_GAIN)
        found: Places = tried[rng.choice(best)]
        return found

    def place(self, number: int) -> None:
        """Assign a unit to the part that gains most by it."""
        if self.favoured is not None and self.pinned[number]:
            best = self.favoured
        else:
            after = self.held + self.share[number]
            gain = ((self.held - self.goal) ** 2 - (after - self.goal) ** 2) / self.scale
            first = self.due & (self.held < 1e-12) & (self.share[number] > 0)
            best = int(np.argmax(np.where(self.open, gain.sum(1) + _ABSENT * first.sum(1), -np.inf)))
        self._put(number, best)

    def _put(self, number: int, part: int) -> None:
        if self.part[number] >= 0:
            self.held[self.part[number]] -= self.share[number]
        self.held[part] += self.share[number]
        self.held[np.abs(self.held) < 1e-12] = 0
        self.part[number] = part

    def improve(self, units: Places) -> None:
        """Move units, and exchange pairs of them, while that lowers the cost."""
        free = units[~self.pinned[units]]
        for _ in range(_STEPS if len(free) else 0):
            if not self._move(free) and not (len(free) <= _MOST_EXCHANGED and self._exchange(free)):
                return

    def _move(self, free: Places) -> bool:
        share, now = self.share[free], self.part[free]
        best = (-_LEAST_GAIN, -1, -1)
        leave = self._change(now, -share)
        for part in np.flatnonzero(self.open):
            change = leave + self._change(np.full(len(free), part), share)
            change[now == part] = np.inf
            at = int(np.argmin(change))
            if change[at] < best[0]:
                best = (float(change[at]), int(free[at]), int(part))
        if best[1] >= 0:
            self._put(best[1], best[2])
        return best[1] >= 0

    def _exchange(self, free: Places) -> bool:
        one, two = np.triu_indices(len(free), 1)
        apart = self.part[free[one]] != self.part[free[two]]
        one, two = free[one[apart]], free[two[apart]]
        if not len(one):
            return False
        difference = self.share[two] - self.share[one]
        change = self._change(self.part[one], difference) + self._change(self.part[two], -difference)
        at = int(np.argmin(change))
        if change[at] >= -_LEAST_GAIN:
            return False
        first, second = int(self.part[one[at]]), int(self.part[two[at]])
        self._put(int(one[at]), second)
        self._put(int(two[at]), first)
        return True

    def _change(self, part: Places, more: Counts) -> Counts:
        """Give by how much the cost grows where each of these parts gets so much more: (n,) and (n, classes + 1)."""
        before, goal, due = self.held[part], self.goal[part], self.due[part]
        after = before + more
        cost = (((after - goal) ** 2 - (before - goal) ** 2) / self.scale[part]).sum(1)
        absent = (due & (after < 1e-12)).sum(1) - (due & (before < 1e-12)).sum(1)
        found: Counts = cost + _ABSENT * absent
        return found

    def fill(self, single: Places, label: int) -> None:
        """Share single images of one class among the parts, by what they still lack of it."""
        if not len(single):
            return
        count = max(1.0, self.content[:, label].sum())
        room = np.maximum(self.targets[:, label] - np.round(self.held[:, label] * count), 0)
        counts = round_to(room / room.sum() * len(single) if room.sum() else self.fractions * len(single), len(single))
        if self.favoured is not None and not counts[self.favoured] and not self.held[self.favoured, label]:
            counts[int(np.argmax(counts))] -= 1
            counts[self.favoured] = 1
        for part, numbers in enumerate(np.split(single, np.cumsum(counts)[:-1])):
            self.part[numbers] = part
            self.held[part] += self.share[numbers].sum(0)

    def complete(self) -> None:
        """Bring a class to the favoured part that lacks it; for folds, out of a part that has all of it."""
        for label in np.flatnonzero(self.units_with):
            with_it = np.flatnonzero(self.content[:, label])
            if self.favoured is not None:
                if (self.part[with_it] != self.favoured).all():
                    change = self._change(self.part[with_it], -self.share[with_it])
                    change += self._change(np.full(len(with_it), self.favoured), self.share[with_it])
                    self._put(int(with_it[np.argmin(change)]), self.favoured)
            elif len(with_it) > 1 and (self.part[with_it] == self.part[with_it[0]]).all():
                self._spread(with_it)
        if self.favoured is not None:
            self._fill_empty(self.favoured)

    def _fill_empty(self, favoured: int) -> None:
        """Give a part without any image the unit that costs least; training keeps every class, no part is emptied."""
        for part in np.flatnonzero(self.due[:, -1]):
            if (self.part == part).any():
                continue
            holders = np.bincount(self.part, minlength=len(self.fractions))
            in_training = np.count_nonzero(self.content[self.part == favoured], axis=0)
            needed = ((self.content > 0) & (in_training == 1)).any(1) & (self.part == favoured)
            free = np.flatnonzero(~needed & (holders[self.part] > 1))
            if len(free):
                change = self._change(self.part[free], -self.share[free])
                change += self._change(np.full(len(free), part), self.share[free])
                self._put(int(free[np.argmin(change)]), int(part))

    def _spread(self, with_it: Places) -> None:
        """Move one of these units to the part where it costs least, without taking another class's only other part."""
        home = self.part[with_it[0]]
        best = (np.inf, int(with_it[0]), int(home))
        for number in with_it:
            for part in np.flatnonzero(self.open):
                if part == home:
                    continue
                at = np.array([number])
                change = self._change(self.part[at], -self.share[at]) + self._change(np.array([part]), self.share[at])
                worse = self._bare(int(number), int(part))
                best = min(best, (float(change[0]) + 1e6 * worse, int(number), int(part)))
        self._put(best[1], best[2])

    def _bare(self, number: int, part: int) -> int:
        """Count the classes that would be in one part only if a unit moved there."""
        after = self.part.copy()
        after[number] = part
        found = 0
        for label in np.flatnonzero(self.content[number]):
            with_it = np.flatnonzero(self.content[:, label])
            found += len(with_it) > 1 and len(np.unique(after[with_it])) == 1
        return found


def _targets(totals: Counts, fractions: Counts, favoured: int | None) -> Counts:
    """Give how many images of each class each part should have: (parts, classes), whole numbers.

    Each is its share, rounded to the nearest. Of many small classes that would leave a part nearly empty (a fifth of
    two images is none, thirty times): then what is rounded off is carried to the next class, up or down by one image.
    """
    found = np.stack([round_to(fractions * count, int(count)) for count in totals], axis=1).astype(float)
    goal = fractions * totals.sum()
    if (np.abs(found.sum(1) - goal) <= np.maximum(1, _OFF * goal)).all():
        return found
    carry = np.zeros(len(fractions))
    for label, count in enumerate(totals):
        exact = fractions * count
        whole = np.floor(exact + 1e-9)
        carry += exact - whole
        for _ in range(int(count - whole.sum())):
            bare = favoured is not None and not whole[favoured]
            part = (
                favoured if bare and favoured is not None else int(np.argmax(np.where(fractions > 0, carry, -np.inf)))
            )
            whole[part] += 1
            carry[part] -= 1
        found[:, label] = whole
    return found


def round_to(exact: NDArray[np.float64], total: int) -> Places:
    """Round down and give what is left to the largest remainders (Hamilton's method).

    Examples:
        >>> round_to(np.array([1.5, 0.6, 0.9]), 3)
        array([1, 1, 1])
    """
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return whole
