"""What a training does in the time that it has: its stages, chosen by the speed of a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

from cellclf.training.budget import Budget
from cellclf.training.stage import Stage
from cellclf.utils.parameters import plain

MOST_EPOCHS = 3.0
"""Times the epochs of the recipe that are trained at most, however much time there is."""
_SMALL = (2 / 3, 0.6)
"""Of the stages that a short time is cut into: size of the images, share of the time; the rest has the full size."""
_FEWEST = 1.5
"""Epochs, of small images where all layers are trained, below which only the head is trained."""
_SIDE_STEP = 8
_LEAST_SIDE = 32
_FIXED = 0.15
"""Share of a step's time that does not depend on the size of the images: reading and augmentation of the next."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a few steps took.

    Args:
        train: Seconds for an image, trained through all layers at the full size.
        predict: Seconds for an image that is only classified.
        compile: Seconds until the first step of a stage is done.
    """

    train: float
    predict: float
    compile: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained.

    Args:
        stages: Of the recipe.
        blocks: Blocks of the backbone.
        pretrained: Whether its weights are worth keeping as they are.
        images: Images for training.
        scored: Images that are scored after each epoch.
        own: Height and width at which the finished network sees images.
        least: Smallest side that the backbone takes.
        augmented: Whether there is an augmenter.
    """

    stages: Sequence[Stage]
    blocks: int
    pretrained: bool
    images: int
    scored: int
    own: tuple[int, int]
    least: int
    augmented: bool


def plan_stages(job: Job, speed: Speed, seconds: float) -> dict[str, Any]:
    """Choose stages for the time that there is.

    A recipe that would take longer gets fewer epochs, first of smaller images where it trains all layers; one that
    would take less gets more, up to three times as many. Each of its stages keeps its share of the time. Where not even
    some epochs of small images would be through, the head alone is trained (all layers, if they are random).

    Args:
        job: What is trained.
        speed: What a few steps took.
        seconds: For training, with the scores after each epoch.

    Returns:
        Plain data: ``stages``; of each its ``shares`` of the time, its ``parts`` of the way from the highest rate to
        nothing and its ``warmups``; ``needed``, the seconds of the recipe as it is; ``limit``, how long the training is
        at most; ``too_short``.
    """
    costs = [max(1e-9, stage.epochs * _epoch(job, speed, stage)) for stage in job.stages]
    needed = sum(costs) + len(costs) * speed.compile
    small = smaller(job)
    quick = _epoch(job, speed, Stage(epochs=1, learning_rate=1.0, unfreeze="all", image_size=small))
    if all(stage.unfreeze == 0 for stage in job.stages):
        quick = min(_epoch(job, speed, stage) for stage in job.stages)
    if seconds < speed.compile + _FEWEST * quick:
        return _too_short(job) | {"needed": needed, "limit": seconds}
    sized = any(stage.image_size is not None for stage in job.stages)
    cut = seconds < needed and not sized and small is not None
    chosen: list[tuple[Stage, float, float]] = []
    for stage, cost in zip(job.stages, costs, strict=True):
        warmup = min(0.1, stage.warmup / stage.epochs) if stage.warmup else 0.03
        share = cost / sum(costs)
        whole = replace(stage, schedule="constant", warmup=0.0, patience=None, reduce_patience=None)
        pieces = [(whole, share)]
        if cut and stage.unfreeze == "all":
            grows = job.augmented and stage.strength is None
            first = replace(whole, image_size=small, strength=(0.4, 0.8) if grows else stage.strength)
            second = replace(whole, strength=(0.8, 1.0) if grows else stage.strength)
            pieces = [(first, share * _SMALL[1]), (second, share * (1 - _SMALL[1]))]
        for piece, part in pieces:
            chosen.append((replace(piece, epochs=_epochs(seconds * part, job, speed, piece)), part, warmup))
    parts = _ways([stage for stage, _, _ in chosen], [share for _, share, _ in chosen])
    warmups: list[float] = []
    for (_, _, warmup), (begin, _) in zip(chosen, parts, strict=True):
        warmups.append(warmups[-1] if begin else warmup)  # one way has one
    return {
        "stages": [stage.to_dict() for stage, _, _ in chosen],
        "shares": [share for _, share, _ in chosen],
        "parts": parts,
        "warmups": warmups,
        "needed": needed,
        "limit": min(seconds, MOST_EPOCHS * needed),
        "too_short": False,
    }


