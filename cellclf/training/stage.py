"""A stage: some epochs with one set of trainable layers and one learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from cellclf.errors import OptionError
from cellclf.utils.parameters import Count, NotNegative, Params, Whole, check_parameters, plain

Monitor = Literal[
    "val_loss",
    "val_log_loss",
    "val_accuracy",
    "val_macro_f1",
    "shifted_loss",
    "shifted_log_loss",
    "shifted_accuracy",
    "shifted_macro_f1",
    "mean_macro_f1",
]
MONITORS: dict[Monitor, Literal["min", "max"]] = {
    "val_loss": "min",
    "val_log_loss": "min",
    "val_accuracy": "max",
    "val_macro_f1": "max",
    "shifted_loss": "min",
    "shifted_log_loss": "min",
    "shifted_accuracy": "max",
    "shifted_macro_f1": "max",
    "mean_macro_f1": "max",
}
"""Scores that can be monitored -> whether the minimum or maximum is best; the last five need a ``val_augmenter``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage(Params):
    """Some epochs with one set of trainable layers and one learning rate.

    Args:
        epochs: At most this many; early stopping can end the stage before.
        learning_rate: Of the optimizer, at its highest.
        unfreeze: What is trained beside the head: 0 no layer of the backbone, n its last n blocks, ``"all"``.
        train_batch_norm: False (the default) freezes every BatchNorm of the backbone, weights and statistics, which
            small or shifted sets need; True trains those of the unfrozen blocks.
        schedule: ``"constant"``; ``"cosine"`` down to a hundredth of ``learning_rate`` over the stage
            (Loshchilov and Hutter 2017, arXiv 1608.03983); or ``"one_cycle"``, up from a 25th over the first 30 %
            of the stage, then down to a ten-thousandth (Smith and Topin 2018, arXiv 1708.07120, by a cosine).
        warmup: Epochs over which the rate rises from a twentieth; ``"one_cycle"`` has its own.
        monitor: The score that decides which epoch is best: ``"val_loss"`` (Keras's, with label smoothing, focal loss
            and penalties), ``"val_log_loss"`` (without), ``"val_accuracy"`` or ``"val_macro_f1"``; with a
            ``val_augmenter`` the same of the shifted copy (``"shifted_macro_f1"``), or ``"mean_macro_f1"`` of both. The
            stage ends with the weights of its best epoch (or those that it began with, if none was better).
        patience: Epochs without a better ``monitor`` after which the stage ends; None never ends it early.
        reduce_patience: Epochs without a better ``val_accuracy`` after which the rate is multiplied by
            ``reduce_factor``; None never does. Not with a schedule.
        reduce_factor: See ``reduce_patience``.

    Examples:
        >>> Stage(epochs=70, learning_rate=1e-5, unfreeze=1).check()
    """

    epochs: Count
    learning_rate: Annotated[float, Interval(gt=0, lt=1e38)]
    unfreeze: Whole | Literal["all"] = 0
    train_batch_norm: bool = False
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: NotNegative = 0.0
    monitor: Monitor = "val_loss"
    patience: Count | None = 15
    reduce_patience: Count | None = None
    reduce_factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1

    def check(self) -> None:
        """Raise for values that cannot be used, alone or together.

        Raises:
            OptionError: A value of the wrong kind or outside its range, or two that contradict each other.
            UnknownNameError: No schedule or monitor of that name.
        """
        check_parameters(self)
        if self.schedule != "constant" and self.reduce_patience is not None:
            raise OptionError(
                f"schedule={self.schedule!r} and reduce_patience={self.reduce_patience} both set the learning rate; "
                "choose one of them"
            )
        if self.warmup and self.schedule == "one_cycle":
            raise OptionError(f"warmup={self.warmup} with schedule='one_cycle', which has its own; remove one of them")
        if self.warmup >= self.epochs:
            raise OptionError(f"warmup={self.warmup} of {self.epochs} epochs; expected from 0 to less than all of them")
        if self.warmup and self.reduce_patience is not None:
            raise OptionError(
                f"warmup={self.warmup} and reduce_patience={self.reduce_patience} both set the learning rate; "
                "choose one of them"
            )

    def rate(self, steps_per_epoch: int) -> Any:
        """Give what a Keras optimizer takes as learning rate: a number, or a schedule over the stage's steps."""
        from keras.optimizers import schedules

        peak, epochs, warmup = plain([self.learning_rate, self.epochs, self.warmup])
        steps, warm = epochs * steps_per_epoch, round(warmup * steps_per_epoch)
        if self.schedule == "constant":
            return schedules.PolynomialDecay(peak / 20, warm, end_learning_rate=peak) if warm else peak
        if self.schedule == "one_cycle":
            warm = max(1, round(0.3 * steps))
            return schedules.CosineDecay(
                peak / 25, max(1, steps - warm), alpha=1e-4, warmup_target=peak, warmup_steps=warm
            )
        if not warm:
            return schedules.CosineDecay(peak, steps, alpha=0.01)
        return schedules.CosineDecay(peak / 20, steps - warm, alpha=0.01, warmup_target=peak, warmup_steps=warm)
