"""A stage: some epochs with one set of trainable layers, one learning rate and one size of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from cellclf.augmentation.copies import Strength
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
        image_size: Side in pixels to which images are resized inside the network while the stage trains it; of images
            that are not square, the shorter side. Small images make cheap first stages, and the weights carry over
            (progressive learning; Tan and Le 2021, arXiv 2104.00298). Scores, the choice of the epoch and the finished
            network are always at the trainer's size, which is the largest. None trains at that size.
        strength: What the augmenter's strength is multiplied by: a number, or two, from the first epoch of the stage
            to the last. Small images need less augmentation than large ones (as above). None is 1.
        batch_size: Images in a step of this stage; None takes the trainer's. Small images leave room for more.
        layer_decay: The rate of a layer is ``learning_rate * layer_decay ** depth``, weight decay with it: depth 0 for
            the head, 1 for the last block of the backbone, 2 for the one before, and so on to the first, which holds
            the stem; what a schedule or ``reduce_patience`` makes of the rate holds for all. Early layers are general
            and keep what they know (ELECTRA, Clark et al. 2020, arXiv 2003.10555; BEiT, Bao et al. 2021, arXiv
            2106.08254). A block here holds several of their layers: their .65 to .9 are for 12 to 24. 1 trains all
            alike.

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
    image_size: Annotated[int, Interval(ge=1, le=4096)] | None = None
    strength: Strength | Annotated[Sequence[Strength], Len(2, 2)] | None = None
    batch_size: Count | None = None
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0

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
        if self.layer_decay != 1 and self.unfreeze == 0:
            raise OptionError(
                f"layer_decay={self.layer_decay} with unfreeze=0, which trains the head alone; remove one of them"
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

    @property
    def strength_changes(self) -> bool:
        """Whether each epoch has its own strength of augmentation."""
        return isinstance(self.strength, Sequence) and self.strength[0] != self.strength[1]

    def strength_at(self, share: float) -> float:
        """Give what the augmenter's strength is multiplied by.

        Args:
            share: Of the stage that is done, 0 to 1.

        Examples:
            >>> Stage(epochs=5, learning_rate=1e-3, strength=(0.2, 1.0)).strength_at(0.25)
            0.4
        """
        given = plain(self.strength)
        if given is None:
            return 1.0
        first, last = (given, given) if isinstance(given, int | float) else given
        return float(first + (last - first) * share)

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


def stage_size(stage: Stage, own: tuple[int, int]) -> tuple[int, int]:
    """Give the height and width at which a network sees its images in a stage.

    Args:
        stage: Its ``image_size`` is the shorter side.
        own: Those at which the finished network sees them.

    Examples:
        >>> stage_size(Stage(epochs=1, learning_rate=1e-3, image_size=64), (96, 144))
        (64, 96)
    """
    side = plain(stage.image_size)
    if side is None:
        return own
    height, width = (round(one * side / min(own)) for one in own)
    return height, width
