"""A teacher: a finished run whose probabilities are what another network learns, on the same augmented images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from cellclf.errors import DataError, OptionError, RunFolderError
from cellclf.runs.folder import MODEL, class_names, read_manifest
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.run import Run, load_run
from cellclf.utils.parameters import Example, Params, check_parameters, plain, shortened

_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher(Params):
    """A run, or an ensemble of several, that teaches a smaller network by its probabilities (distillation).

    The loss of an image is ``(1 - weight) * L + weight * T**2 * KL(q || p)``: L is that of its label, q are the
    probabilities of the teacher at the temperature T, the softmax of its logits divided by T, and p those of the
    network that learns. The teacher sees each image as the network does, in the same augmented view (and mixed in the
    same way), at its own size; it is not trained, and its dropout is off. Rates, epochs and scores are as without it.

    Args:
        run: A run, such as ``cc.ensemble`` makes, or the path of its folder. Its classes must be those of the training
            set, in any order; images are resized to its size.
        temperature: Above 1 probabilities are softer, so that those of wrong classes count more.
        weight: 1 learns from the teacher alone, 0 from labels alone.

    Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531; the same view: Beyer et al. 2022, A good teacher is patient
    and consistent, arXiv 2106.05237.

    Examples:
        >>> Teacher(run="runs/large", temperature=2.0).check()
    """

    run: Annotated[Run | str | PathLike[str], Example('"runs/a"')]
    temperature: Annotated[float, Interval(gt=0, le=100)] = 2.0
    weight: Annotated[float, Interval(ge=0, le=1)] = 0.9

    def check(self) -> None:
        """Raise for values that cannot be used.

        Raises:
            OptionError: A value of the wrong kind or outside its range.
        """
        check_parameters(self)

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain data; a run in memory that is in no folder cannot be stored."""
        found = super().to_dict()
        if isinstance(self.run, Run) and self.run.folder is not None:
            found["run"] = str(self.run.folder.resolve())
        return found

    @cached_property
    def loaded(self) -> Run:
        """The run with its network.

        Raises:
            RunFolderError: It cannot be read.
        """
        return self.run if isinstance(self.run, Run) else load_run(Path(self.run).expanduser())

    def order(self, names: Sequence[str]) -> list[int]:
        """Give where the classes of a training set are among those of the run, whose network is not loaded.

        Raises:
            RunFolderError: There is no run.
            DataError: The two have other classes.
        """
        own = self._class_names()
        if {*own} != {*names}:
            raise DataError(
                f"the teacher has the classes {', '.join(own)} and the training set {', '.join(names)}; expected the "
                "same"
            )
        return [own.index(name) for name in names]

    def _class_names(self) -> tuple[str, ...]:
        if isinstance(self.run, Run):
            return self.run.class_names
        folder = Path(self.run).expanduser()
        manifest = read_manifest(folder)
        if manifest is None or not (folder / MODEL).exists():
            raise RunFolderError(
                f"teacher run={shortened(str(self.run))} holds no finished run; expected the folder of one"
            )
        return tuple(class_names(folder, manifest))

    def described(self) -> dict[str, Any]:
        """Give what the manifest of a run that it taught says of it."""
        run = self.loaded
        folder = None if run.folder is None else str(run.folder.resolve())
        return {"folder": folder, "weights_sha256": weights_sha256(run.model), "class_names": list(run.class_names)}


def frozen(model: Any) -> Any:
    """Give a copy of a network that is never trained."""
    found = type(model).from_config({**model.get_config(), "name": "teacher"})
    found.set_weights(model.get_weights())
    found.trainable = False
    return found


