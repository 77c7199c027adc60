"""The run that a training continues: what it takes over of it, and its network with rows for new classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.blocks import block_layers, output_layer
from cellclf.backbones.graph import POOL, all_layers, copied
from cellclf.data.classes import join_classes
from cellclf.data.door import Cells, at_size
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfError, OptionError, RunFolderError
from cellclf.runs.folder import MANIFEST, MODEL, class_names, read_manifest, reading_of
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.robustness import steps_of
from cellclf.runs.run import Run, load_run
from cellclf.training.stage import Stage
from cellclf.utils.backend import float32
from cellclf.utils.parameters import shortened

STAGES = (
    Stage(epochs=3, learning_rate=1e-4, monitor="val_log_loss"),
    Stage(epochs=10, learning_rate=2e-5, unfreeze="all", schedule="cosine", monitor="val_log_loss", patience=5),
)
"""What a training does that continues a run, unless it is given stages: first the head, since new classes know nothing
yet, then all layers at a rate at which they change little."""

_NEW = 0.1
"""Spread of the first weights of a new class, as a share of the spread of the old ones."""


@dataclass(frozen=True, eq=False)
class Parent:
    """The run that is continued, as its manifest describes it: its network is read where it is needed.

    Args:
        class_names: Its classes, which the new run has, too, in this order and before its own.
        input_shape: Height, width and channels of its images.
        manifest: Its manifest.
        folder: Where it is stored; None if in memory only.
        run: Itself, if it was given as an object.
    """

    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    manifest: Mapping[str, Any]
    folder: Path | None
    run: Run | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return "the run in memory" if self.folder is None else str(self.folder)

    def load(self) -> Run:
        """Give the run with its network.

        Raises:
            RunFolderError: It cannot be read.
        """
        if self.run is not None:
            return self.run
        assert self.folder is not None
        return load_run(self.folder)

    def check(self) -> Any:
        """Give its network, which can be trained on.

        Raises:
            RunFolderError: It cannot be read.
            OptionError: Its last layer is not a Dense layer with a softmax, such as that of an adapted run.
        """
        import keras

        model = self.load().model
        last = model.get_layer(output_layer(model))
        if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
            above = (self.manifest.get("parent") or {}).get("folder")
            raise OptionError(
                f"start: the network of {self} ends in {type(last).__name__} {last.name!r}; expected a run as a "
                f"training makes it, not an adapted one{f': start from {above}' if above else ''}"
            )
        return model

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the layers in which the blocks of its backbone end; empty if they are not known: then it is one."""
        if (stored := self.manifest.get("blocks")) is not None:
            return tuple(map(str, stored))
        table = (self.manifest.get("trainer") or {}).get("backbone")
        try:
            return () if not table else Backbone.from_table(table, "backbone").spec.blocks
        except CellclfError:  # a Keras model that was given as an object, a plugin of another version
            return tuple(table.get("blocks") or ()) if isinstance(table, Mapping) else ()

    @property
    def seen_size(self) -> tuple[int, int] | None:
        """Height and width at which its network sees images, as far as the manifest says: None if it continued another.

        The network itself knows: ``cellclf.backbones.graph.seen_size``.
        """
        trainer = self.manifest.get("trainer")
        if self.manifest.get("parent") is not None or not isinstance(trainer, Mapping):
            return None
        side = trainer.get("image_size")
        return (side, side) if isinstance(side, int) else (self.input_shape[0], self.input_shape[1])

    def described(self) -> dict[str, Any]:
        """Give what the manifest of a run that continues it says of it."""
        found = self.manifest.get("end_sha256") if self.run is None else None
        return {
            "folder": None if self.folder is None else str(self.folder.resolve()),
            "weights_sha256": found or weights_sha256(self.load().model),
            "class_names": list(self.class_names),
            "augmented_with": list(steps_of(self.manifest, self.folder)),
        }

    def sized(self, cells: Cells, *, what: str = "cells") -> ImageSet:
        """Give cells at the size of its images, read as those were."""
        return at_size(cells, self.input_shape[:2], what=what, reading=reading_of(self.manifest))

    def fitted(self, *sets: Cells, what: str = "cells") -> list[ImageSet]:
        """Give sets at the size of its images, with its classes first and behind them those of the sets that it lacks.

        Args:
            sets: See ``Cells``; one without labels keeps none.
            what: What they are called in messages.
        """
        found = [self.sized(one, what=what) for one in sets]
        names: tuple[str, ...] = self.class_names
        for one in found:
            names = names if one.labels is None else join_classes(one, names).class_names
        return [join_classes(one, names) for one in found]

    def notices(self, train: ImageSet) -> list[str]:
        """Say which of its classes a training that continues it does not see.

        Args:
            train: The training set, as ``fitted`` gave it.
        """
        counts = train.counts()
        absent = [name for name in self.class_names if not counts.get(name)]
        new = [name for name, count in counts.items() if count and name not in self.class_names]
        if len(absent) == len(self.class_names):
            return [
                f"none of the classes {', '.join(new)} is one of {self} ({', '.join(absent)}), so that all are new to "
                "it; if they are the same under other names, rename them (class_names=...)"
            ]
        never = [name for name, count in counts.items() if not count and name not in self.class_names]
        found = [f"no training image of {', '.join(never)}: the classifier will never predict it"] if never else []
        if absent:
            found.append(
                f"no training image of {', '.join(absent)}, which {self} knows and may forget; images of its own "
                "laboratory keep them"
            )
        return found


