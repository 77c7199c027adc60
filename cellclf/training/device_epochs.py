"""The epochs of a stage on batches that are made on the device, many in one compiled call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.blocks import has_gpu
from cellclf.backbones.graph import all_layers
from cellclf.backends import current
from cellclf.backends.protocol import Train
from cellclf.training.batches import Batches
from cellclf.training.device_images import DeviceImages
from cellclf.training.drawn import Drawn
from cellclf.training.ema import EMA
from cellclf.training.epoch_steps import AfterBatch, begin

GROUP, GROUP_ON_PROCESSOR = 16, 4
"""Batches in one call: few enough that a Ctrl-C is soon answered."""


@dataclass(eq=False)
class DeviceEpochs:
    """Trains a stage; valid until its model is compiled again.

    Args:
        model: Compiled, its metrics built.
        drawn: Its batches.
        ema: Averages that follow after each step; None for none.
        accumulate: Batches that make a step.
        one_by_one: Whether every batch is a call, since something looks at each.
    """

    model: Any
    drawn: Drawn
    ema: EMA | None = None
    accumulate: int = 1
    one_by_one: bool = False

    def fit(
        self,
        batches: Batches,
        number: int,
        before: int,
        after_batch: AfterBatch,
        metrics: Sequence[NDArray[Any]],
    ) -> None:
        """Train for an epoch, or the rest of one.

        Args:
            batches: Those of the stage, or the same with the strength of this epoch.
            number: As for ``Batches.epoch``.
            before: Batches of the stage that were done before this epoch.
            after_batch: Called after each call; knows how many batches of the epoch are done.
            metrics: As for ``fit_epoch``.
        """
        size = 1 if self.one_by_one else GROUP if has_gpu() else GROUP_ON_PROCESSOR
        share = np.zeros(batches.steps, np.float32)
        if self.ema is not None:
            share = self.ema.shares(before, batches.steps, self.accumulate)

        def after(count: int) -> bool:
            if self.ema is not None:
                self.ema.steps = (before + after_batch.done + count) // self.accumulate
            return after_batch(count)

        drawn = replace(self.drawn, batches=batches)
        groups = drawn.groups(number, after_batch.done, min(size, batches.steps), {"follow": share})
        self._train(groups, lambda: begin(self.model, metrics), after)

    @cached_property
    def _train(self) -> Train:
        pairs = () if self.ema is None else self.ema.pairs
        return current().train_drawn(self.model, self.drawn.make, pairs)


def device_epochs(
    model: Any,
    batches: Batches,
    images: DeviceImages,
    ema: EMA | None = None,
    accumulate: int = 1,
    *,
    one_by_one: bool = False,
) -> DeviceEpochs:
    """Make what trains a stage.

    Args:
        model: Compiled, its metrics built.
        batches: Of the stage.
        images: The training images.
        ema: See ``DeviceEpochs``.
        accumulate: See ``DeviceEpochs``.
        one_by_one: See ``DeviceEpochs``.
    """
    import keras

    # with rows that only fill a batch up, what it learns of the batch would be another
    exact = any(isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in all_layers(model))
    return DeviceEpochs(model, Drawn(batches, images, exact), ema, accumulate, one_by_one)
