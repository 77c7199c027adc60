"""A training within a budget: a few steps are measured, its stages planned, its pace kept or repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cellclf.backbones.graph import seen_size, sharing_at
from cellclf.errors import OptionError
from cellclf.runs.predict import probabilities
from cellclf.training.budget import Budget
from cellclf.training.checkpoint import assign, values
from cellclf.training.device_epochs import device_epochs
from cellclf.training.epoch_steps import AfterBatch, fit_epoch
from cellclf.training.freezing import freeze
from cellclf.training.pace import Pace, repeated
from cellclf.training.plan import Job, Speed, described, plan_stages, smaller
from cellclf.training.stage import Stage, stage_size
from cellclf.utils.log import logger

if TYPE_CHECKING:
    from cellclf.training.loop import Loop
    from cellclf.training.stage_input import StageInput

_WORTH_MEASURING = 60.0
"""Seconds left from which on training steps are measured, and not only the forward pass, which is needed anyway."""
_LEAST_STEPS = 12
"""Steps of a training for which there is no time at all: of a head alone, some seconds."""
_STEPS = 6
_STEPS_SECONDS = 10.0
_TRAINED = 3.5
"""Times as long as its classification an image takes to be trained on, where that is not measured."""
_COMPILED = 3.0
_MARGIN = 1.15
_TRAIN_SHARE, _FEWEST = 0.1, 500
"""Share of the whole time that the scores of the training images may take, and how many there are at least."""


def planned(loop: Loop, plain: StageInput, budget: Budget) -> dict[str, Any]:
    """Measure a few steps, plan the stages, and say what will be done.

    The network is afterwards as it was.

    Args:
        loop: Of the training.
        plain: What a stage at the full size takes.
        budget: The time; its ``speed`` is taken where it was measured already.

    Returns:
        What ``plan_within`` gave.
    """
    speed = budget.speed or measured(loop, plain, budget)
    plan = plan_within(loop, speed, budget, images=len(loop.batches.cells), scored=scored_by(loop))
    for line in described(plan, budget, seen_size(loop.model), loop.trainer.used_stages()):
        logger.info(line)
    return plan


def scored_by(loop: Loop) -> int:
    """Count the images that are scored after each epoch."""
    return len(loop.val) + (0 if loop.shifted is None else len(loop.shifted))


def plan_within(loop: Loop, speed: Speed, budget: Budget, *, images: int, scored: int) -> dict[str, Any]:
    """Plan the stages for the time that is left when what follows the training is taken off.

    Args:
        loop: Of the training.
        speed: Of its network.
        budget: The time.
        images: Images for training.
        scored: Images that are scored after each epoch.

    Returns:
        What ``plan_stages`` gave; ``minutes``; the seconds at which it was ``begun`` and ``until`` which is trained;
        ``speed``; and ``paces``, to which each stage adds the steps that it did.
    """
    own = seen_size(loop.model)
    backbone = None if loop.trainer.start is not None else loop.trainer.used_backbone()
    job = Job(
        stages=loop.trainer.used_stages(),
        blocks=len(loop.blocks),
        pretrained=backbone is None or backbone.resolved().weights is not None,
        images=images,
        scored=scored,
        own=own,
        least=1 if backbone is None else backbone.spec.min_size,
        augmented=loop.batches.augmenter is not None,
    )
    if (side := smaller(job)) is not None:
        try:
            sharing_at(loop.model, stage_size(Stage(epochs=1, learning_rate=1.0, image_size=side), own))
        except OptionError:  # a network of one size, such as one whose head flattens the map
            job = replace(job, least=min(own))
    some = max(_FEWEST, int(_TRAIN_SHARE * budget.seconds / max(speed.predict, 1e-9)))
    scored_train = min(budget.train_after, some)
    after = budget.seconds_after + _MARGIN * speed.predict * (budget.images_after + scored_train + scored)
    begun = budget.spent()
    plan = plan_stages(job, speed, max(0.0, budget.seconds - after - begun))
    plan |= {"minutes": budget.minutes, "begun": begun, "until": begun + plan["limit"], "paces": []}
    plan |= {"enough": math.ceil((begun + plan["needed"] + after) / 60)}
    plan |= {"scored_train": scored_train} if scored_train < budget.train_after else {}
    plan["speed"] = {"train": speed.train, "predict": speed.predict, "compile": speed.compile}
    return plan


def pace_of(plan: dict[str, Any], number: int, stage: Stage, budget: Budget | None) -> Pace:
    """Give the pace of a stage: as it was before where that is known, else by the clock.

    Args:
        plan: What ``planned`` gave.
        number: Of the stage, from 0.
        stage: The stage.
        budget: The time; needed where the stage was not done before.
    """
    part, warmup = plan["parts"][number], plan["warmups"][number]
    if number < len(plan["paces"]):
        return repeated(stage.learning_rate, part, warmup, plan["paces"][number])
    assert budget is not None
    begin = budget.spent()
    share = plan["shares"][number] / sum(plan["shares"][number:])
    pace = Pace(stage.learning_rate, (part[0], part[1]), warmup, budget, begin)
    pace.end = begin + max(0.0, plan["until"] - begin) * share
    if plan["too_short"]:
        pace.least = _LEAST_STEPS
    return pace


def measured(
    loop: Loop, plain: StageInput, budget: Budget, *, worth_training: Callable[[Speed], bool] = lambda guess: True
) -> Speed:
    """Measure classification, then some steps of training, if there is time for it.

    Args:
        loop: Of the training; its network is afterwards as it was.
        plain: What a stage at the full size takes.
        budget: Its clock is used, and with less than a minute left training steps are not measured.
        worth_training: Says from a guess, which classification alone allows, whether they are measured.
    """
    few = loop.val[:256]
    times = []
    for _ in range(2):
        begin = budget.spent()
        probabilities(plain.predictor, few)
        times.append(budget.spent() - begin)
    predict = times[1] / len(few)
    guess = Speed(train=_TRAINED * predict, predict=predict, compile=_COMPILED * times[0])
    if budget.seconds - budget.spent() < _WORTH_MEASURING or not worth_training(guess):
        return guess
    first, *others = step_times(loop, plain, budget.spent)
    a_step = sum(others) / len(others) if others else first
    return Speed(train=a_step / plain.batches.batch_size, predict=predict, compile=max(0.0, first - a_step))


def step_times(loop: Loop, plain: StageInput, spent: Callable[[], float]) -> list[float]:
    """Train some steps through all layers, and give the seconds of each; the first holds the compilation.

    Args:
        loop: Of the training; its network is afterwards as it was.
        plain: What a stage at the full size takes.
        spent: Gives the seconds that have passed.

    Raises:
        KeyboardInterrupt: The training was asked to stop.
    """
    begin = spent()
    ends: list[float] = []
    before = values(loop.model.variables)
    freeze(loop.backbone_layers, loop.blocks, Stage(epochs=1, learning_rate=1e-6, unfreeze="all"))
    loop.compiled(plain.model, loop.trainer.used_stages()[-1].learning_rate)

    def enough() -> bool:
        return len(ends) > _STEPS or (len(ends) > 2 and ends[-1] - ends[0] > _STEPS_SECONDS)

    after_batch = AfterBatch(
        done=0,
        after_step=lambda done: ends.append(spent()),
        save=lambda done: None,
        asked_to_stop=lambda: enough() or loop.interrupt.asked,
    )
    with loop.interrupt.deferred():
        if loop.chosen["pipeline"] == "device":
            device = device_epochs(plain.model, plain.batches, loop.images, one_by_one=True)
            device.fit(plain.batches, 0, 0, after_batch, [])
        else:
            fit_epoch(plain.model, plain.batches.epoch(0), after_batch, [])
    if loop.interrupt.asked:
        raise KeyboardInterrupt("the training was stopped before its first step")
    assign(loop.model.variables, before)
    return [end - start for start, end in pairwise([begin, *ends])]
