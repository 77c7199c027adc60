"""Optimizers by name."""

from __future__ import annotations

from typing import Any

from cellclf.errors import unknown

OPTIMIZERS = ("adam", "adamw", "lion", "rmsprop", "sgd")


def make_optimizer(
    optimizer: Any, rate: Any, weight_decay: float, *, accumulate: int = 1, scale_loss: bool = False
) -> Any:
    """Make a new Keras optimizer; one that has been used cannot be used in another stage.

    Args:
        optimizer: A name, or a Keras optimizer whose settings are used.
        rate: Learning rate or schedule.
        weight_decay: Decoupled weight decay a step, times the rate; 0 for none.
        accumulate: Batches whose mean gradient makes a step.
        scale_loss: Whether the loss is scaled up, so that no gradient is too small for float16; a step whose gradients
            overflow is skipped.

    Raises:
        UnknownNameError: No optimizer of that name.
    """
    import keras

    config = {"learning_rate": rate} | ({"gradient_accumulation_steps": accumulate} if accumulate > 1 else {})
    made = _named(optimizer, weight_decay) if isinstance(optimizer, str) else optimizer
    made = type(made).from_config(made.get_config() | config)
    return keras.optimizers.LossScaleOptimizer(made) if scale_loss else made


def _named(optimizer: str, weight_decay: float) -> Any:
    import keras

    decay = weight_decay or None
    match optimizer:
        case "lion":
            return keras.optimizers.Lion(weight_decay=decay)
        case "adam":
            return keras.optimizers.Adam(weight_decay=decay)
        case "adamw":
            return keras.optimizers.AdamW(weight_decay=weight_decay)
        case "sgd":
            return keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=decay)
        case "rmsprop":
            return keras.optimizers.RMSprop(weight_decay=decay)
    raise unknown("optimizer", optimizer, OPTIMIZERS)
