"""Layer-wise rates: the earlier a block of the backbone, the lower its learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from cellclf.errors import OptionError
from cellclf.utils.parameters import plain

Factors = Mapping[int, float]
"""Id of a variable -> what the rate is multiplied by for it."""


def rate_factors(model: Any, blocks: Sequence[Sequence[Any]], decay: float) -> Factors:
    """Give what the learning rate is multiplied by for each trained variable: ``decay ** (depth from the head)``.

    The head has the depth 0, the last block of the backbone 1, the one before 2, and so on to the first, which holds
    the stem. Blocks that are frozen count.

    Args:
        model: The classifier.
        blocks: The layers of each block of its backbone, from the input on.
        decay: Above 0, at most 1.

    Returns:
        One factor for each trainable variable; empty where all are 1.
    """
    decay = float(plain(decay))
    if decay == 1:
        return {}
    depth = {id(v): len(blocks) - k for k, block in enumerate(blocks) for layer in block for v in layer.variables}
    return {id(v): decay ** depth.get(id(v), 0) for v in model.trainable_variables}


def check_optimizer(optimizer: Any) -> None:
    """Refuse an optimizer that keeps one count for all variables, and so cannot step them group by group.

    Args:
        optimizer: A name, or an optimizer of Keras.

    Raises:
        OptionError: Such as Nadam.
    """
    if isinstance(optimizer, str):
        return
    usual = ("keras.src.backend.", "keras.src.optimizers.base_optimizer")
    own = [kind for kind in type(optimizer).__mro__ if "_backend_update_step" in vars(kind)]
    if any(not kind.__module__.startswith(usual) for kind in own):
        raise OptionError(
            f"layer_decay with {type(optimizer).__name__}, which steps all variables together; expected another "
            "optimizer, such as 'adamw', or layer_decay=1.0"
        )


def scale_rates(optimizer: Any, factors: Factors) -> None:
    """Let an optimizer step each variable with the rate times its factor; weight decay is multiplied by it, too.

    The rate that it shows, its schedule and its state are as they were, so that a checkpoint holds nothing new.

    Args:
        optimizer: Of Keras, built or not; not one that scales losses, but the one in it.
        factors: Of every variable that it will train; empty changes nothing.
    """
    if not factors:
        return
    update, decay, current = (
        optimizer._backend_update_step,
        optimizer._apply_weight_decay,
        optimizer._get_current_learning_rate,
    )
    now = [1.0]

    def groups(variables: Sequence[Any]) -> Iterator[tuple[float, list[int]]]:
        places = sorted(range(len(variables)), key=lambda k: factors[id(variables[k])])
        for factor, some in groupby(places, key=lambda k: factors[id(variables[k])]):
            yield factor, list(some)

    def update_step(grads: Sequence[Any], variables: Sequence[Any], rate: Any) -> None:
        for factor, some in groups(variables):
            update([grads[k] for k in some], [variables[k] for k in some], rate * factor)

    def apply_weight_decay(variables: Sequence[Any]) -> None:
        for factor, some in groups(variables):
            now[0] = factor  # it asks the optimizer for its rate
            try:
                decay([variables[k] for k in some])
            finally:
                now[0] = 1.0

    def current_rate() -> Any:
        rate = current()
        return rate if now[0] == 1.0 else rate * now[0]

    # Keras has no public way to give each variable a rate that every backend takes: PyTorch steps lists of them. Set on
    # this one object, past Keras, which looks through what it is given
    for name, method in (
        ("_backend_update_step", update_step),
        ("_apply_weight_decay", apply_weight_decay),
        ("_get_current_learning_rate", current_rate),
    ):
        object.__setattr__(optimizer, name, method)