def _ways(stages: Sequence[Stage], shares: Sequence[float]) -> list[list[float]]:
    """Give each stage its part of a way down; those that train the same layers at the same rate share one."""
    parts: list[list[float]] = []
    for _, group in groupby(range(len(stages)), lambda k: (stages[k].unfreeze, stages[k].learning_rate)):
        places = list(group)
        ends = list(accumulate(shares[k] for k in places))
        parts += [[begin / ends[-1], end / ends[-1]] for begin, end in zip([0.0, *ends], ends, strict=False)]
    return parts


def _too_short(job: Job) -> dict[str, Any]:
    """Train the head on frozen layers; all layers, where these are random and hold nothing."""
    last = job.stages[-1]
    high = max(stage.learning_rate for stage in job.stages)
    stage = Stage(
        epochs=1,
        learning_rate=min(high * 10, 1e-2) if job.pretrained else high,
        unfreeze=0 if job.pretrained else "all",
        train_batch_norm=not job.pretrained,
        monitor=last.monitor,
        patience=None,
        strength=0.4 if job.augmented else None,
    )
    return {
        "stages": [stage.to_dict()],
        "shares": [1.0],
        "parts": [[0.0, 1.0]],
        "warmups": [0.05],
        "too_short": True,
    }


def smaller(job: Job) -> int | None:
    """Give the side of the small images that a short time begins with; None where the network takes none."""
    side = round(min(job.own) * _SMALL[0] / _SIDE_STEP) * _SIDE_STEP
    return side if max(job.least, _LEAST_SIDE) <= side < min(job.own) else None


def _epoch(job: Job, speed: Speed, stage: Stage) -> float:
    """Estimate the seconds of an epoch: the front is only run, the rest trained, all of it less for small images."""
    trained = 1.0 if stage.unfreeze == "all" else min(1.0, stage.unfreeze / max(1, job.blocks))
    whole = speed.predict + (speed.train - speed.predict) * trained
    side = min(job.own) if stage.image_size is None else stage.image_size
    return job.images * whole * (_FIXED + (1 - _FIXED) * (side / min(job.own)) ** 2) + job.scored * speed.predict


def _epochs(seconds: float, job: Job, speed: Speed, stage: Stage) -> int:
    return max(1, round(seconds / max(_epoch(job, speed, stage), 1e-9)))


def described(plan: dict[str, Any], budget: Budget, own: tuple[int, int], recipe: Sequence[Stage]) -> list[str]:
    """Say in some lines what a training is about to do.

    Args:
        plan: What ``plan_stages`` gave.
        budget: The time.
        own: Height and width at which the finished network sees images.
        recipe: The stages of the recipe.
    """
    after = max(0.0, budget.seconds - plan["until"])
    lines = [
        f"budget of {minutes_text(budget.seconds)}: {minutes_text(plan['begun'])} spent, "
        f"{minutes_text(plan['limit'])} for training, about {minutes_text(after)} kept for calibration and report"
    ]
    whole = sum(stage.epochs for stage in recipe)
    lines.append(f"the recipe as it is, {whole} epochs, would train for about {minutes_text(plan['needed'])}")
    if plan["too_short"]:
        what = "the head alone" if plan["stages"][0]["unfreeze"] == 0 else "all layers"
        lines.append(f"too short for that and for smaller images: {what} will be trained, on as many images as can be")
        return lines
    for number, stage in enumerate(plan["stages"], 1):
        side = stage["image_size"] or min(own)
        what = {"all": "all layers", 0: "the head"}.get(stage["unfreeze"], f"the last {stage['unfreeze']} blocks")
        lines.append(
            f"stage {number}: {minutes_text(plan['limit'] * plan['shares'][number - 1])}, about "
            f"{plain(stage['epochs'])} epochs of {what} at {side} px"
        )
    return lines


def minutes_text(seconds: float) -> str:
    """Write a time.

    Examples:
        >>> minutes_text(90), minutes_text(20)
        ('1.5 min', '20 s')
    """
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
