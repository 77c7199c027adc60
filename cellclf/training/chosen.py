"""What a training chooses by itself: written into its manifest, and taken from there when it is resumed or repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellclf.augmentation.blocks import has_gpu
from cellclf.errors import OptionError
from cellclf.training.compute import Compute


def choose(model: Any, compute: Compute, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Choose what is left open, or take what was chosen before.

    Args:
        model: The classifier, built where it will be trained.
        compute: What was asked for.
        before: The choices of the run that is resumed or repeated; None for none.

    Returns:
        ``precision``: ``"float32"`` or that of ``Compute``; ``backend``: that of Keras; ``jit_compile``: whether the
        steps are compiled, which is not taken from a run on another backend; ``pipeline``: ``"host"`` or ``"device"``,
        as ``jit_compile``; ``cache``: for each stage that has begun,
        whether it trains on cached features (added by the loop, since how much room the disk has is known only then);
        ``budget``: what was planned for the time that there was, and the steps that were done in it (see
        ``cellclf.training.budgeted``), only where there was a budget; ``sample``: which share of the images was used,
        only where there was no time for all; ``trial``: how fast each way of computing was, where that was tried (see
        ``cellclf.training.precision_trial``); ``soup``: of which epochs the weights were averaged, added by the loop.
    """
    import keras

    before, backend = before or {}, keras.config.backend()
    known = before.get("backend", "tensorflow") == backend and "jit_compile" in before
    found = {
        "precision": before.get("precision", "float32" if compute.precision in (None, "auto") else compute.precision),
        "jit_compile": before["jit_compile"] if known else _compiles(model, compute.jit_compile),
        "backend": backend,
        "pipeline": before.get("pipeline", "host") if known else _pipeline(compute),
        "cache": list(before.get("cache", ())),
    }
    return found | {key: before[key] for key in ("budget", "sample", "trial") if key in before}


def _compiles(model: Any, jit_compile: bool | str) -> bool:
    """Ask Keras what ``"auto"`` means for this model on this machine.

    Raises:
        OptionError: Steps that cannot be compiled should be.
    """
    import keras

    if jit_compile is True and keras.config.backend() == "torch":
        raise OptionError(
            "jit_compile=True needs TensorFlow or JAX, and Keras runs on PyTorch, whose compiler takes no step "
            "of Keras; expected 'auto' or False"
        )
    if isinstance(jit_compile, bool):
        return jit_compile
    probe = keras.Model(model.inputs, model.outputs)  # shares the layers: the classifier itself is not compiled yet
    probe.compile(jit_compile=jit_compile)
    return bool(probe.jit_compile)


def _pipeline(compute: Compute) -> str:
    """Decide where batches are made: on a processor a device's way saves no copies, and nothing is done ahead."""
    if compute.devices > 1:
        return "host"
    return compute.pipeline if compute.pipeline != "auto" else "device" if has_gpu() else "host"
