"""Checkpoints: everything that a training needs to resume, in files that are whole or not there.

A run folder holds ``checkpoint/`` while it trains. ``stage.npz`` is written when a stage begins and holds every
variable of the model; ``epoch.npz`` is written after each epoch, and within an epoch every ten minutes and when the
training is asked to stop. It holds what can change within the stage (trained weights, statistics that are not frozen,
random states), the optimizer, the best weights so far, the running metrics of an unfinished epoch, and the rest of the
state as JSON. Each is written beside its place and renamed, so that a kill at any moment leaves the old or the new one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import RunFolderError
from cellclf.utils.atomic import replacing

Arrays = list[NDArray[Any]]

_OLD_NAMES = {"watch": "early_stopping", "averaged": "ema_steps", "average": "ema"}
"""Names in checkpoints of version 0.1.0, whose trainings can still be resumed."""


def values(variables: Sequence[Any]) -> Arrays:
    """Copy the values of Keras variables."""
    return [variable.numpy().copy() for variable in variables]


def assign(variables: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
    """Set Keras variables to values, in order.

    Raises:
        RunFolderError: Another number of values or other shapes: they belong to another model.
    """
    if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
        raise RunFolderError("the checkpoint belongs to another model; start in a new folder")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


class Checkpoint:
    """The ``checkpoint`` folder of a run.

    Args:
        folder: The run folder; None saves nothing, and the training cannot resume after a kill.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder / "checkpoint"

    def save(self, name: str, meta: dict[str, Any], **groups: Arrays) -> None:
        """Write groups of arrays, and ``meta`` as JSON, into one file."""
        if self.folder is None:
            return
        arrays: dict[str, Any] = {
            f"{group}.{k}": array for group, items in groups.items() for k, array in enumerate(items)
        }
        with replacing(self.folder / f"{name}.npz") as new, new.open("wb") as file:
            np.savez(file, meta=np.asarray(json.dumps(meta)), **arrays)

    def load(self, name: str) -> tuple[dict[str, Any], dict[str, Arrays]] | None:
        """Read what ``save`` wrote: ``meta`` and the groups of arrays; None if there is no such file."""
        if self.folder is None or not (self.folder / f"{name}.npz").exists():
            return None
        groups: dict[str, dict[int, NDArray[Any]]] = {}
        try:
            path = self.folder / f"{name}.npz"
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                meta: dict[str, Any] = json.loads(str(archive["meta"]))
                for key in archive.files:
                    if key != "meta":
                        group, _, place = key.rpartition(".")
                        groups.setdefault(_OLD_NAMES.get(group, group), {})[int(place)] = archive[key]
        except Exception as error:  # zipfile and numpy raise a dozen kinds for a damaged file
            raise RunFolderError(
                f"{self.folder / name}.npz is damaged ({error}); delete {self.folder} to start this run again"
            ) from None
        meta = {_OLD_NAMES.get(key, key): value for key, value in meta.items()}
        return meta, {group: [items[k] for k in range(len(items))] for group, items in groups.items()}

    def remove(self) -> None:
        """Delete the checkpoints of a run that is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
