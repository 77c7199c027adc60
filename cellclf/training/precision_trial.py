"""In which numbers a training computes, and whether by XLA: what is fastest on this machine, by a few steps of each."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.backbones.pointwise import subsample_first
from cellclf.data.image_set import ImageSet
from cellclf.errors import one_line
from cellclf.training.budget import Budget
from cellclf.training.budgeted import step_times
from cellclf.training.chosen import choose
from cellclf.training.compute import Compute, Precision
from cellclf.training.stage_input import StageInput
from cellclf.utils.log import logger
from cellclf.utils.parameters import plain

if TYPE_CHECKING:
    from cellclf.training.trainer import Trainer

_FASTER = 1.1
"""Times as fast as float32 another way has to be before it is taken: chance should not decide on digits."""
_WORTH_TRYING = 300.0
"""Seconds left of a budget below which nothing is tried: compiling each way takes up to a minute."""


def try_precisions(
    trainer: Trainer, model: Any, train: ImageSet, val: ImageSet, budget: Budget | None = None
) -> dict[str, Any]:
    """Train a few steps in float32 and in mixed_bfloat16, with and without XLA, and choose.

    The fastest way is taken if it is a tenth faster than float32 as Keras would compile it. XLA is tried where
    ``jit_compile`` is ``"auto"``, and steps need not repeat bit for bit, and the backend has it.

    Args:
        trainer: With ``Compute(precision="auto")``.
        model: The classifier, built where it will be trained; it is left as it is.
        train: Training images.
        val: Validation images.
        budget: The time that there is; with less than five minutes left, nothing is tried.

    Returns:
        As ``choose`` has them: ``precision``, ``jit_compile``, ``backend``, and ``trial``, for each way its
        ``images_per_second``, or the ``error`` that it ended with.
    """
    import keras

    backend = keras.config.backend()
    if budget is not None and budget.seconds - budget.spent() < _WORTH_TRYING:
        logger.info("precision: float32, since there is no time to try others")
        return {"precision": "float32", "trial": []}
    ways = _ways(trainer.compute, choose(model, trainer.compute)["jit_compile"], backend)
    rows = [_tried(trainer, train, val, precision, compiled) for precision, compiled in ways]
    chosen = _fastest(rows)
    if budget is not None and chosen is not rows[0]:
        budget.speed = None  # that of the usual way
    for row in rows:
        way = f"{row['precision']}{' with XLA' if row['jit_compile'] else ''}"
        speed = f"{row.get('images_per_second', 0):.0f} images a second in training"
        logger.info(f"{way}: {row['error'] or speed}")
    logger.info(f"precision: {chosen['precision']}{' with XLA' if chosen['jit_compile'] else ''}")
    return {
        "precision": chosen["precision"],
        "jit_compile": chosen["jit_compile"],
        "backend": backend,
        "trial": rows,
    }


def _ways(compute: Compute, usual: bool, backend: str) -> list[tuple[Precision | None, bool]]:
    """List what is tried; the first is float32 as it would be without a trial."""
    both = compute.jit_compile == "auto" and backend == "tensorflow" and not compute.deterministic
    precisions: tuple[Precision | None, ...] = (None, "mixed_bfloat16")
    return [(precision, one) for one in ((usual, not usual) if both else (usual,)) for precision in precisions]


def _tried(
    trainer: Trainer, train: ImageSet, val: ImageSet, precision: Precision | None, compiled: bool
) -> dict[str, Any]:
    import keras

    few = 8 * plain(trainer.batch_size)
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:few])
    compute = replace(trainer.compute, precision=precision, jit_compile=compiled)
    gc.collect()  # the network before
    loop = plain(trainer).set_params(compute=compute).trial(train.subset(rows), val[:8])
    row = {"precision": precision or "float32", "jit_compile": compiled, "error": ""}
    subsample_first(loop.model)
    predictor = keras.Model(loop.model.inputs, loop.model.outputs)
    try:
        first, *others = step_times(
            loop, StageInput(loop.model, predictor, loop.batches, loop.val, loop.shifted), time.perf_counter
        )
    except Exception as error:  # each backend has its own for what XLA or 16 bits cannot do
        return {**row, "error": one_line(str(error))[:200]}
    return {**row, "images_per_second": round(loop.batches.batch_size / median(others or [first]), 1)}


def _fastest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Give the fastest way; the first, which the training itself may try, where nothing else is clearly faster."""

    def speed(row: Mapping[str, Any]) -> float:
        return float(row.get("images_per_second", 0.0))

    best = max(rows, key=speed)
    return best if speed(best) > _FASTER * speed(rows[0]) else rows[0]
