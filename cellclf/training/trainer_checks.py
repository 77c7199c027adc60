"""Checks of what a trainer is given, its options and its sets, before the training starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cellclf.augmentation.copies import MOST
from cellclf.errors import DataError, OptionError
from cellclf.training.layer_rates import check_optimizer
from cellclf.utils.parameters import check_parameters, shortened

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.training.stage import Stage
    from cellclf.training.start import Parent
    from cellclf.training.trainer import Trainer


def check_options(trainer: Trainer) -> None:
    """Raise for arguments that cannot be used, alone or together.

    Args:
        trainer: Has them as attributes.

    Raises:
        OptionError: A value of the wrong kind or outside its range, or two that contradict each other.
        UnknownNameError: A name that does not exist.
    """
    check_parameters(trainer)
    if isinstance(trainer.optimizer, type):
        raise OptionError(
            f"Trainer optimizer is the class {trainer.optimizer.__name__}; expected one made of it: add ()"
        )
    if not isinstance(trainer.optimizer, str):
        _check_keras_optimizer(trainer)
    parent = _checked_start(trainer)
    parts = (trainer.mix, trainer.augmenter, trainer.val_augmenter, trainer.cache, trainer.compute)
    for part in (*parts, *trainer.used_stages()):
        if part is not None:
            part.check()
    if parent is None:
        backbone = trainer.used_backbone()
        check_parameters(backbone)
        backbone.spec.settings(backbone.params)
        name, blocks = backbone.name, backbone.spec.blocks
        trainer.used_head().check()
    else:
        name, blocks = str(parent), parent.blocks or ("all layers",)
    if any(stage.layer_decay != 1 for stage in trainer.used_stages()):
        check_optimizer(trainer.optimizer)
    for stage in trainer.used_stages():
        if stage.unfreeze != "all" and stage.unfreeze > len(blocks):
            raise OptionError(
                f"unfreeze={stage.unfreeze} but {name} has {len(blocks)} block{'s' if len(blocks) > 1 else ''} "
                f"({', '.join(blocks)}); expected at most that many, or 'all'"
            )
        if trainer.val_augmenter is None and not stage.monitor.startswith("val_"):
            raise OptionError(
                f"monitor={stage.monitor!r} needs an altered copy of the validation set; "
                'expected val_augmenter=Augmenter.preset("challenge"), or a monitor that starts with val_'
            )
        _check_strength(trainer, stage)
        if stage.image_size is not None and parent is None and trainer.used_head().pooling == "flatten":
            raise OptionError(
                f"Stage image_size={stage.image_size} and Head pooling='flatten', whose weights fit one size of "
                "images; expected pooling='avg' or 'max'"
            )
    if trainer.consistency and trainer.mix is not None:
        raise OptionError("consistency compares views of one image, and mix blends two images; expected one of them")
    if trainer.consistency and trainer.augmenter is None:
        raise OptionError("consistency compares augmented views; expected an augmenter, such as one with AugMix")
    if trainer.sampling is not None and isinstance(trainer.class_weight, str):
        raise OptionError(
            f"sampling={trainer.sampling!r} and class_weight={trainer.class_weight!r} both balance the classes; "
            "choose one of them"
        )
    if isinstance(trainer.class_weight, dict) and not any(trainer.class_weight.values()):
        raise OptionError(f"class_weight={shortened(trainer.class_weight)} is 0 for every class; expected one above 0")
    for stage in trainer.used_stages():
        _check_devices(trainer, stage)
    cached = trainer.cache is not None and trainer.cache.mode == "disk"
    if cached and (trainer.mix is not None or trainer.consistency):
        raise OptionError("Cache mode='disk' holds features of single images; expected 'auto' with mix or consistency")


def _checked_start(trainer: Trainer) -> Parent | None:
    """Open the run that is continued; refuse what it brings itself, and a trainer without a network."""
    if trainer.start is None:
        if trainer.backbone is None:
            raise OptionError(
                "Trainer has neither backbone nor start; expected one of them, such as backbone='mobilenet'"
            )
        return None
    own = ("backbone", "head", "image_size")
    given = [f"{name}={shortened(value)}" for name in own if (value := getattr(trainer, name)) is not None]
    if given:
        raise OptionError(
            f"Trainer start={shortened(trainer.start)} and {', '.join(given)}: backbone, head and image size come from "
            f"the run that is continued; expected start alone, or no start"
        )
    return trainer.parent()


def check_parent_shape(parent: Parent, image_shape: tuple[int, int, int], classes: int) -> None:
    """Raise DataError unless a run can be continued on such images and so many classes."""
    if tuple(image_shape) != parent.input_shape or classes < len(parent.class_names):
        height, width, _ = parent.input_shape
        raise DataError(
            f"images {tuple(image_shape)} of {classes} classes to continue {parent}, which takes {height}x{width} and "
            f"has {len(parent.class_names)} classes; expected that size, and at least these classes"
        )


def check_stage_sizes(trainer: Trainer, stages: Iterable[Stage], train: ImageSet) -> None:
    """Raise OptionError for stages whose size of images is larger than that of the network, or too small for it.

    Args:
        trainer: Has the network.
        stages: Its stages.
        train: The training set.
    """
    side, parent = trainer.image_size, trainer.parent()
    own = (train.image_shape[:2] if side is None else (side, side)) if parent is None else parent.seen_size
    for stage in stages:
        side = stage.image_size
        if own is None or not isinstance(side, int):
            continue
        if side > min(own):
            fix = "the run that is continued" if trainer.start is not None else f"Trainer(image_size={side})"
            raise OptionError(
                f"Stage image_size={side} is larger than the {own[0]}x{own[1]} of the finished network; expected at "
                f"most {min(own)}: its size is that of {'' if trainer.start is not None else 'the images or '}{fix}"
            )
        least = 1 if trainer.start is not None else trainer.used_backbone().spec.min_size
        if side < least:
            raise OptionError(
                f"Stage image_size={side} is too small for backbone {trainer.used_backbone().name!r}; expected "
                f"at least {least}"
            )


def _check_strength(trainer: Trainer, stage: Stage) -> None:
    if stage.strength is None:
        return
    if trainer.augmenter is None:
        raise OptionError(
            f"Stage strength={shortened(stage.strength)} and no augmenter, so that nothing can be stronger; expected "
            'augmenter=Augmenter.preset("challenge"), or no strength'
        )
    if max(stage.strength_at(0.0), stage.strength_at(1.0)) * trainer.augmenter.strength > MOST:
        raise OptionError(
            f"Stage strength={shortened(stage.strength)} times the augmenter's strength={trainer.augmenter.strength:g};"
            f" expected at most {MOST} together"
        )


def _check_devices(trainer: Trainer, stage: Stage) -> None:
    devices, size = trainer.compute.devices, stage.batch_size or trainer.batch_size
    if size % devices:
        raise OptionError(f"devices={devices} with batch_size={size}; expected a batch size that is a multiple of them")
    if devices > 1 and (trainer.accumulate > 1 or trainer.consistency):
        other = f"accumulate={trainer.accumulate}" if trainer.accumulate > 1 else f"consistency={trainer.consistency}"
        raise OptionError(f"devices={devices} and {other} cannot be combined: expected one of them")


def _check_keras_optimizer(trainer: Trainer) -> None:
    """Refuse what an optimizer of Keras would do on its own, and what it would not do though it is asked for."""
    optimizer = trainer.optimizer
    assert not isinstance(optimizer, str)
    name, config = type(optimizer).__name__, optimizer.get_config()
    own = "Trainer optimizer has {}, which each stage or the trainer sets; remove it, and pass {}"
    if isinstance(config.get("learning_rate"), Mapping):
        raise OptionError(own.format("a schedule of its own", "Stage(learning_rate=1e-3, schedule='cosine')"))
    if config.get("use_ema"):
        raise OptionError(own.format("use_ema=True", f"Trainer(ema={config.get('ema_momentum') or 0.99:g})"))
    if (steps := config.get("gradient_accumulation_steps") or 1) > 1:
        raise OptionError(own.format(f"gradient_accumulation_steps={steps}", f"Trainer(accumulate={steps})"))
    if "inner_optimizer" in config:
        raise OptionError(
            f"Trainer optimizer is a {name}; expected the optimizer in it: where the precision needs it, losses are "
            "scaled anyway"
        )
    if trainer.weight_decay:
        raise OptionError(
            f"weight_decay={trainer.weight_decay:g} is for an optimizer that is given by name; expected it in "
            f"keras.optimizers.{name}(weight_decay={trainer.weight_decay:g})"
        )


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
            f"{', '.join(val.class_names)}; expected no others than the training set has: split one set with Split"
        )
    if train.image_shape != val.image_shape:
        raise DataError(
            f"training images are {_size(train)} and validation images {_size(val)}; expected one size: load both with "
            f"size=({train.image_shape[0]}, {train.image_shape[1]})"
        )
    notices = []
    if shared := val.count_shared(train):
        notices.append(
            f"{shared:,} of {len(val):,} validation images are training images, too: every score on them is too good, "
            "and so are the choice of the epoch and the calibration; split one set with Split"
        )
    present = [name for name, count in train.counts().items() if count]
    if len(present) < 2:
        raise DataError(f"all training images are of the class {present[0]!r}; expected at least two classes")
    absent = [name for name in train.class_names if name not in present]
    if absent:
        notices.append(f"no training image of {', '.join(absent)}: the classifier will never predict it")
    return notices


def _size(cells: ImageSet) -> str:
    return "x".join(map(str, cells.image_shape[:2]))