def taught(model: Any, teacher: Any, order: Sequence[int]) -> Any:
    """Give a model of the same layers that also gives what a teacher thinks of the same images.

    Args:
        model: From images to (n, K) probabilities.
        teacher: The same, of a size of its own, ``frozen``.
        order: Where the classes of ``model`` are among those of ``teacher``.

    Returns:
        From images to (n, 2 K): the probabilities of the model, then those of the teacher.
    """
    import keras
    from keras import ops

    size, places = tuple(teacher.inputs[0].shape[1:3]), list(order)

    class Teaching(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
        """Without an argument ``training``: Keras would hand on that of the model around it, and with it dropout."""

        def __init__(self) -> None:
            super().__init__(trainable=False, dtype="float32", name="teaching")
            self.network = teacher
            self.resize = keras.layers.Resizing(*size, interpolation="bilinear", dtype="float32")

        def build(self, shape: Any) -> None:
            self.built = True  # the network is, whatever Keras takes an ensemble for

        def call(self, images: Any) -> Any:
            seen = images if tuple(images.shape[1:3]) == size else self.resize(images)
            found = self.network(seen, training=False)
            return found if places == sorted(places) else ops.take(found, places, axis=-1)

    images = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype)
    both = keras.layers.Concatenate(dtype="float32", name="both")([model(images), Teaching()(images)])
    return keras.Model(images, both, name="taught")


def taught_loss(hard: Any, temperature: float, weight: float) -> Any:
    """Make the loss of a model that ``taught`` gave.

    Args:
        hard: Keras loss of labels, without reduction.
        temperature: See ``Teacher``.
        weight: See ``Teacher``.
    """
    import keras
    from keras import ops

    temperature, weight = plain(temperature), plain(weight)

    class Taught(keras.losses.Loss):  # type: ignore[misc]  # keras ships no types
        def call(self, targets: Any, both: Any) -> Any:
            student, teacher = ops.split(both, 2, axis=-1)
            # logits but for a constant, which a softmax leaves out
            p, q = (
                ops.log_softmax(ops.log(ops.clip(found, _EPSILON, 1.0)) / temperature, axis=-1)
                for found in (student, teacher)
            )
            divergence = ops.sum(ops.exp(q) * (q - p), axis=-1)
            return (1 - weight) * hard(targets, student) + weight * temperature**2 * divergence

    return Taught()


def taught_accuracy(classes: int) -> Any:
    """Make the accuracy of a model that ``taught`` gave: of its own probabilities.

    Args:
        classes: How many there are.
    """
    import keras

    class Accuracy(keras.metrics.CategoricalAccuracy):  # type: ignore[misc]  # keras ships no types
        def update_state(self, targets: Any, both: Any, sample_weight: Any = None) -> Any:
            return super().update_state(targets[:, :classes], both[:, :classes], sample_weight=sample_weight)

    return Accuracy(name="accuracy")


def check_teacher(trainer: Any) -> None:
    """Refuse what a teacher cannot be combined with.

    Args:
        trainer: A ``Trainer`` with a teacher.

    Raises:
        OptionError: Consistency, whose views are compared with each other.
    """
    trainer.teacher.check()
    if trainer.consistency:
        raise OptionError(
            f"teacher and consistency={trainer.consistency:g} cannot be combined: expected one of them, since both say "
            "what the views of an image should be"
        )
    if trainer.compute.pipeline == "device":
        raise OptionError("teacher and pipeline='device' cannot be combined; expected pipeline='auto' or 'host'")


def check_same_teacher(manifest: Mapping[str, Any], folder: str | Path) -> None:
    """Refuse to repeat a run whose teacher is not there, or another one now.

    Args:
        manifest: Of the run.
        folder: Of the run.

    Raises:
        RunFolderError: It is not.
    """
    known = manifest.get("teacher")
    if not known:
        return
    if known.get("folder") is None:
        raise RunFolderError(
            f"the teacher of {folder} was a run in memory, so it cannot be repeated; save teachers first"
        )
    found = Teacher(run=known["folder"]).described()
    if found["weights_sha256"] != known.get("weights_sha256"):
        raise RunFolderError(
            f"{known['folder']} is not the teacher that {folder} had: its weights are others; expected that run there"
        )