def parent_of(start: Run | str | PathLike[str]) -> Parent:
    """Open the run that a training continues, without loading its network.

    Args:
        start: A run, or the path of its folder.

    Raises:
        RunFolderError: No run there, or one that is not finished.
        OptionError: A run that cannot be continued: an ensemble, or one for images that are not RGB.
    """
    if isinstance(start, Run):
        found = Parent(start.class_names, start.input_shape, start.manifest, start.folder, start)
    else:
        shown = f"start={str(start)[:200]!r}"
        try:
            folder = Path(start).expanduser()
            exists = folder.exists()
        except (OSError, RuntimeError, ValueError) as error:  # too long, no such home, zero bytes
            raise RunFolderError(f"{shown} is no path ({shortened(str(error))}); expected a run's folder") from None
        manifest = read_manifest(folder)
        if manifest is None:
            there = f"holds no run ({MANIFEST} is missing)" if exists else "does not exist"
            raise RunFolderError(f"{shown} {there}; expected the --out folder of a finished training")
        if manifest.get("status") == "training" or not (folder / MODEL).exists():
            raise RunFolderError(f"{shown} is not finished; the command that began it resumes it")
        names = class_names(folder, manifest)
        shape = manifest.get("image_shape") or load_run(folder).input_shape
        found = Parent(names, tuple(shape), manifest, folder)
    if "members" in found.manifest:
        raise OptionError(
            f"start: {found} is an ensemble of {len(found.manifest['members'])} networks, which cannot be trained on; "
            "expected one of its members"
        )
    if len(found.input_shape) != 3 or found.input_shape[2] != 3:
        raise OptionError(
            f"start: {found} takes images {found.input_shape}; expected a run for RGB images (height, width, 3)"
        )
    return found


@float32()
def build_from(parent: Parent, classes: int, *, seed: int) -> tuple[Any, list[list[Any]], list[Any]]:
    """Build the classifier that continues a run: a copy of its network, with rows of the last layer for new classes.

    Args:
        parent: The run.
        classes: How many classes there are now; those of the run are the first ones.
        seed: Of the rows of new classes, and of dropout.

    Returns:
        Keras model; the layers of each block of its backbone; all layers of its backbone.

    Raises:
        OptionError: A network whose last layer is not a Dense layer with a softmax, such as that of an adapted run.
    """
    model = copied(parent.check())
    last = model.get_layer(output_layer(model))
    if classes > len(parent.class_names):
        model = _with_rows(model, last, classes, seed)
    names = [layer.name for layer in model.layers]
    behind = names[names.index(POOL) :] if POOL in names else [last.name]
    base = [layer for layer in model.layers if layer.name not in behind]
    for place, layer in enumerate(all_layers(model)):
        if layer.name in behind:
            layer.trainable = True
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:  # its state is where the first training left it
            generator.state.assign(np.asarray([seed, place], generator.state.dtype))
    known = [name for name in parent.blocks if name in names]
    return model, block_layers(model, known) if known else [base], base


def _with_rows(model: Any, last: Any, classes: int, seed: int) -> Any:
    """Give the model with more classes: the rows of the old ones are kept, those of new ones are small."""
    import keras

    wider = type(last).from_config({**last.get_config(), "units": classes})
    # symbolic: the input of the last layer is the output of the one before
    answer = wider(last.input)
    rng = np.random.default_rng(seed)
    kept = [value.numpy() for value in last.weights]
    new = []
    for value in kept:
        shape = (*value.shape[:-1], classes - value.shape[-1])
        # the kernel near nothing, the bias as those of the others on average: likely where they are all unlikely
        first = rng.normal(0, _NEW * value.std(), shape) if value.ndim > 1 else np.full(shape, value.mean())
        new.append(np.concatenate([value, first.astype(value.dtype)], axis=-1))
    wider.set_weights(new)
    return keras.Model(model.inputs[0], answer, name=model.name)
