"""The head: what turns a feature map into class probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cellclf.backbones.graph import POOL
from cellclf.errors import OptionError

POOLINGS = ("avg", "max", "flatten")


@dataclass(frozen=True, kw_only=True)
class Head:
    """Pooling, Dense layers with dropout, softmax.

    The defaults are the head of the original report: global average pooling, Dense 512 ReLU,
    dropout 0.5, Dense 256 ReLU, dropout 0.5, softmax.

    Args:
        units: Width of each Dense layer; empty puts the softmax directly on the pooled features.
        dropout: Fraction of units dropped after each Dense layer (after the pooling if there is none), 0 to below 1.
        l2: Weight of the squared-weights penalty of the Dense layers.
        pooling: ``"avg"`` or ``"max"`` over the map, or ``"flatten"``.
        activation: Of the Dense layers, a name that Keras knows.

    Examples:
        >>> Head(units=(64,), dropout=0.2)
        Head(units=(64,), dropout=0.2, l2=0.0001, pooling='avg', activation='relu')
    """

    units: tuple[int, ...] = (512, 256)
    dropout: float = 0.5
    l2: float = 1e-4
    pooling: str = "avg"
    activation: str = "relu"

    def check(self) -> None:
        """Raise OptionError for a value that cannot be built."""
        if any(width < 1 for width in self.units):
            raise OptionError(f"head units={self.units}; expected widths of 1 or more, such as (512, 256)")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"head dropout={self.dropout}; expected a fraction from 0 to below 1")
        if self.l2 < 0:
            raise OptionError(f"head l2={self.l2}; expected 0 or more")
        if self.pooling not in POOLINGS:
            raise OptionError(f"head pooling={self.pooling!r}; expected one of {', '.join(POOLINGS)}")

    def build(self, features: Any, classes: int, *, seed: int = 0) -> Any:
        """Put the head on a feature map.

        Args:
            features: Symbolic (batch, height, width, channels) tensor.
            classes: How many probabilities come out.
            seed: Of the first weights and the dropout masks.

        Returns:
            Symbolic (batch, classes) float32 tensor whose rows sum to 1.
        """
        import keras

        self.check()
        layers = keras.layers
        pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D, "flatten": layers.Flatten}
        x = pool[self.pooling](name=POOL)(features)
        if self.dropout and not self.units:
            x = layers.Dropout(self.dropout, seed=seed, name="head_dropout")(x)
        penalty = keras.regularizers.L2(self.l2) if self.l2 else None
        for k, width in enumerate(self.units, 1):
            start = keras.initializers.GlorotUniform(seed=seed + k)
            x = layers.Dense(width, kernel_initializer=start, kernel_regularizer=penalty, name=f"head_dense_{k}")(x)
            x = layers.Activation(self.activation, name=f"head_activation_{k}")(x)
            if self.dropout:
                x = layers.Dropout(self.dropout, seed=seed + k, name=f"head_dropout_{k}")(x)
        start = keras.initializers.GlorotUniform(seed=seed)
        return layers.Dense(
            classes, activation="softmax", kernel_initializer=start, dtype="float32", name="probabilities"
        )(x)
