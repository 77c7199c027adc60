"""A greedy soup: the mean of the weights of some of a training's last epochs, as far as the scores agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellclf.training.checkpoint import Arrays
from cellclf.training.stage import MONITORS, Monitor

Scores = Mapping[str, float]
_AGREE = ("val_macro_f1", "shifted_macro_f1")
"""Scores that must not become worse, beside the monitor: of the validation images and of their altered copy."""


@dataclass
class Soup:
    """The weights of the last epochs of a stage, from which a soup is made when it ends.

    Statistics of BatchNorm are averaged as weights are, and as an EMA averages them. For epochs at the end of one
    training these lie close to what a pass over the training images would give, each candidate is scored with the
    statistics that it will have, and nothing is left to chance after a stop; a pass for each candidate would take as
    long as an epoch.

    Args:
        most: How many of the last epochs are kept.

    Source: the greedy recipe of Wortsman et al. 2022, Model soups, arXiv 2203.05482, of the epochs of one run in place
    of several runs.
    """

    most: int
    epochs: list[int] = field(default_factory=list)
    weights: list[Arrays] = field(default_factory=list)

    def add(self, epoch: int, weights: Arrays) -> None:
        """Keep what an epoch ended with, as it was scored, and forget the first where there are too many."""
        self.epochs = [*self.epochs, epoch][-self.most :]
        self.weights = [*self.weights, weights][-self.most :]

    def state(self) -> dict[str, Arrays]:
        """Give what a checkpoint holds beside ``epochs``: group -> arrays."""
        return {f"soup_{k}": weights for k, weights in enumerate(self.weights)}

    def load(self, epochs: Sequence[int], groups: Mapping[str, Arrays]) -> None:
        """Go on with what a checkpoint holds."""
        self.epochs = list(epochs)
        self.weights = [groups[f"soup_{k}"] for k in range(len(self.epochs))]

    def stir(
        self,
        best: Arrays,
        best_epoch: int,
        rows: Mapping[int, Scores],
        monitor: Monitor,
        score: Callable[[Arrays], Scores],
    ) -> tuple[Arrays, dict[str, Any]]:
        """Make the soup.

        It begins with the best epoch. The others are tried from the best to the worst by the monitor: each is kept in
        it if neither the monitor, nor the macro F1 of the validation images, nor that of their altered copy becomes
        worse.

        Args:
            best: Values of the variables after the best epoch.
            best_epoch: Its number.
            rows: Number of an epoch -> its scores, of the best one and of those that were kept.
            monitor: The score that decides.
            score: Scores the classifier with other values of its variables.

        Returns:
            Values, those of the best epoch if no other one was kept, and for the manifest: ``epochs`` in it,
            ``monitor``, its score ``before`` and ``after``.
        """
        sign = 1 if MONITORS[monitor] == "max" else -1
        others = [k for k, epoch in enumerate(self.epochs) if epoch != best_epoch]
        others.sort(key=lambda k: (-sign * rows[self.epochs[k]][monitor], -self.epochs[k]))
        inside, found, scores = [best], best, rows[best_epoch]
        epochs = [best_epoch]
        for k in others:
            tried = mean([*inside, self.weights[k]])
            new = score(tried)
            names = [name for name in _AGREE if name in scores]
            if sign * new[monitor] >= sign * scores[monitor] and all(new[name] >= scores[name] for name in names):
                inside, found, scores = [*inside, self.weights[k]], tried, new
                epochs.append(self.epochs[k])
        known = {"monitor": monitor, "before": rows[best_epoch][monitor], "after": scores[monitor]}
        return found, {"epochs": sorted(epochs), **known}


def mean(several: Sequence[Arrays]) -> Arrays:
    """Average the values of variables; of random states, which are no numbers to average, the first are taken.

    Examples:
        >>> mean([[np.float32([1, 3])], [np.float32([3, 3])]])[0].tolist()
        [2.0, 3.0]
    """
    found = []
    for first, *rest in zip(*several, strict=True):
        if first.dtype.kind != "f":
            found.append(first)
            continue
        total = first.astype(np.float64)
        for one in rest:
            total = total + one
        found.append((total / (1 + len(rest))).astype(first.dtype))
    return found
