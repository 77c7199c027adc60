"""Early stopping and reduction of the learning rate on a plateau, with a state that can be saved and restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cellclf.training.stage import MONITORS, Stage


@dataclass
class EarlyStopping:
    """What one stage remembers of its scores between epochs.

    Counts as Keras's ``EarlyStopping`` and ``ReduceLROnPlateau`` do, whose own state cannot be saved. NaN is never
    better than a number, nor any number worse than NaN.

    Args:
        best: Best value of the monitor so far; None before the first.
        best_epoch: Epoch of the stage that reached it, from 1; 0 is the state in which the stage began.
        waited: Epochs since then.
        plateau_best: Best validation accuracy so far.
        plateau_waited: Epochs since then, or since the last reduction.
    """

    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    plateau_best: float | None = None
    plateau_waited: int = 0

    def update(self, stage: Stage, epoch: int, scores: Mapping[str, float]) -> tuple[bool, bool, bool]:
        """Add the scores of one epoch.

        Args:
            stage: Whose rules count.
            epoch: Number of the epoch in the stage, from 1.
            scores: With ``stage.monitor`` and ``val_accuracy``.

        Returns:
            Whether this is the best epoch so far, whether to reduce the learning rate, whether to stop.
        """
        value = scores[stage.monitor]
        lower = MONITORS[stage.monitor] == "min"
        best = float("nan") if self.best is None else self.best
        better = value == value and (best != best or (value < best if lower else value > best))
        if better:
            self.best, self.best_epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1
        reduce = stage.reduce_patience is not None and self._plateau(stage.reduce_patience, scores["val_accuracy"])
        return better, reduce, stage.patience is not None and self.waited >= stage.patience

    def _plateau(self, patience: int, accuracy: float) -> bool:
        if self.plateau_best is None or accuracy > self.plateau_best + 1e-4:  # min_delta of Keras
            self.plateau_best, self.plateau_waited = accuracy, 0
            return False
        self.plateau_waited += 1
        if self.plateau_waited < patience:
            return False
        self.plateau_waited = 0
        return True

    def to_dict(self) -> dict[str, float | int | None]:
        """Give the state as plain data, from which ``EarlyStopping(**data)`` makes it again."""
        return asdict(self)
