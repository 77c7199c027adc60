"""Optimizers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, get_args, runtime_checkable

from cellclf.errors import OptionError, unknown
from cellclf.training.layer_rates import Factors, scale_rates
from cellclf.utils.parameters import Called, plain, shortened

OptimizerName = Literal["adam", "adamw", "lion", "rmsprop", "sgd"]
OPTIMIZERS = get_args(OptimizerName)


@runtime_checkable
class KerasOptimizer(Protocol):
    """What of a Keras optimizer is used; Keras itself is too slow to import for a check."""

    def get_config(self) -> dict[str, Any]:
        """Give its settings."""
        ...

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Do a step."""
        ...


Optimizer = OptimizerName | Annotated[KerasOptimizer, Called("a Keras optimizer")]


def make_optimizer(
    optimizer: Any,
    rate: Any,
    weight_decay: float,
    *,
    accumulate: int = 1,
    scale_loss: bool = False,
    factors: Factors | None = None,
) -> Any:
    """Make a new Keras optimizer; one that has been used cannot be used in another stage.

    Args:
        optimizer: A name, or a Keras optimizer whose settings are used.
        rate: Learning rate or schedule.
        weight_decay: Decoupled weight decay a step, times the rate; 0 for none.
        accumulate: Batches whose mean gradient makes a step.
        scale_loss: Whether the loss is scaled up, so that no gradient is too small for float16; a step whose gradients
            overflow is skipped.
        factors: What the rate is multiplied by for each variable, see ``rate_factors``; None for 1.

    Raises:
        UnknownNameError: No optimizer of that name.
    """
    import keras

    config = {"learning_rate": rate} | ({"gradient_accumulation_steps": accumulate} if accumulate > 1 else {})
    made = _named(optimizer, weight_decay) if isinstance(optimizer, str) else optimizer
    made = type(made).from_config(made.get_config() | config)
    scale_rates(made, factors or {})
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


def optimizer_to_dict(optimizer: Any) -> Any:
    """Give an optimizer as plain data: its name, or the class and settings of a Keras optimizer.

    The learning rate is left out: that of the stage counts.
    """
    if not isinstance(optimizer, KerasOptimizer) or isinstance(optimizer, type):
        return optimizer
    config = {key: value for key, value in optimizer.get_config().items() if key not in ("name", "learning_rate")}
    return {"class_name": type(optimizer).__name__, "config": plain(config)}


def optimizer_from_dict(table: Mapping[str, Any], where: str) -> Any:
    """Make the optimizer of which ``optimizer_to_dict`` gave the data.

    Only the classes of ``keras.optimizers`` are made: a recipe is data, and must not run code of its choice.

    Raises:
        OptionError: No class of Keras, or settings that it does not have.
    """
    import keras

    name = table.get("class_name")
    kind: Any = getattr(keras.optimizers, name, None) if isinstance(name, str) else None
    if not inspect.isclass(kind) or not issubclass(kind, keras.optimizers.Optimizer):
        raise OptionError(
            f"{where} optimizer={shortened(dict(table))}; expected one of {', '.join(OPTIMIZERS)}, or the class_name "
            "of an optimizer of Keras and its config"
        )
    config = table.get("config", {})
    config = {k: None if v == "none" else v for k, v in config.items()} if isinstance(config, Mapping) else config
    try:
        made: Any = kind
        return made.from_config(dict(config))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(f"{where} optimizer: keras.optimizers.{name} does not take its config: {reason}") from None
