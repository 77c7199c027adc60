"""Ensemble: a run whose network averages the probabilities of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellclf.backbones.graph import use_adapted_state
from cellclf.errors import DataError, OptionError
from cellclf.runs.run import Run
from cellclf.utils.backend import float32
from cellclf.utils.parameters import shortened


@float32()
def ensemble(runs: Sequence[Run]) -> Run:
    """Combine runs to one whose probabilities are the mean of theirs.

    The result is a run like any other: it predicts, is scored, saved and loaded. Runs that differ (in seed, backbone,
    augmentation) gain most; a prediction costs the sum of theirs.

    Args:
        runs: Two or more, of the same classes in the same order and the same image size.

    Returns:
        A run in memory; ``save`` writes it.

    Raises:
        OptionError: Fewer than two runs.
        DataError: Runs of other classes or image sizes.

    Source: Lakshminarayanan et al. 2017, arXiv 1612.01474.
    """
    import keras

    if not isinstance(runs, list | tuple) or not all(isinstance(run, Run) for run in runs):
        raise OptionError(f"runs={shortened(runs)}; expected a list of two or more runs, such as load_run gives")
    if len(runs) < 2:
        raise OptionError(f"an ensemble of {len(runs)} runs; expected two or more")
    first = runs[0]
    for run in runs[1:]:
        for what, one, other in (
            ("classes", first.class_names, run.class_names),
            ("image size", first.input_shape, run.input_shape),
        ):
            if one != other:
                raise DataError(f"the runs differ in {what}: {one} and {other}; expected runs on the same data")
    images = keras.Input(first.input_shape, dtype=first.model.inputs[0].dtype)
    members = [_renamed(run.model, f"member_{place}") for place, run in enumerate(runs, 1)]
    mean = keras.layers.Average(dtype="float32")([member(images) for member in members])
    manifest: dict[str, Any] = {
        "status": "finished",
        "class_names": list(first.class_names),
        "image_shape": list(first.input_shape),
        "members": [run.manifest | ({"folder": str(run.folder)} if run.folder else {}) for run in runs],
        "seconds": sum(run.manifest.get("seconds", 0.0) for run in runs),
        "versions": first.manifest.get("versions", {}),
        "plugins": {name: package for run in runs for name, package in run.manifest.get("plugins", {}).items()},
    }
    return Run(keras.Model(images, mean, name="ensemble"), first.class_names, [], manifest)


def _renamed(model: Any, name: str) -> Any:
    copy = type(model).from_config({**model.get_config(), "name": name})
    copy.set_weights(model.get_weights())
    use_adapted_state(copy)
    return copy
