"""The head: what turns a feature map into class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from cellclf.backbones.graph import POOL
from cellclf.utils.parameters import Example, NotNegative, Params, check_parameters, plain

Activation = Literal[
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "linear",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Head(Params):
    """Pooling, Dense layers with dropout, softmax.

    The defaults are the head of the original report: global average pooling, Dense 512 ReLU,
    dropout 0.5, Dense 256 ReLU, dropout 0.5, softmax.

    Args:
        units: Width of each Dense layer; empty puts the softmax directly on the pooled features.
        dropout: Fraction of units dropped after each Dense layer (after the pooling if there is none), 0 to below 1.
        l2: Weight of the squared-weights penalty of the Dense layers.
        pooling: ``"avg"`` or ``"max"`` over the map, or ``"flatten"``.
        activation: Of the Dense layers, one of those of Keras that work on each number by itself.

    Examples:
        >>> Head(units=(64,), dropout=0.2)
        Head(units=(64,), dropout=0.2, l2=0.0001, pooling='avg', activation='relu')
    """

    units: Annotated[Sequence[Annotated[int, Interval(ge=1, le=65_536)]], Example("units=(512, 256)")] = (512, 256)
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    l2: NotNegative = 1e-4
    pooling: Literal["avg", "max", "flatten"] = "avg"
    activation: Activation = "relu"

    def check(self) -> None:
        """Raise for a value that cannot be built.

        Raises:
            OptionError: A value of the wrong kind or outside its range.
            UnknownNameError: No pooling or activation of that name.
        """
        check_parameters(self)

    def build(self, features: Any, classes: int, *, seed: int = 0) -> Any:
        """Put the head on a feature map.

        Args:
            features: Symbolic (batch, height, width, channels) tensor.
            classes: How many probabilities come out.
            seed: Of the first weights and the dropout masks.

        Returns:
            Symbolic (batch, classes) float32 tensor whose rows sum to 1.
        """
        self.check()
        return plain(self)._build(features, classes, seed=plain(seed))

    def _build(self, features: Any, classes: int, *, seed: int) -> Any:
        import keras

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
