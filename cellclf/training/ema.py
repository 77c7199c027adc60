"""A moving average of weights, judged and kept in place of the weights that the optimizer moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.training.checkpoint import Arrays, assign, values


class Average:
    """The exponential moving average of a model's weights and statistics.

    The momentum rises with the steps, min(momentum, (1 + t) / (10 + t)), so that the first weights are soon forgotten.

    Args:
        variables: What training can change; random states, which are no numbers to average, are left out.
        momentum: Share of the old average that stays in a step, such as 0.999.

    Source: Polyak and Juditsky 1992; the rising momentum as in TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, variables: Sequence[Any], momentum: float) -> None:
        import keras

        self.variables = variables
        self.momentum = momentum
        self.steps = 0
        self.places = [k for k, v in enumerate(variables) if "float" in keras.backend.standardize_dtype(v.dtype)]
        self.averages = [keras.Variable(variables[k], trainable=False, dtype="float32") for k in self.places]

    def update(self) -> None:
        """Take in the weights after a step."""
        from keras import ops

        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        for place, average in zip(self.places, self.averages, strict=True):
            average.assign_add((ops.cast(self.variables[place], "float32") - average) * (1 - keep))
        self.steps += 1

    def load(self, arrays: Sequence[NDArray[Any]], steps: int) -> None:
        """Take up a state that was written down."""
        assign(self.averages, arrays)
        self.steps = steps

    def whole(self, arrays: Arrays) -> Arrays:
        """Put the averages into a copy of all variables' values."""
        whole = list(arrays)
        for place, average in zip(self.places, self.averages, strict=True):
            whole[place] = np.asarray(average.numpy(), whole[place].dtype)
        return whole

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the averages for as long as the context lasts."""
        before = values(self.variables)
        assign(self.variables, self.whole(before))
        try:
            yield
        finally:
            assign(self.variables, before)
