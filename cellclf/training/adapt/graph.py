"""Build an adapted run's network: one flat Keras model of one image, which says what the arrays say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import copied, renamed, zoomed
from cellclf.runs.features.layers import pooled
from cellclf.training.adapt.candidates import FLOOR
from cellclf.training.adapt.mixture import Mixture

Floats = NDArray[np.float64]

LAST = "probabilities"
"""Name of the last layer of every run."""

_TINY = 1e-12


def build_model(model: Any, layers: Sequence[str], mixture: Mixture, *, zoom: float = 1.0) -> Any:
    """Put what was fitted on a copy of a run's network.

    The features are pooled as they were read. The run's own probabilities stay in the graph (``run_probabilities``),
    where the head, the classes without labels and the gate read them; the last layer is ``probabilities`` again.

    Args:
        model: The run's network, (n, H, W, 3) 0-255 to (n, K); not changed.
        layers: Those whose pooled features the mixture was fitted on, in that order.
        mixture: What was fitted.
        zoom: How much larger the network sees the images, see ``zoomed``.

    Returns:
        keras.Model from (n, H, W, 3) to (n, C) float32 probabilities, rows of which sum to 1.
    """
    import keras

    base = renamed(zoomed(copied(model), zoom), _apart(model))
    given, columns = base.output, mixture.columns
    answer = _own(given, columns)
    if len(mixture.head.classes):
        parts = pooled(base, layers)
        features = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="adapted_features")(parts)
        here = _labelled(features, given, mixture)
        if mixture.gate is not None:
            gate = mixture.gate
            inside, outside = (
                _dense(f"adapted_gate_{name}", sign * gate.kernel[:, None], [sign * gate.bias], features, "sigmoid")
                for name, sign in (("here", 1.0), ("home", -1.0))
            )
            here = keras.layers.Multiply(name="adapted_here")([here, inside])
            answer = keras.layers.Multiply(name="adapted_home")([answer, outside])
            answer = keras.layers.Add(name="adapted_both")([here, answer])
        else:
            answer = here
    # the softmax of logarithms changes nothing, but is where explanations start
    scores = keras.ops.log(answer + _TINY)
    answer = keras.layers.Activation("softmax", dtype="float32", name=LAST)(scores)
    return keras.Model(base.inputs[0], answer, name=model.name)


def original(model: Any) -> Any | None:
    """Take the network of the run as it was out of an adapted one; None where it was rebuilt for another size."""
    import keras

    names = [layer.name for layer in model.layers]
    if f"run_{LAST}" not in names or "zoom" in names or "zoom_crop" in names:
        return None
    found = keras.Model(model.inputs[0], model.get_layer(f"run_{LAST}").output, name=model.name)
    return copied(renamed(found, {f"run_{LAST}": LAST}))


def _apart(model: Any) -> dict[str, str]:
    """Rename what an adaptation adds, so that an adapted run can be adapted again."""
    taken = [layer.name for layer in model.layers]
    rename: dict[str, str] = {}
    for name in taken:
        if name == LAST or name.startswith(("adapted_", "run_", "zoom", "pooled_")):
            new = f"run_{name}"
            while new in taken or new in rename.values():
                new = f"run_{new}"
            rename[name] = new
    return rename


def _dense(name: str, kernel: Floats, bias: Sequence[float] | Floats | None, value: Any, activation: str | None) -> Any:
    """Apply a Dense layer of given weights."""
    import keras

    layer = keras.layers.Dense(
        kernel.shape[1], activation=activation, use_bias=bias is not None, dtype="float32", name=name
    )
    found = layer(value)
    layer.set_weights([kernel] if bias is None else [kernel, np.asarray(bias)])
    return found


def _own(given: Any, columns: NDArray[np.int64]) -> Any:
    """Give the run's probabilities of the classes that can be answered, brought to sum 1."""
    import keras

    count = int(given.shape[-1])
    if np.array_equal(columns, np.arange(count)):
        return given
    known = columns >= 0
    take = np.zeros((count, len(columns)))
    take[columns[known], np.flatnonzero(known)] = 1
    chosen = _dense("adapted_own", take, None, given, None)
    if len(np.unique(columns[known])) == count:  # nothing is left out, so that they sum to 1 as they are
        return chosen
    total = _dense("adapted_own_sum", take.sum(1, keepdims=True), [1e-30], given, None)
    return keras.layers.Multiply(name="adapted_own_share")([chosen, keras.ops.reciprocal(total)])


def _labelled(features: Any, given: Any, mixture: Mixture) -> Any:
    """Give the head's probabilities, spread over all classes that can be answered, beside those without labels."""
    import keras

    layers, head, count = keras.layers, mixture.head, int(given.shape[-1])
    logits = _dense("adapted_logits", head.kernel, head.bias, features, None)
    if head.pull:
        used = head.source >= 0
        take = np.zeros((count, len(head.classes)))
        take[head.source[used], np.flatnonzero(used)] = head.pull
        fixed = np.where(used, 0.0, head.pull * np.log(FLOOR))
        pull = _dense("adapted_pull", take, fixed, keras.ops.log(given + FLOOR), None)
        logits = layers.Add(name="adapted_sum")([logits, pull])
    share = layers.Softmax(dtype="float32", name="adapted_softmax")(logits)
    places = np.zeros((len(head.classes), len(mixture.columns)))
    places[np.arange(len(head.classes)), mixture.places] = 1
    answer = share
    if not np.array_equal(mixture.places, np.arange(len(mixture.columns))):
        answer = _dense("adapted_places", places, None, share, None)
    if not mixture.trust.any():
        return answer
    believed = np.flatnonzero(mixture.trust)
    keep = np.zeros((count, len(mixture.columns)))
    keep[mixture.columns[believed], believed] = mixture.trust[believed]
    kept = _dense("adapted_unlabelled", keep, None, given, None)
    rest = _dense("adapted_rest", -keep.sum(1, keepdims=True), [1.0], given, None)
    return layers.Add(name="adapted_all")([kept, layers.Multiply(name="adapted_part")([answer, rest])])
