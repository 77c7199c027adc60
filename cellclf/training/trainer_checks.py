"""Checks of what a trainer is given, its options and its sets, before the training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cellclf.errors import DataError, OptionError, unknown
from cellclf.runs.features.cache import MODES, byte_count
from cellclf.training.optimizers import OPTIMIZERS
from cellclf.training.precision import PRECISIONS
from cellclf.training.sampling import SAMPLINGS

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter
    from cellclf.augmentation.mixing import Mix
    from cellclf.backbones.backbone import Backbone
    from cellclf.data.image_set import ImageSet
    from cellclf.training.head import Head
    from cellclf.training.stage import Stage


class Options(Protocol):
    """The arguments of ``Trainer`` that are checked here, under their names there."""

    stages: Sequence[Stage]
    optimizer: Any
    batch_size: int
    accumulate: int
    class_weight: str | Mapping[str, float] | None
    sampling: str | None
    focal: float
    label_smoothing: float
    augmenter: Augmenter | None
    val_augmenter: Augmenter | None
    mix: Mix | None
    consistency: float
    ema: float | None
    cache: str | None
    cached_views: int
    cache_limit: int | str
    precision: str | None
    jit_compile: bool | str
    devices: int


def check_options(trainer: Options, backbone: Backbone, head: Head) -> None:
    """Raise OptionError for arguments that cannot be used, alone or together.

    Args:
        trainer: Has them as attributes.
        backbone: Its backbone.
        head: Its head.
    """
    if not trainer.stages:
        raise OptionError("stages is empty; expected at least one, such as [Stage(epochs=30, learning_rate=1e-4)]")
    if trainer.batch_size < 1:
        raise OptionError(f"batch_size={trainer.batch_size}; expected 1 or more")
    if not 0 <= trainer.label_smoothing < 1:
        raise OptionError(f"label_smoothing={trainer.label_smoothing}; expected from 0 to below 1")
    if isinstance(trainer.optimizer, str) and trainer.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", trainer.optimizer, OPTIMIZERS)
    blocks = backbone.spec.blocks
    head.check()
    for stage in trainer.stages:
        stage.check()
        if stage.unfreeze != "all" and stage.unfreeze > len(blocks):
            raise OptionError(
                f"unfreeze={stage.unfreeze} but {backbone.name} has {len(blocks)} blocks "
                f"({', '.join(blocks)}); expected at most that many, or 'all'"
            )
        if trainer.val_augmenter is None and not stage.monitor.startswith("val_"):
            raise OptionError(
                f"monitor={stage.monitor!r} needs an altered copy of the validation set; "
                'expected val_augmenter=Augmenter.preset("challenge"), or a monitor that starts with val_'
            )
    for augmenter in (trainer.augmenter, trainer.val_augmenter):
        if augmenter is not None:
            augmenter.check()
    if trainer.mix is not None:
        trainer.mix.check()
    if trainer.ema is not None and not 0 < trainer.ema < 1:
        raise OptionError(f"ema={trainer.ema}; expected between 0 and 1, such as 0.999, or None")
    if trainer.consistency < 0:
        raise OptionError(f"consistency={trainer.consistency}; expected 0 or more, 12 is usual")
    if trainer.consistency and trainer.mix is not None:
        raise OptionError("consistency compares views of one image, and mix blends two images; expected one of them")
    if trainer.consistency and trainer.augmenter is None:
        raise OptionError("consistency compares augmented views; expected an augmenter, such as one with AugMix")
    if trainer.cache is not None and trainer.cache not in MODES:
        raise unknown("cache", trainer.cache, MODES)
    if trainer.sampling is not None and trainer.sampling not in SAMPLINGS:
        raise unknown("sampling", trainer.sampling, SAMPLINGS)
    if trainer.sampling is not None and isinstance(trainer.class_weight, str):
        raise OptionError(
            f"sampling={trainer.sampling!r} and class_weight={trainer.class_weight!r} both balance the classes; "
            "choose one of them"
        )
    if trainer.focal < 0:
        raise OptionError(f"focal={trainer.focal}; expected 0 or more, 2 is usual")
    if trainer.precision is not None and trainer.precision not in PRECISIONS:
        raise unknown("precision", trainer.precision, PRECISIONS)
    if trainer.jit_compile not in (True, False, "auto"):
        raise OptionError(f"jit_compile={trainer.jit_compile!r}; expected True, False or 'auto'")
    if trainer.accumulate < 1:
        raise OptionError(f"accumulate={trainer.accumulate}; expected 1 or more batches")
    if trainer.devices < 1 or trainer.batch_size % trainer.devices:
        raise OptionError(
            f"devices={trainer.devices} with batch_size={trainer.batch_size}; "
            "expected 1 or more devices, and a batch size that is a multiple of them"
        )
    if trainer.devices > 1 and (trainer.accumulate > 1 or trainer.consistency):
        other = f"accumulate={trainer.accumulate}" if trainer.accumulate > 1 else f"consistency={trainer.consistency}"
        raise OptionError(f"devices={trainer.devices} and {other} cannot be combined: expected one of them")
    if trainer.cache == "disk" and (trainer.mix is not None or trainer.consistency):
        raise OptionError("cache='disk' holds features of single images; expected cache='auto' with mix or consistency")
    if isinstance(trainer.cached_views, bool) or not isinstance(trainer.cached_views, int) or trainer.cached_views < 1:
        raise OptionError(f"cached_views={trainer.cached_views!r}; expected 1 or more views of each image, such as 6")
    byte_count(trainer.cache_limit)


def check_sets(train: ImageSet, val: ImageSet) -> list[str]:
    """Raise DataError for sets that cannot be trained on.

    Args:
        train: The training set.
        val: The validation set.

    Returns:
        Notices about sets that can be trained on.
    """
    for name, cells in (("training", train), ("validation", val)):
        if cells.labels is None:
            raise DataError(f"the {name} set has no labels; expected a class for each image")
        if not len(cells):
            raise DataError(f"the {name} set is empty; expected images, such as those of Split(val=0.2)")
    if train.class_names != val.class_names:
        raise DataError(
            f"the training set has the classes {', '.join(train.class_names)} and the validation set "
            f"{', '.join(val.class_names)}; expected the same in the same order: split one set with Split"
        )
    if train.image_shape != val.image_shape:
        raise DataError(
            f"training images are {_size(train)} and validation images {_size(val)}; expected one size: load both with "
            f"size=({train.image_shape[0]}, {train.image_shape[1]})"
        )
    present = [name for name, count in train.counts().items() if count]
    if len(present) < 2:
        raise DataError(f"all training images are of the class {present[0]!r}; expected at least two classes")
    absent = [name for name in train.class_names if name not in present]
    if not absent:
        return []
    return [f"no training image of {', '.join(absent)}: the classifier will never predict it"]


def _size(cells: ImageSet) -> str:
    return "x".join(map(str, cells.image_shape[:2]))
