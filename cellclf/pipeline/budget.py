"""A job within a budget: how many images it can clean in its time, and what it keeps for what follows the training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.backbone import Backbone
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.outliers.filter import OutlierFilter
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts
from cellclf.errors import CellclfError, CellclfWarning, WeightsError
from cellclf.pipeline.home import Joined
from cellclf.pipeline.prepared import Prepared
from cellclf.training.budget import Budget
from cellclf.training.networks import choose_network, keeps_network, with_network
from cellclf.training.trainer import Trainer
from cellclf.utils.log import logger, showing

CLEANING = 0.35
"""Share of the time left that reading and cleaning may take; more images than that are left out."""
_TRIALS = (64, 320)
"""Images that are cleaned to see how long all would take."""
_SLOW = 0.05
"""Seconds that cleaning an image takes at most on a slow machine: where all would fit so, there is no trial."""
_LEAST = 50
"""Images of each class, as far as there are, that are used however short the time is."""
_REPORT_SECONDS = 15.0
_CALIBRATED = 6_000
"""Most training and validation images that are read to calibrate a run, about."""


def share_in_time(
    cells: ImageSet, dedup: Dedup | None, outliers: OutlierFilter | None, budget: Budget
) -> dict[str, Any] | None:
    """Say which share of the images can be read and cleaned within about a third of the time that is left.

    Some images are cleaned on trial; its time counts.

    Args:
        cells: What would be cleaned.
        dedup: A step of the cleaning; None for none.
        outliers: The same.
        budget: The time of the job.

    Returns:
        ``share``, to be used with ``sampled``; None where all images fit.
    """
    few = _LEAST * max(1, cells.num_classes)
    if (dedup is None and outliers is None) or len(cells) <= few:
        return None
    if len(cells) * _SLOW <= CLEANING * (budget.seconds - budget.spent()):
        return None
    order = np.random.default_rng(0).permutation(len(cells))
    took = []
    for count in _TRIALS:
        begun = budget.spent()
        _clean(cells.subset(np.sort(order[:count])), dedup, outliers)
        took.append(budget.spent() - begun)
    most = min(_TRIALS[1], len(cells))
    # the first trial also compiles and imports: what an image takes is the difference, but never far below the mean
    each = max((took[1] - took[0]) / max(1, most - _TRIALS[0]), took[1] / most / 4, 1e-9)
    fit = CLEANING * (budget.seconds - budget.spent()) / each
    return None if fit >= len(cells) else {"share": round(max(0.0, fit / len(cells)), 4)}


def _clean(cells: ImageSet, dedup: Dedup | None, outliers: OutlierFilter | None) -> None:
    with warnings.catch_warnings(), showing(False):
        warnings.simplefilter("ignore", CellclfWarning)
        try:
            if dedup is not None:
                dedup.find(cells)
            if outliers is not None:
                copy.copy(outliers).fit(cells).find(cells)
        except CellclfError:  # so few images, or those of one class, may not do for a step
            return


def sampled(joined: Joined, sample: Mapping[str, Any] | None) -> Joined:
    """Give a set of which a share of the images is used, the same ones each time.

    Each class keeps that share, and at least 50 images where it has them. Parts that are given for validation and test
    stay whole.

    Args:
        joined: All images.
        sample: What ``share_in_time`` gave; None uses all.
    """
    if sample is None:
        return joined
    given = joined.given
    cells = _cleaned(given)
    taken = cells.subset(_stratified(cells, float(sample["share"])))
    if isinstance(given, Parts):
        return replace(joined, given=Parts(taken, given.val, given.test))
    return replace(joined, given=taken, home=joined.home & {*taken.ids.tolist()})


def images_in_time(
    joined: Joined,
    dedup: Dedup | None,
    outliers: OutlierFilter | None,
    budget: Budget | None,
    chosen: Mapping[str, Any] | None,
    earlier: Mapping[str, Any] | None,
) -> tuple[Joined, Mapping[str, Any] | None]:
    """Take as many images as can be cleaned in the time; as many as before a stop, or in the run that is repeated.

    Args:
        joined: All images.
        dedup: See ``share_in_time``.
        outliers: See ``share_in_time``.
        budget: The time of the job; None takes all.
        chosen: What the run that is repeated chose; None for a new one.
        earlier: The manifest of the run, if it has begun.

    Returns:
        The images, and ``chosen``, with what was chosen here.
    """
    before = chosen if chosen is not None else (earlier or {}).get("chosen")
    if before is not None:
        return sampled(joined, before.get("sample")), chosen
    if budget is None:
        return joined, chosen
    cells = _cleaned(joined.given)
    sample = share_in_time(cells, dedup, outliers, budget)
    if sample is None:
        return joined, chosen
    fewer = sampled(joined, sample)
    images = len(_cleaned(fewer.given))
    logger.info(
        f"budget: cleaning all {len(cells):,} images would take more than a third of the time; {images:,} of them are "
        "used, the same share of each class"
    )
    return fewer, {"sample": {**sample, "images": images, "of": len(cells)}}


def _cleaned(given: ImageSet | Parts) -> ImageSet:
    return given.train if isinstance(given, Parts) else given


def weights_are_here(check: Callable[[], None], trainer: Trainer, networks: Sequence[Backbone]) -> bool:
    """Check the weights of a trainer's own network; where others may be taken, only say whether they can be loaded.

    Args:
        check: Raises WeightsError where they cannot.
        trainer: With the own network.
        networks: Others that may be taken.
    """
    try:
        check()
    except WeightsError as error:
        if not networks or keeps_network(trainer):
            raise
        logger.info(f"{error}; a network whose weights are on this machine is taken")
        return False
    return True


def network_in_time(
    trainer: Trainer,
    networks: Sequence[Backbone],
    prepared: Prepared,
    budget: Budget | None,
    earlier: Mapping[str, Any] | None,
    *,
    own: bool,
) -> tuple[Trainer, dict[str, Any]]:
    """Choose the network for the time that is left, or take the one that was chosen before a stop.

    Args:
        trainer: With the own network.
        networks: Others that may be taken; empty keeps the own one.
        prepared: The images.
        budget: The time of the job.
        earlier: The manifest of the run, if it has begun.
        own: Whether the weights of the own network can be loaded.

    Returns:
        The trainer, and what the manifest says of the choice, empty if there was none; see ``choose_network``.
    """
    if budget is None or not networks:
        return trainer, {}
    if earlier is not None:
        found = dict(earlier.get("network") or {})
        return with_network(trainer, found["taken"]) if found else trainer, found
    reserve(budget, len(prepared.train), len(prepared.val), len(prepared.parts.test), report=True)
    return choose_network(trainer, networks, prepared.train, prepared.val, budget, own=own)


def _stratified(cells: ImageSet, share: float) -> NDArray[np.int64]:
    labels = np.zeros(len(cells), np.int64) if cells.labels is None else cells.labels
    order = np.random.default_rng(0).permutation(len(cells))
    taken = []
    for label in np.unique(labels).tolist():
        own = order[labels[order] == label]
        taken.append(own[: max(_LEAST, int(np.ceil(share * len(own))))])
    return np.sort(np.concatenate(taken))


def reserve(budget: Budget, train: int, val: int, further: int, *, report: bool) -> None:
    """Say how much follows the training, so that time is kept for it.

    Args:
        budget: The time of the job.
        train: Training images, of which some are scored where there is little time.
        val: Validation images.
        further: Images of other sets, which are scored.
        report: Whether a report is written.
    """
    budget.images_after = min(_CALIBRATED, train + val) + val + further
    budget.train_after = train
    budget.seconds_after = _REPORT_SECONDS if report else 0.0


def scored_in_time(train: ImageSet, manifest: Mapping[str, Any]) -> ImageSet:
    """Give the training images that are scored: all, or a sample where a run was given too little time for all.

    Args:
        train: The training images.
        manifest: Of the run.
    """
    plan = (manifest.get("chosen") or {}).get("budget") or {}
    most = plan.get("scored_train", len(train))
    if most >= len(train):
        return train
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:most])
    return train.subset(rows)


def where_it_went(budget: Budget, seconds: Mapping[str, float]) -> str:
    """Say in a line what the time was spent on."""
    parts = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    return f"budget of {budget.seconds:.0f} s: {budget.spent():.0f} s spent: {parts}"
