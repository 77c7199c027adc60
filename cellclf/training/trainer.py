"""Trainer: a backbone, a head, an augmenter and stages in; a run out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.registry import list_plugins
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfWarning, DataError
from cellclf.runs.confidence import Confidence, fit_confidence
from cellclf.runs.features.cache import Cached, Caching, byte_count
from cellclf.runs.folder import write_manifest
from cellclf.runs.provenance import machine, versions, weights_sha256
from cellclf.runs.run import Run, load_run
from cellclf.training.batches import Batches, altered_copy, in_memory
from cellclf.training.callbacks import Callbacks
from cellclf.training.checkpoint import Checkpoint
from cellclf.training.class_weights import image_weights
from cellclf.training.devices import scope_of
from cellclf.training.head import Head
from cellclf.training.loop import Loop
from cellclf.training.losses import make_loss
from cellclf.training.precision import set_precision
from cellclf.training.resume import is_finished
from cellclf.training.stage import Stage
from cellclf.training.trainer_checks import check_options, check_sets
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import full_device_names_batch_size
from cellclf.utils.locks import held
from cellclf.utils.log import showing
from cellclf.utils.parameters import Params

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter
    from cellclf.augmentation.mixing import Mix


class Trainer(Params):
    """Train a classifier in stages: first the head, then as much of the backbone as each stage unfreezes.

    Args:
        backbone: A name, or a ``Backbone``.
        head: The layers on top; None takes the head that the backbone was described with, or ``Head()``.
        augmenter: Augments the training images, never the validation images; it is not part of the saved model.
        stages: What to do, one after the other.
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
        image_size: Side in pixels to which images are resized inside the model; None keeps their size.
        cache: Whether a stage with frozen layers computes their features of each image once, keeps them on disk and
            trains the rest on them. ``"auto"`` does where it saves work and changes nothing else (with an augmenter it
            needs ``cached_views``); ``"disk"`` does wherever it is possible; None never does.
        cached_views: Augmented views of each image that a cache holds; each epoch takes one of them at random. 6 give
            most of what new augmentation in each epoch gives. Without an augmenter there is one.
        cache_limit: What a cache may take on disk: bytes, or a text such as ``"4GB"``. A larger one is not made.
        cache_dir: Folder for caches that are kept for other runs of the same layers and images, ``cache_limit`` for
            all of them together; the least recently used are removed first. None removes a cache after its stage.
        precision: ``"mixed_bfloat16"`` or ``"mixed_float16"`` computes in 16 bits while it trains, which GPUs with
            tensor cores do faster; weights and the finished model are float32. None for float32.
        jit_compile: Whether XLA compiles the training steps. ``"auto"`` leaves it to Keras, which does on a single GPU
            where all layers allow it and ``deterministic`` is False; on CPUs XLA mostly trains slower.
        devices: How many GPUs of this machine share each batch (logical CPUs where there is no GPU).
        seed: Of first weights, order, dropout and augmentation.
        deterministic: True asks TensorFlow for operations that repeat bit for bit. This holds for the whole
            process; nothing else here changes the process.

    Examples:
        >>> trainer = Trainer(backbone="sequential", stages=[Stage(epochs=3, learning_rate=1e-3, unfreeze="all")])
        >>> trainer.batch_size
        64
    """

    def __init__(
        self,
        *,
        backbone: str | Backbone,
        head: Head | None = None,
        augmenter: Augmenter | None = None,
        stages: Sequence[Stage] = (Stage(epochs=30, learning_rate=1e-4),),
        optimizer: Any = "lion",
        weight_decay: float = 0.0,
        batch_size: int = 64,
        accumulate: int = 1,
        class_weight: str | Mapping[str, float] | None = None,
        sampling: str | None = None,
        focal: float = 0.0,
        label_smoothing: float = 0.0,
        mix: Mix | None = None,
        consistency: float = 0.0,
        val_augmenter: Augmenter | None = None,
        ema: float | None = None,
        image_size: int | None = None,
        cache: str | None = "auto",
        cached_views: int = 1,
        cache_limit: int | str = "4GB",
        cache_dir: str | Path | None = None,
        precision: str | None = None,
        jit_compile: bool | str = "auto",
        devices: int = 1,
        seed: int = 0,
        deterministic: bool = False,
    ) -> None:
        self.backbone = backbone
        self.head = head
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
        self.image_size = image_size
        self.cache = cache
        self.cached_views = cached_views
        self.cache_limit = cache_limit
        self.cache_dir = cache_dir
        self.precision = precision
        self.jit_compile = jit_compile
        self.devices = devices
        self.seed = seed
        self.deterministic = deterministic

    def check(self, train: ImageSet, val: ImageSet) -> None:
        """Raise for every mistake that can be found before the first slow step.

        Raises:
            OptionError: Arguments that cannot be used, alone or together.
            UnknownNameError: A name that does not exist.
            DataError: Sets without labels, of one class, of different classes or sizes.
        """
        self.check_options()
        for notice in check_sets(train, val):
            warnings.warn(notice, CellclfWarning, stacklevel=3)
        for notice in self._backbone().check(self._shape(train)):
            warnings.warn(notice, CellclfWarning, stacklevel=3)
        image_weights(train, self.class_weight)

    def check_options(self) -> None:
        """Raise for mistakes in the arguments alone, before there is any data."""
        check_options(self, self._backbone(), self._head())

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
        train: ImageSet,
        val: ImageSet,
        *,
        out: str | Path | None = None,
        show: bool | None = None,
        callbacks: Sequence[Any] = (),
        record: Mapping[str, Any] | None = None,
    ) -> Run:
        """Train, and choose the best epoch of each stage on the validation set.

        Args:
            train: With labels.
            val: With the same classes; must share no cell with ``train``, which ``Split`` ensures.
            out: Folder for the run. The state is saved there after each epoch; after a kill the same call resumes
                with the next one, and a finished run is only read.
            show: True shows a line an epoch, False hides it; None shows it on a terminal and in a notebook.
            callbacks: Functions that get each epoch's row of the history as a dict, or Keras callbacks such as
                ``keras.callbacks.TensorBoard``. What they raise ends the training after an epoch that is saved.
            record: Further entries of the manifest, such as where the images come from.

        Returns:
            The run, with the weights of the best epoch of the last stage.

        Raises:
            RunFolderError: ``out`` holds something else, or a run of other settings or data.
            TrainingError: The loss is no longer a number.
            KeyboardInterrupt: Ctrl-C ends the training after the batch; with ``out`` the state is saved.
        """
        self.check(train, val)
        manifest = self.manifest(train, val) | dict(record or {})
        folder = None if out is None else Path(out)
        if folder is not None and is_finished(folder, manifest):
            Checkpoint(folder).remove()  # a kill may have come just before
            return load_run(folder)
        with held(folder), scope_of(self.devices), showing(show) as shown:
            if folder is not None and is_finished(folder, manifest):  # another process has finished it in the meantime
                return load_run(folder)
            return self._fit(train, val, folder, manifest, None if shown else False, Callbacks(callbacks))

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
    ) -> Run:
        if self.deterministic:
            import tensorflow as tf

            tf.config.experimental.enable_op_determinism()
        model, blocks, layers = self._build(train.image_shape, train.num_classes)
        manifest["start_sha256"] = weights_sha256(model)
        if folder is not None:
            write_manifest(folder, manifest)
        set_precision(model, self.precision)
        train, val = in_memory(train), in_memory(val)
        weights = image_weights(train, self.class_weight)
        views = 3 if self.consistency else 1
        batches = Batches(
            train, self.augmenter, self.batch_size, weights, self.seed, self.mix, views, sampling=self.sampling
        )
        checkpoint = Checkpoint(folder)
        confidence: list[Confidence] = []

        def calibrate(cached: Cached | None) -> None:
            set_precision(model, None)
            try:
                # features of another precision are not those of the finished network
                reused = None if self.precision else cached
                confidence.append(fit_confidence(model, train, val, cached=reused, show=show))
            except DataError as error:  # a training is worth keeping without it
                warnings.warn(f"the run was not calibrated: {error}", CellclfWarning, stacklevel=5)

        loop = Loop(
            model=model,
            blocks=blocks,
            backbone_layers=layers,
            stages=self.stages,
            batches=batches,
            val=val,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            accumulate=self.accumulate,
            scale_loss=self.precision == "mixed_float16",
            loss=make_loss(self.label_smoothing, self.consistency, self.focal),
            shifted=None if self.val_augmenter is None else altered_copy(val, self.val_augmenter),
            ema=self.ema,
            jit_compile=self.jit_compile,
            caching=self._caching(folder, manifest),
            checkpoint=checkpoint,
            show=show,
            callbacks=callbacks,
            finish=calibrate,
        )
        history = loop.run()
        manifest |= {"status": "finished", "seconds": round(sum(row["seconds"] for row in history), 1)}
        manifest |= {"parameters": int(model.count_params()), "end_sha256": weights_sha256(model)}
        run = Run(model, train.class_names, history, manifest)
        run.confidence = confidence[0] if confidence else None
        if folder is not None:
            run.save(folder)
            checkpoint.remove()
        return run

    def manifest(self, train: ImageSet, val: ImageSet) -> dict[str, Any]:
        """Give everything that determines a run of this trainer on these sets, as plain data."""
        backbone = self._backbone()
        weights = None if backbone.weights is None else Path(backbone.weights).expanduser()
        hashed = hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None
        return {
            "status": "training",
            "class_names": list(train.class_names),
            "image_shape": list(train.image_shape),
            "data": {
                "train": {"images": len(train), "sha256": train.fingerprint()},
                "val": {"images": len(val), "sha256": val.fingerprint()},
            },
            "trainer": self.to_dict(),
            "weights_sha256": hashed,
            "plugins": {p.name: f"{p.package} {p.version}" for p in list_plugins() if p.name == backbone.plugin},
            "versions": versions(),
            "machine": machine(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain data that ``from_dict`` takes and a TOML file can hold."""
        optimizer = self.optimizer
        if not isinstance(optimizer, str):
            optimizer = f"{type(optimizer).__name__} {optimizer.get_config()}"
        weights = {} if self.class_weight is None else {"class_weight": self.class_weight}
        if isinstance(self.class_weight, Mapping):
            weights = {"class_weight": dict(self.class_weight)}
        return {
            "optimizer": optimizer,
            "weight_decay": self.weight_decay,
            "batch_size": self.batch_size,
            "label_smoothing": self.label_smoothing,
            **({} if self.accumulate == 1 else {"accumulate": self.accumulate}),
            **({} if self.sampling is None else {"sampling": self.sampling}),
            **({"focal": self.focal} if self.focal else {}),
            **({} if self.precision is None else {"precision": self.precision}),
            **({} if self.jit_compile == "auto" else {"jit_compile": self.jit_compile}),
            **({} if self.devices == 1 else {"devices": self.devices}),
            **({} if self.mix is None else {"mix": self.mix.to_dict()}),
            **({"consistency": self.consistency} if self.consistency else {}),
            **({} if self.val_augmenter is None else {"val_augmenter": self.val_augmenter.to_dict()}),
            **({} if self.ema is None else {"ema": self.ema}),
            **({} if self.image_size is None else {"image_size": self.image_size}),
            **({} if self.cache == "auto" else {"cache": self.cache or "none"}),
            **({} if self.cache_limit == "4GB" else {"cache_limit": self.cache_limit}),
            **({} if self.cached_views == 1 else {"cached_views": self.cached_views}),
            **weights,
            "seed": self.seed,
            "deterministic": self.deterministic,
            "backbone": _backbone_table(self._backbone()),
            "head": asdict(self._head()) | {"units": list(self._head().units)},
            **({} if self.augmenter is None else {"augmenter": self.augmenter.to_dict()}),
            "stages": [{k: v for k, v in asdict(stage).items() if v is not None} for stage in self.stages],
        }

    def _backbone(self) -> Backbone:
        return self.backbone if isinstance(self.backbone, Backbone) else Backbone(self.backbone)

    def _head(self) -> Head:
        if self.head is not None:
            return self.head
        described = self._backbone().spec.head
        return Head() if described is None else Head(**{**described, "units": tuple(described["units"])})

    def _caching(self, folder: Path | None, manifest: Mapping[str, Any]) -> Caching:
        own = folder and folder / "cache"
        steps = {"augmenter": self.augmenter, "val_augmenter": self.val_augmenter}
        return Caching(
            mode=self.cache,
            cached_views=self.cached_views,
            limit=byte_count(self.cache_limit),
            folder=own if self.cache_dir is None else Path(self.cache_dir).expanduser(),
            kept=self.cache_dir is not None,
            content={"data": manifest["data"], "precision": self.precision}
            | {k: v and v.to_dict() for k, v in steps.items()},
        )

    def _shape(self, cells: ImageSet) -> tuple[int, int, int]:
        return cells.image_shape if self.image_size is None else (self.image_size, self.image_size, 3)

    @float32()
    def _build(self, image_shape: tuple[int, int, int], classes: int) -> tuple[Any, list[list[Any]], list[Any]]:
        import keras

        from cellclf.backbones.blocks import block_layers
        from cellclf.backbones.graph import resized

        backbone = self._backbone()
        side = self.image_size
        base = backbone.build(image_shape if side is None else (side, side, 3), seed=self.seed)
        if side is not None and (side, side) != image_shape[:2]:
            base = resized(base, image_shape)
        model = keras.Model(base.input, self._head().build(base.output, classes, seed=self.seed), name="classifier")
        return model, block_layers(model, backbone.spec.blocks), list(base.layers)


def _backbone_table(backbone: Backbone) -> dict[str, Any]:
    found: dict[str, Any] = {"name": backbone.name}
    published = backbone.spec.published
    weights = (published[0] if published else None) if backbone.weights == "default" else backbone.weights
    found["weights"] = "none" if weights is None else str(weights)
    return found | ({"params": dict(backbone.params)} if backbone.params else {})
