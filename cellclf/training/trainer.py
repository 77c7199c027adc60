"""Trainer: a backbone, a head, an augmenter and stages in; a run out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Interval, Len

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.mixing import Mix
from cellclf.backbones.backbone import Backbone
from cellclf.backbones.graph import resized, sharing_at
from cellclf.backbones.precision import set_precision
from cellclf.backbones.registry import list_plugins
from cellclf.backbones.spec import BackboneSpec
from cellclf.backends import current
from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfWarning, DataError
from cellclf.runs.budgets import budget_sentence
from cellclf.runs.confidence import fit_confidence
from cellclf.runs.folder import read_manifest, write_manifest
from cellclf.runs.provenance import machine, now, versions, weights_sha256
from cellclf.runs.run import Run, load_run
from cellclf.training.batches import Batches, altered_copy, check_accumulate, in_memory
from cellclf.training.budget import Budget, budget_of
from cellclf.training.cache import Cache
from cellclf.training.callbacks import Callbacks, check_callbacks
from cellclf.training.checkpoint import Checkpoint
from cellclf.training.chosen import choose
from cellclf.training.class_weights import image_weights
from cellclf.training.compute import Compute
from cellclf.training.head import Head
from cellclf.training.loop import Loop
from cellclf.training.optimizers import Optimizer, optimizer_from_dict, optimizer_to_dict
from cellclf.training.precision_trial import try_precisions
from cellclf.training.resume import is_finished
from cellclf.training.stage import Stage
from cellclf.training.start import STAGES, Parent, build_from, parent_of
from cellclf.training.trainer_checks import check_options, check_parent_shape, check_sets, check_stage_sizes
from cellclf.utils.atomic import expanded
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import full_device_names_batch_size
from cellclf.utils.locks import BUDGET, held
from cellclf.utils.log import showing
from cellclf.utils.parameters import Count, Example, NotNegative, Params, Seed, construct, plain


class Trainer(Params):
    """Train a classifier in stages: first the head, then as much of the backbone as each stage unfreezes.

    Args:
        backbone: A name, a ``Backbone``, or a ``BackboneSpec``; None with ``start``.
        head: The layers on top; None takes the head that the backbone was described with, or ``Head()``.
        start: A run, or the path of its folder, that is trained further on other images: backbone, head and image size
            come from it. Classes are matched by name; new ones are added behind its own, which keep their rows of the
            last layer. Images of its own laboratory are not mixed in: ``Pipeline.run(home=)`` does it.
        augmenter: Augments the training images, never the validation images; it is not part of the saved model.
        stages: What to do, one after the other. None is 30 epochs of the head at 1e-4; with ``start`` 3 epochs of the
            head at 1e-4, since new classes know nothing yet, then at most 10 of all layers at 2e-5 along a cosine, with
            BatchNorm held still and the epoch chosen by the log loss: where no epoch is better, the run is kept as it
            was.
        optimizer: ``"lion"`` (Chen et al. 2023, arXiv 2302.06675), ``"adam"``, ``"adamw"``, ``"sgd"``, ``"rmsprop"``,
            or a Keras optimizer whose settings are used.
        weight_decay: Decoupled weight decay of a named optimizer.
        batch_size: Images in a step.
        accumulate: Batches whose mean gradient makes one step, where memory holds no larger batch.
        class_weight: None, ``"balanced"`` (inverse to the class's frequency), ``"effective"`` (inverse to the effective
            number of its images, milder with large classes), or a weight for each class name.
        sampling: ``"balanced"`` gives as many images of each class in an epoch, those of rare classes several times,
            each time with other augmentation; None each image once.
        focal: Exponent of the focal loss, 2 in its paper (arXiv 1708.02002); 0 for cross-entropy.
        label_smoothing: Share of each target that is spread over all classes, 0 to below 1.
        mix: MixUp or CutMix of the images, labels and weights of a batch; None for neither.
        consistency: Weight of the Jensen-Shannon divergence between an image and two augmented views of it, 12 in
            the AugMix paper (arXiv 1912.02781); three times the work. 0 trains on one view.
        val_augmenter: Makes an altered copy of the validation set, the same in every epoch, whose scores are in the
            history as ``shifted_...``; a stage can choose its best epoch by them. None makes none.
        ema: Momentum of the exponential moving average (EMA) of weights that is validated and kept, such as 0.999; None
            keeps the weights themselves.
        soup: Of how many of the last epochs of the last stage weights are averaged when it ends, with those of the best
            epoch, as far as validation images and altered copy both agree (a greedy soup, Wortsman et al. 2022, arXiv
            2203.05482; beside ``ema``, of the averages that it made). Each makes a checkpoint larger by the network.
            None averages none.
        image_size: Side in pixels to which images are resized inside the model; None keeps their size.
        cache: Whether and where the features of frozen layers are computed once and kept; None never does.
        compute: On what is computed, and in which numbers: precision, XLA, devices, determinism.
        seed: Of first weights, order, dropout and augmentation.

    Examples:
        >>> trainer = Trainer(backbone="sequential", stages=[Stage(epochs=3, learning_rate=1e-3, unfreeze="all")])
        >>> trainer.batch_size
        64
    """

    def __init__(
        self,
        *,
        backbone: Annotated[str | BackboneSpec | Backbone | None, Example('Backbone("mobilenet")')] = None,
        head: Annotated[Head | None, Example("Head(units=(512, 256))")] = None,
        start: Annotated[Run | str | PathLike[str] | None, Example('"runs/a"')] = None,
        augmenter: Annotated[Augmenter | None, Example('Augmenter.preset("light")')] = None,
        stages: Annotated[
            Annotated[Sequence[Stage], Len(1)] | None, Example("[Stage(epochs=30, learning_rate=1e-4)]")
        ] = None,
        optimizer: Optimizer = "lion",
        weight_decay: NotNegative = 0.0,
        batch_size: Count = 64,
        accumulate: Count = 1,
        class_weight: Literal["balanced", "effective"] | Mapping[str, NotNegative] | None = None,
        sampling: Literal["balanced"] | None = None,
        focal: Annotated[float, Interval(ge=0, le=100)] = 0.0,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        mix: Annotated[Mix | None, Example('Mix(kind="mixup")')] = None,
        consistency: NotNegative = 0.0,
        val_augmenter: Annotated[Augmenter | None, Example('Augmenter.preset("challenge")')] = None,
        ema: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        soup: Annotated[int, Interval(ge=1, le=100)] | None = None,
        image_size: Annotated[int, Interval(ge=1, le=4096)] | None = None,
        cache: Annotated[Cache | None, Example('Cache(mode="disk")')] = Cache(),
        compute: Annotated[Compute, Example('Compute(precision="mixed_float16")')] = Compute(),
        seed: Seed = 0,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.start = start
        self.augmenter = augmenter
        self.stages = stages
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.class_weight = class_weight
        self.sampling = sampling
        self.focal = focal
        self.label_smoothing = label_smoothing
        self.mix = mix
        self.consistency = consistency
        self.val_augmenter = val_augmenter
        self.ema = ema
        self.soup = soup
        self.image_size = image_size
        self.cache = cache
        self.compute = compute
        self.seed = seed

    def check(self, train: Cells, val: Cells) -> None:
        """Raise for every mistake that can be found before the first slow step.

        Raises:
            OptionError: Arguments that cannot be used, alone or together.
            UnknownNameError: A name that does not exist.
            RunFolderError: ``start`` holds no finished run.
            DataError: Sets without labels, of one class, of different classes or sizes.
        """
        self.check_options()
        train, val = self._sets(train, val)
        parent = self.parent()
        notices = check_sets(train, val)
        check_stage_sizes(self, self.used_stages(), train)
        if parent is None:
            notices += self.used_backbone().check(self.shape_of(train))
        else:
            notices = parent.notices(train)
        for notice in notices:
            warnings.warn(notice, CellclfWarning, stacklevel=3)
        image_weights(train, self.class_weight)
        for stage in self.used_stages():
            check_accumulate(self.accumulate, -(-len(train) // (stage.batch_size or self.batch_size)))

    def check_options(self) -> None:
        """Raise for mistakes in the arguments alone, before there is any data."""
        check_options(self)

    def used_backbone(self) -> Backbone:
        """Give the backbone as an object, whether it was given as one or by name."""
        return self.backbone if isinstance(self.backbone, Backbone) else Backbone(self.backbone)

    def parent(self) -> Parent | None:
        """Give the run that is continued, as its manifest describes it; None without ``start``.

        Raises:
            RunFolderError: No run there, or one that is not finished.
            OptionError: A run that cannot be continued.
        """
        return None if self.start is None else parent_of(self.start)

    def used_stages(self) -> Sequence[Stage]:
        """Give the stages: those that were given, or else the default ones."""
        if self.stages is not None:
            return self.stages
        return (Stage(epochs=30, learning_rate=1e-4),) if self.start is None else STAGES

    def check_sizes(self) -> None:
        """Build the network at the sizes of its stages; does nothing where there is one size.

        Raises:
            OptionError: It cannot take one of them.
        """
        sides = [stage.image_size for stage in self.used_stages() if stage.image_size is not None]
        if not sides:
            return
        if (parent := self.parent()) is not None:
            model = parent.check()
        else:
            backbone = self.used_backbone()
            side = self.image_size or max(*sides, backbone.spec.min_size)
            own = getattr(backbone.network, "input_shape", None)  # of a Keras model, which may fit no other size
            height, width = (side, side) if own is None or None in own[1:3] else own[1:3]
            model = self.build((height, width, 3), 2)
        for side in sorted({*sides}):
            sharing_at(model, (side, side))

    def used_head(self) -> Head:
        """Give the head that is built: the one that was given, or else that of the backbone's description."""
        if self.head is not None:
            return self.head
        described = self.used_backbone().spec.head
        return Head() if described is None else Head.from_dict(described)

    def resolved(self) -> Self:
        """Give the same trainer with what is left open written out: stages, the name of weights, the head, the path."""
        known: dict[str, Any] = {"stages": self.used_stages()}
        if self.start is None:
            known |= {"backbone": self.used_backbone().resolved(), "head": self.used_head()}
        elif not isinstance(self.start, Run):
            known["start"] = str(Path(self.start).expanduser().resolve())
        return plain(self).set_params(**known)  # type: ignore[no-any-return]  # of plain

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain data that ``from_dict`` takes and a TOML file can hold.

        A run in memory as ``start`` cannot be stored: it has its kind, in which ``from_dict`` finds no run.
        """
        found = super().to_dict() | {"optimizer": optimizer_to_dict(plain(self.optimizer))}
        if isinstance(self.start, Run) and self.start.folder is not None:
            found["start"] = str(self.start.folder.resolve())
        return found

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Make a trainer from the table of a recipe."""
        made = {}
        if isinstance(table, Mapping) and isinstance(table.get("optimizer"), Mapping):
            made = {"optimizer": optimizer_from_dict(table["optimizer"], where)}
            table = {key: value for key, value in table.items() if key != "optimizer"}
        return construct(cls, table, where).set_params(**made)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> Any:
        """Build the untrained classifier, a flat Keras model.

        Args:
            image_shape: Height, width, 3 of the images.
            classes: How many classes.

        Returns:
            Keras model from (n, H, W, 3) 0-255 images to (n, classes) probabilities.
        """
        return self._build(image_shape, classes)[0]

    def fit(
        self,
        train: Cells,
        val: Cells,
        *,
        out: str | Path | None = None,
        show: bool | None = None,
        callbacks: Sequence[Any] = (),
        record: Mapping[str, Any] | None = None,
        chosen: Mapping[str, Any] | None = None,
        minutes: float | Budget | None = None,
    ) -> Run:
        """Train, and choose the best epoch of each stage on the validation set.

        Args:
            train: With labels; with ``start``, images of another size are resized to those of that run.
            val: With the same classes; must share no cell with ``train``, which ``Split`` ensures.
            out: Folder for the run. The state is saved there after each epoch; after a kill the same call resumes
                with the next one, and a finished run is only read.
            show: True shows a line an epoch, False hides it; None shows it on a terminal and in a notebook.
            callbacks: Functions that get each epoch's row of the history as a dict, or Keras callbacks that look on,
                such as ``keras.callbacks.TensorBoard``. What they raise ends the training after an epoch that is saved,
                ``self.model.stop_training = True`` the stage. One that sets weights or the rate is refused, with the
                option that does its work.
            record: Further entries of the manifest, such as where the images come from.
            chosen: The entry ``chosen`` of another run's manifest: what that one chose by itself (XLA, caches) is then
                done again, on whatever machine. None chooses; a training that is resumed takes what it chose before.
            minutes: How long it may take, calibration included, from this call on (a ``Budget`` may have begun before).
                A few steps are measured; then epochs and sizes of images are chosen that are through by then, with as
                many epochs as three times those of the stages. The rate follows the clock and is at its end when the
                time is. What was spent before a stop counts. None takes the stages as they are.

        Returns:
            The run, with the weights of the best epoch of the last stage.

        Raises:
            RunFolderError: ``out`` holds something else, or a run of other settings or data.
            TrainingError: The loss is no longer a number.
            KeyboardInterrupt: Ctrl-C ends the training after the batch; with ``out`` the state is saved.
        """
        self.check_options()
        train, val = self._sets(train, val)
        self.check(train, val)
        check_callbacks(callbacks)
        budget = budget_of(minutes)
        settled = self.resolved()
        manifest = settled.manifest(train, val) | dict(record or {})
        manifest |= {} if chosen is None else {"chosen": dict(chosen)}
        manifest |= {} if budget is None else {"minutes": budget.minutes}
        folder = None if out is None else expanded(out)
        if folder is not None and is_finished(folder, manifest, with_all_settings):
            Checkpoint(folder).remove()  # a kill may have come just before
            (folder / BUDGET).unlink(missing_ok=True)
            return load_run(folder)
        with held(folder), current().devices(settled.compute.devices), showing(show) as shown:
            # another process has perhaps finished it in the meantime
            if folder is not None and is_finished(folder, manifest, with_all_settings):
                return load_run(folder)
            if budget is not None:
                budget.open(folder)
            run = settled._fit(train, val, folder, manifest, None if shown else False, Callbacks(callbacks), budget)
            if budget is not None:
                budget.close()
            return run

    @full_device_names_batch_size
    @float32()
    def _fit(
        self,
        train: ImageSet,
        val: ImageSet,
        folder: Path | None,
        manifest: dict[str, Any],
        show: bool | None,
        callbacks: Callbacks,
        budget: Budget | None,
    ) -> Run:
        if self.compute.deterministic:
            current().make_deterministic()
        model, blocks, layers = self._build(train.image_shape, train.num_classes)
        manifest["start_sha256"] = weights_sha256(model)
        earlier = None if folder is None else read_manifest(folder)
        before = (earlier or {}).get("chosen") or manifest.get("chosen") or {}
        if self.compute.precision == "auto" and "precision" not in before:
            before |= try_precisions(self, model, train, val, budget)
        chosen = choose(model, self.compute, before)
        manifest["chosen"] = chosen

        def save_manifest() -> None:
            if folder is not None:
                write_manifest(folder, manifest)

        save_manifest()
        precision = None if chosen["precision"] == "float32" else chosen["precision"]
        set_precision(model, precision)
        train, val = in_memory(train), in_memory(val)
        checkpoint = Checkpoint(folder)
        steps = {"augmenter": self.augmenter, "val_augmenter": self.val_augmenter}
        content = {"data": manifest["data"], "precision": precision} | {k: v and v.to_dict() for k, v in steps.items()}
        loop = self._loop(
            (model, blocks, layers),
            train,
            val,
            chosen=chosen,
            caching=(self.cache or Cache(mode=None)).caching(folder, content),
            checkpoint=checkpoint,
            show=show,
            callbacks=callbacks,
            save_choice=save_manifest,
            budget=budget,
        )
        history = loop.run()
        if chosen.get("budget", {}).get("too_short"):
            warnings.warn(budget_sentence(manifest, history), CellclfWarning, stacklevel=5)
        set_precision(model, None)
        manifest |= {"status": "finished", "date": now(), "seconds": round(sum(row["seconds"] for row in history), 1)}
        manifest |= {"parameters": int(model.count_params()), "end_sha256": weights_sha256(model)}
        run = Run(model, train.class_names, history, manifest)
        try:
            run.confidence, run.stored_features = fit_confidence(model, train, val, seed=self.seed, show=show)
        except DataError as error:  # a training is worth keeping without it
            warnings.warn(f"the run was not calibrated: {error}", CellclfWarning, stacklevel=5)
        if folder is not None:
            run.save(folder)
            checkpoint.remove()
        return run

    def _loop(self, built: tuple[Any, list[list[Any]], list[Any]], train: ImageSet, val: ImageSet, **rest: Any) -> Loop:
        """Give what trains a network that ``_build`` gave, on sets that are in memory; ``rest`` is that of ``Loop``."""
        model, blocks, layers = built
        batches = Batches(
            train,
            self.augmenter,
            self.batch_size,
            image_weights(train, self.class_weight),
            self.seed,
            self.mix,
            3 if self.consistency else 1,
            sampling=self.sampling,
            devices=self.compute.devices,
        )
        return Loop(
            trainer=self,
            model=model,
            blocks=blocks,
            backbone_layers=layers,
            batches=batches,
            val=val,
            shifted=None if self.val_augmenter is None else altered_copy(val, self.val_augmenter),
            **rest,
        )

    @float32()
    def trial(self, train: ImageSet, val: ImageSet) -> Loop:
        """Give a training of which only some steps are measured: nothing is saved.

        Args:
            train: With labels; few images suffice.
            val: With the same classes.
        """
        built = self._build(train.image_shape, train.num_classes)
        chosen = choose(built[0], self.compute)
        set_precision(built[0], None if chosen["precision"] == "float32" else chosen["precision"])
        nothing = {"caching": Cache(mode=None).caching(None, {}), "checkpoint": Checkpoint(None), "show": False}
        return self._loop(built, in_memory(train), in_memory(val), chosen=chosen, **nothing)

    def manifest(self, train: ImageSet, val: ImageSet) -> dict[str, Any]:
        """Give everything that determines a run of this trainer on these sets, as plain data."""
        return {
            "status": "training",
            "class_names": list(train.class_names),
            "image_shape": list(train.image_shape),
            "data": {
                "train": {"images": len(train), "sha256": train.fingerprint()},
                "val": {"images": len(val), "sha256": val.fingerprint()},
            },
            "trainer": self.resolved().to_dict(),
            **self._network(),
            "versions": versions(),
            "machine": machine(),
        }

    def _network(self) -> dict[str, Any]:
        """Give what a manifest says of where the network comes from."""
        if (parent := self.parent()) is not None:
            known = {"parent": parent.described(), "blocks": list(parent.blocks)}
            return known | {"weights_sha256": None, "plugins": dict(parent.manifest.get("plugins") or {})}
        backbone = self.used_backbone()
        weights = None if backbone.weights is None else Path(backbone.weights).expanduser()
        hashed = hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None
        plugins = {p.name: f"{p.package} {p.version}" for p in list_plugins() if p.name == backbone.plugin}
        return {"weights_sha256": hashed, "plugins": plugins}

    def _sets(self, train: Cells, val: Cells) -> list[ImageSet]:
        """Give the sets as what is trained takes them: with ``start``, at its size and with its classes first."""
        sets = [as_cells(train, what="the training set"), as_cells(val, what="the validation set")]
        if (parent := self.parent()) is not None:
            return parent.fitted(*sets)
        names = sets[0].class_names
        if names != sets[1].class_names and {*sets[1].class_names} <= {*names}:  # arrays bring the classes they hold
            sets[1] = sets[1].align(names)
        return sets

    def shape_of(self, cells: ImageSet) -> tuple[int, int, int]:
        """Give height, width and 3 at which the backbone sees the images of a set."""
        return cells.image_shape if self.image_size is None else (self.image_size, self.image_size, 3)

    @float32()
    def _build(self, image_shape: tuple[int, int, int], classes: int) -> tuple[Any, list[list[Any]], list[Any]]:
        import keras

        from cellclf.backbones.blocks import block_layers

        if (parent := self.parent()) is not None:
            check_parent_shape(parent, image_shape, classes)
            return build_from(parent, classes, seed=self.seed)
        backbone = self.used_backbone()
        side = self.image_size
        base = backbone.build(image_shape if side is None else (side, side, 3), seed=self.seed)
        if side is not None and (side, side) != image_shape[:2]:
            base = resized(base, image_shape)
        model = keras.Model(base.input, self.used_head().build(base.output, classes, seed=self.seed), name="classifier")
        return model, block_layers(model, backbone.spec.blocks), list(base.layers)


def with_all_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of a trainer in a manifest as this version writes them, so that they can be compared.

    Manifests of version 0.1.0 lack what was a default, and say "none" where this one writes null.
    """
    stages = [{"patience": None, **stage} for stage in table.get("stages") or ()]
    trainer: Trainer = Trainer.from_table({**table, "stages": stages}, "[trainer]")
    return trainer.to_dict()
