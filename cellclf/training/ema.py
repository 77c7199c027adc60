"""EMA: the exponential moving average of weights, validated and kept instead of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.training.checkpoint import Arrays, assign, values


class EMA:
    """The exponential moving average of a model's weights and statistics.

    The momentum rises with the steps, min(momentum, (1 + t) / (10 + t)), so that the first weights are soon forgotten.

    Args:
        variables: What training can change; random states, which are no numbers to average, are left out.
        momentum: Weight of the old average in a step, such as 0.999.

    Source: Polyak and Juditsky 1992; the rising momentum as in TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, variables: Sequence[Any], momentum: float) -> None:
        import keras

        self.variables = variables
        self.momentum = momentum
        self.steps = 0
        self.places = [k for k, v in enumerate(variables) if "float" in keras.backend.standardize_dtype(v.dtype)]
        # of copies: some backends would share the memory of the weights, or free it
        starts = [variables[k].numpy().astype("float32") for k in self.places]
        self.averages = [keras.Variable(start, trainable=False, dtype="float32") for start in starts]

    def update(self) -> None:
        """Add the weights after a step to the average."""
        from keras import ops

        share = self._share(self.steps)
        for variable, average in self.pairs:
            average.assign_add((ops.cast(variable, "float32") - average) * share)
        self.steps += 1

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Each variable that is averaged, and its average."""
        return [(self.variables[place], average) for place, average in zip(self.places, self.averages, strict=True)]

    def shares(self, done: int, count: int, accumulate: int) -> NDArray[np.float32]:
        """Give by which share of the way the averages follow after each of the next batches.

        Args:
            done: Batches of the stage that are done.
            count: How many follow.
            accumulate: Batches that make a step; after the others nothing has moved.
        """
        ends = range(done + 1, done + count + 1)
        shares = [0.0 if end % accumulate else self._share(end // accumulate - 1) for end in ends]
        return np.asarray(shares, np.float32)

    def _share(self, steps: int) -> float:
        """Give by which share of the way the averages follow after so many steps."""
        return 1 - min(self.momentum, (1 + steps) / (10 + steps))

    def load(self, arrays: Sequence[NDArray[Any]], steps: int) -> None:
        """Restore a saved state."""
        assign(self.averages, arrays)
        self.steps = steps

    def averaged(self, arrays: Arrays) -> Arrays:
        """Give a copy of all variables' values with the averages in their places."""
        averaged = list(arrays)
        for place, average in zip(self.places, self.averages, strict=True):
            averaged[place] = np.asarray(average.numpy(), averaged[place].dtype)
        return averaged

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model hold the averages while the block runs."""
        before = values(self.variables)
        assign(self.variables, self.averaged(before))
        try:
            yield
        finally:
            assign(self.variables, before)
