"""What of a job's time is kept for what follows the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cellclf.data.image_set import ImageSet
from cellclf.training.budget import Budget

_REPORT_SECONDS = 15.0
_CALIBRATED = 6_000
"""Most training and validation images that are read to calibrate a run, about."""


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
