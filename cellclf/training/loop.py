"""The epochs of a training: stage after stage, with early stopping, checkpoints and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import seen_size, sharing_at
from cellclf.backbones.pointwise import subsample_first
from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import TrainingError
from cellclf.evaluation.intervals import count
from cellclf.evaluation.scores import scores_in
from cellclf.runs.features.cache import Caching, Features
from cellclf.runs.folder import write_history
from cellclf.runs.predict import probabilities
from cellclf.training.batches import Batches, check_accumulate
from cellclf.training.budget import Budget
from cellclf.training.budgeted import pace_of, planned
from cellclf.training.callbacks import Callbacks
from cellclf.training.checkpoint import Arrays, Checkpoint, assign, values
from cellclf.training.device_epochs import device_epochs
from cellclf.training.device_images import DeviceImages
from cellclf.training.early_stopping import EarlyStopping
from cellclf.training.ema import EMA
from cellclf.training.epoch_steps import AfterBatch, build_metrics, fit_epoch, make_fit_groups, progress_bar
from cellclf.training.freezing import freeze, moving_variables
from cellclf.training.layer_rates import rate_factors
from cellclf.training.losses import make_loss, penalties, validation_loss
from cellclf.training.optimizers import make_optimizer
from cellclf.training.plan import minutes_text
from cellclf.training.signals import Interrupt
from cellclf.training.soup import Soup
from cellclf.training.stage import Stage, stage_size
from cellclf.training.stage_input import StageInput, stage_input
from cellclf.utils.log import logger

if TYPE_CHECKING:
    from cellclf.training.trainer import Trainer

Row = dict[str, Any]

_REMEDY = "lower learning_rate (a tenth is a good try), or remove non-cell images"


@dataclass(frozen=True)
class Progress:
    """How far an epoch is: at its beginning, or where a checkpoint was saved within it.

    Args:
        done: Batches done.
        seconds: Time that they took.
        metrics: Values of Keras's metrics after them.
        rate: Learning rate at the beginning of the epoch.
    """

    done: int = 0
    seconds: float = 0.0
    metrics: Arrays = field(default_factory=list)
    rate: float = 0.0


@dataclass
class Loop:
    """Trains a model through its stages.

    Args:
        trainer: Its settings of what is learned, and how.
        model: Keras model from images to probabilities, flat.
        blocks: The layers of each block of its backbone, from the input on.
        backbone_layers: All layers of the backbone.
        batches: The training images.
        val: The validation images.
        shifted: The altered copy of the validation images; None where there is none.
        chosen: What was chosen for this run; whether a stage uses a cache is added before its first epoch.
        caching: Whether and where features of frozen layers are cached.
        checkpoint: Where the state is saved after each epoch.
        show: True shows progress bars, False hides them; None shows them on a terminal and in a notebook.
        callbacks: Called after each epoch.
        save_choice: Called when something was added to ``chosen``.
        budget: The time that there is; None for the recipe as it is, or for a budget that is repeated step by step.
    """

    trainer: Trainer
    model: Any
    blocks: Sequence[Sequence[Any]]
    backbone_layers: Sequence[Any]
    batches: Batches
    val: ImageSet
    shifted: ImageSet | None
    chosen: dict[str, Any]
    caching: Caching
    checkpoint: Checkpoint
    show: bool | None
    callbacks: Callbacks = field(default_factory=Callbacks)
    save_choice: Callable[[], None] = lambda: None
    budget: Budget | None = None
    history: list[Row] = field(default_factory=list)
    interrupt: Interrupt = field(default_factory=Interrupt)

    def run(self) -> list[Row]:
        """Train through all stages, or from where the checkpoint is.

        Returns:
            One row an epoch; the model holds the weights of the best epoch of the last stage.

        Raises:
            TrainingError: The loss is no longer a number.
            KeyboardInterrupt: The training was asked to stop; its state is saved.
        """
        import keras

        subsample_first(self.model)
        predictor = keras.Model(self.model.inputs, self.model.outputs)  # shares the layers; compiled only once
        if self.budget is not None and "budget" not in self.chosen:
            full = StageInput(self.model, predictor, self.batches, self.val, self.shifted)
            self.chosen["budget"] = planned(self, full, self.budget)
            self.save_choice()
        stages = self.stages
        plain = [self._plain_input(stage, predictor) for stage in stages]
        for one in plain:
            check_accumulate(self.trainer.accumulate, one.batches.steps)
        first, stopping = 0, EarlyStopping()
        saved = self.checkpoint.load("stage")
        if saved is not None:
            meta, arrays = saved
            assign(self.model.variables, arrays["model"])
            first, stopping, self.history = meta["stage"], EarlyStopping(**meta["early_stopping"]), meta["history"]
        for number in range(first, len(stages)):
            stage = stages[number]
            if number and stage.monitor != stages[number - 1].monitor:
                stopping.best = None
            stopping = EarlyStopping(best=stopping.best)
            if saved is None or number > first:
                if number and stopping.best is not None and stage.monitor.endswith(("val_loss", "shifted_loss")):
                    stopping.best += self._change_of_penalties(stages[number - 1], stage)
                meta = {"stage": number, "early_stopping": stopping.to_dict(), "history": self.history}
                self.checkpoint.save("stage", meta, model=values(self.model.variables))
            freeze(self.backbone_layers, self.blocks, stage)
            caching = self._caching_of(number)
            with stage_input(plain[number], stage, self.blocks, caching, show=self.show) as self._input:
                self._note_cache(number, self._input.cache is not None)
                if self._input.notice:
                    logger.info(f"stage {number + 1}: {self._input.notice}")
                stopping = self._stage(number, stage, stopping)
        return self.history

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages: those of the recipe, or those that were planned for the time that there is."""
        plan = self.chosen.get("budget")
        return self.trainer.used_stages() if plan is None else [Stage.from_dict(one) for one in plan["stages"]]

    @cached_property
    def images(self) -> DeviceImages:
        """The training images on the device; copied there when the first of them is needed."""
        return DeviceImages(self.batches.cells, self.batches.weights)

    def compiled(self, model: Any, rate: Any, layer_decay: float = 1.0) -> Any:
        """Compile a model for a stage at a rate, and give its optimizer."""
        optimizer = make_optimizer(
            self.trainer.optimizer,
            rate,
            self.trainer.weight_decay,
            accumulate=self.trainer.accumulate,
            scale_loss=self.chosen["precision"] == "mixed_float16",
            factors=rate_factors(self.model, self.blocks, layer_decay),
        )
        self._loss = make_loss(self.trainer.label_smoothing, self.trainer.consistency, self.trainer.focal)
        compiling = {"metrics": ["accuracy"], "jit_compile": self.chosen["jit_compile"]}
        model.compile(optimizer=optimizer, loss=self._loss, **compiling)
        optimizer.build(self.model.trainable_variables)
        build_metrics(model)
        return optimizer

    def _plain_input(self, stage: Stage, predictor: Any) -> StageInput:
        """Give what a stage trains and takes without a cache: the classifier, at the size of the stage."""
        model = sharing_at(self.model, stage_size(stage, seen_size(self.model)))
        batches = replace(self.batches, batch_size=stage.batch_size or self.batches.batch_size)
        if stage.strength is not None and not stage.strength_changes:
            batches = batches.at_strength(stage.strength_at(0.0))
        return StageInput(model, predictor, batches, self.val, self.shifted, smaller=model is not self.model)

    def _change_of_penalties(self, before: Stage, stage: Stage) -> float:
        """Give by how much a loss rises because more layers are trained, whose penalties it then holds."""
        found = []
        for one in (before, stage):
            freeze(self.backbone_layers, self.blocks, one)
            found.append(penalties(self.model))
        return found[1] - found[0]

    def _caching_of(self, number: int) -> Caching:
        """Decide on a cache as this stage did before: when it is resumed, or repeated by ``rerun``."""
        before = self.chosen["cache"][number : number + 1]
        if not before or self.caching.mode is None:  # without a cache when the disk is full, whatever was before
            return self.caching
        return replace(self.caching, mode="disk" if before[0] else None)

    def _note_cache(self, number: int, used: bool) -> None:
        cache = self.chosen["cache"]
        if cache[number : number + 1] != [used]:
            cache[number : number + 1] = [used]
            self.save_choice()

    def _stage(self, number: int, stage: Stage, stopping: EarlyStopping) -> EarlyStopping:
        model, plan = self._input.model, self.chosen.get("budget")
        self._pace = None if plan is None else pace_of(plan, number, stage, self.budget)
        rate = stage.rate(self._input.batches.steps) if self._pace is None else self._pace.rate
        optimizer = self.compiled(model, rate, stage.layer_decay)
        in_groups = self._input.cache is not None and not current().shares_batches()
        self._fit_groups = make_fit_groups(model) if in_groups else None
        moving = moving_variables(self.model)
        self._ema = None if self.trainer.ema is None else EMA(moving, self.trainer.ema)
        self._device = None
        if self.chosen["pipeline"] == "device" and self._input.cache is None:
            batches, accumulate = self._input.batches, self.trainer.accumulate
            one_by_one = self._pace is not None  # it looks at the clock after every step
            self._device = device_epochs(model, batches, self.images, self._ema, accumulate, one_by_one=one_by_one)
        last_stage = number == len(self.stages) - 1
        soup = Soup(self.trainer.soup) if self.trainer.soup is not None and last_stage else None
        best = values(moving)
        epoch, stopped, progress = 0, False, Progress()
        saved = self.checkpoint.load("epoch")
        if saved is not None and saved[0]["stage"] == number:
            meta, arrays = saved
            assign(moving, arrays["moving"])
            assign(optimizer.variables, arrays["optimizer"])
            if self._ema is not None:
                self._ema.load(arrays["ema"], meta["ema_steps"])
            best, epoch, stopped = arrays["best"], meta["epoch"], meta["stopped"]
            stopping, self.history = EarlyStopping(**meta["early_stopping"]), meta["history"]
            progress = Progress(meta["batches"], meta["seconds"], arrays.get("metrics", []), meta["rate"])
            if self._pace is not None:
                self._pace.load(meta["pace"])
            if soup is not None:
                soup.load(meta["soup"], arrays)
            within = f" and {progress.done} batches" if progress.done else ""
            logger.info(f"resuming after epoch {epoch}{within} of stage {number + 1}")

        def save(progress: Progress) -> None:
            meta: Row = {"stage": number, "epoch": epoch, "stopped": stopped}
            meta |= {"early_stopping": stopping.to_dict(), "history": self.history}
            meta |= {"batches": progress.done, "seconds": progress.seconds, "rate": progress.rate}
            state: dict[str, Arrays] = {
                "moving": values(moving),
                "optimizer": values(optimizer.variables),
                "best": best,
                "metrics": progress.metrics,
            }
            if self._pace is not None:
                meta["pace"] = self._pace.to_dict()
            if self._ema is not None:
                meta["ema_steps"], state["ema"] = self._ema.steps, values(self._ema.averages)
            if soup is not None:
                meta["soup"], state = soup.epochs, state | soup.state()
            self.checkpoint.save("epoch", meta, **state)

        last = math.inf if self._pace is not None else stage.epochs  # the time ends a stage with a pace
        self._fill_seconds = self._input.prepare() if epoch < last and not stopped else 0.0
        progress = replace(progress, seconds=progress.seconds + self._fill_seconds)
        if self.trainer.start is not None and number == epoch == progress.done == 0 and stopping.best is None:
            scores = self._scores()  # an epoch that is worse than the run as it was is not kept
            stopping.best = scores[stage.monitor]
            logger.info(f"before: val_loss {scores['val_loss']:.4f}  val_macro_f1 {scores['val_macro_f1']:.4f}")
        if self._pace is not None:
            self._pace.start()
            optimizer.learning_rate = self._pace.rate
        with self.callbacks.around_stage(self.model, optimizer, self._loss, stage.epochs):
            while epoch < last and not stopped:
                self.callbacks.before_epoch(len(self.history))
                with self.interrupt.deferred():
                    row = self._epoch(number, epoch + 1, progress, save)
                    epoch, progress = epoch + 1, Progress()
                    better, reduce, stopped = stopping.update(stage, epoch, row)
                    stopped = stopped or (self._pace is not None and self._pace.over)
                    if better or soup is not None:
                        scored = values(moving) if self._ema is None else self._ema.averaged(values(moving))
                        best = scored if better else best
                        if soup is not None:
                            soup.add(epoch, scored)
                    if reduce:
                        optimizer.learning_rate = float(optimizer.learning_rate) * stage.reduce_factor
                    self.history.append(row)
                    self._log(row, better)
                    save(progress)
                    if self.checkpoint.folder is not None:
                        write_history(self.checkpoint.folder.parent, self.history)
                if self.callbacks.after_epoch(len(self.history) - 1, row) and not stopped:
                    stopped = True
                    save(progress)
                    logger.info(f"a callback ended stage {number + 1} after epoch {epoch}")
                if self.interrupt.asked:
                    raise self._stop(f"after epoch {epoch} of stage {number + 1}")
            if soup is not None and stopping.best_epoch:
                best = self._stirred(soup, best, stopping.best_epoch, number, moving)
            assign(moving, best)
        if self._pace is not None and plan is not None and number == len(plan["paces"]):
            plan["paces"].append(self._pace.done())
            self.save_choice()
        for row in self.history:
            if row["stage"] == number + 1:
                row["best"] = row["epoch"] == stopping.best_epoch
        if stopping.best_epoch == 0:
            logger.info(
                f"stage {number + 1} did not improve {stage.monitor} {stopping.best:.4f}: "
                "the weights from its beginning are kept"
            )
        return stopping

    def _stirred(self, soup: Soup, best: Arrays, best_epoch: int, number: int, moving: Sequence[Any]) -> Arrays:
        """Average the best epoch with others, as far as the scores agree."""
        monitor = self.stages[number].monitor
        rows = {row["epoch"]: row for row in self.history if row["stage"] == number + 1}

        def score(weights: Arrays) -> dict[str, float]:
            assign(moving, weights)
            return self._scores()

        found, self.chosen["soup"] = soup.stir(best, best_epoch, rows, monitor, score)
        self.save_choice()
        made = self.chosen["soup"]
        if len(made["epochs"]) == 1:
            logger.info(f"soup: no other of the last {len(soup.epochs)} epochs improved on epoch {best_epoch}")
        else:
            logger.info(
                f"soup: the mean of epochs {', '.join(map(str, made['epochs']))}: {monitor} {made['after']:.4f} "
                f"(epoch {best_epoch}: {made['before']:.4f})"
            )
        return found

    def _epoch(self, number: int, epoch: int, progress: Progress, save: Callable[[Progress], None]) -> Row:
        started = time.perf_counter() - progress.seconds
        rate = progress.rate if progress.done else float(np.asarray(self._input.model.optimizer.learning_rate))
        model, batches = self._input.model, self._input.batches
        stage, pace = self.stages[number], self._pace
        if stage.strength_changes:
            share = (epoch - 1) / max(1, stage.epochs - 1)
            share = share if pace is None else pace.share_at((epoch - 1) * batches.steps)
            batches = batches.at_strength(stage.strength_at(share))
        label = f"stage {number + 1} epoch {epoch}"

        def now(done: int) -> Progress:
            return Progress(done, time.perf_counter() - started, values(model.metrics_variables), rate)

        with progress_bar(model, progress.done, batches.steps, label, show=self.show) as update_bar:

            def after_step(done: int) -> None:
                if self._device is None:
                    self._update_ema((epoch - 1) * batches.steps + done)
                if pace is not None:
                    pace.after_step()
                    model.optimizer.learning_rate = pace.rate
                update_bar(done)

            after_batch = AfterBatch(
                done=progress.done,
                after_step=after_step,
                save=lambda done: save(now(done)) if done < batches.steps else None,  # the whole epoch is saved later
                asked_to_stop=lambda: self.interrupt.asked or (pace is not None and pace.over),
            )
            if self._device is not None:
                before = (epoch - 1) * batches.steps
                self._device.fit(batches, len(self.history), before, after_batch, progress.metrics)
            elif self._fit_groups is None:
                dataset = batches.epoch(len(self.history), progress.done)
                fit_epoch(model, dataset, after_batch, progress.metrics)
            else:
                # an EMA needs the weights after every step, a pace looks at the clock
                group_size = None if self._ema is None and pace is None else 1
                groups = batches.groups(len(self.history), progress.done, group_size)
                self._fit_groups(groups, after_batch, progress.metrics)
        if after_batch.done < batches.steps and not (pace is not None and pace.over):
            save(now(after_batch.done))
            where = f"after {after_batch.done} of {batches.steps} batches of epoch {epoch}, stage {number + 1}"
            raise self._stop(where)
        found = {name: float(value) for name, value in model.get_metrics_result().items()}
        loss = found["loss"]
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch} of stage {number + 1} at a learning rate of {rate:g}; {_REMEDY}"
            )
        where = f"after epoch {epoch} of stage {number + 1} at a learning rate of {rate:g}"
        check_finite({v.path: v.numpy() for v in moving_variables(self.model)}, where)
        row = {"stage": number + 1, "epoch": epoch, "loss": loss, "accuracy": found["accuracy"]}
        if any(one.image_size is not None for one in self.stages):
            row["image_size"] = min(stage_size(stage, seen_size(self.model)))
        if pace is not None:  # an epoch may be cut
            row["images"] = batches.images_in(after_batch.done)
        with nullcontext() if self._ema is None else self._ema.applied():
            row |= self._scores()
        check_finite(row, where)  # weights may be numbers, and their products none
        return row | {"learning_rate": rate, "seconds": time.perf_counter() - started, "best": False}

    def _scores(self) -> dict[str, float]:
        """Score the classifier as it is on the validation images and their altered copy."""
        sets = [("val", self.val, self._input.val)]
        if self.shifted is not None and self._input.shifted is not None:
            sets.append(("shifted", self.shifted, self._input.shifted))
        found: dict[str, float] = {}
        for name, cells, inputs in sets:
            how = {"label_smoothing": self.trainer.label_smoothing, "focal": self.trainer.focal}
            found |= validate(self._input.predictor, cells, name, inputs=inputs, **how)
        if self.shifted is not None:
            found["mean_macro_f1"] = (found["val_macro_f1"] + found["shifted_macro_f1"]) / 2
        return found

    def _log(self, row: Row, better: bool) -> None:
        stages = self.stages
        stage = stages[row["stage"] - 1]
        left = (stage.epochs - row["epoch"]) * (row["seconds"] - self._fill_seconds)
        of, left_text = f"/{stage.epochs}", f", at most {left / 60:.1f} min left in the stage" if left > 30 else ""
        if self._pace is not None:
            of, left_text = "", ""
        if self.budget is not None:
            left_text = f", {minutes_text(self.budget.spent())} of {minutes_text(self.budget.seconds)}"
        self._fill_seconds = 0.0
        shifted = "" if self.shifted is None else f"shifted_macro_f1 {row['shifted_macro_f1']:.4f}  "
        logger.info(
            f"stage {row['stage']}/{len(stages)} epoch {row['epoch']:>3}{of}  "
            f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  val_loss {row['val_loss']:.4f}  "
            f"val_macro_f1 {row['val_macro_f1']:.4f}  "
            f"{shifted}"
            f"rate {row['learning_rate']:.2g}  {row['seconds']:.0f} s"
            f"{left_text}{'  best' if better else ''}"
        )

    def _update_ema(self, done: int) -> None:
        """Add the weights to the EMA when they have moved; ``done`` counts the batches of the stage."""
        if self._ema is not None and done % self.trainer.accumulate == 0:
            self._ema.update()

    def _stop(self, where: str) -> KeyboardInterrupt:
        folder = self.checkpoint.folder
        saved = "its state is lost, since it had no folder (out=...)"
        if folder is not None:
            saved = f"its state is saved: the same call with {folder.parent} resumes there"
        return KeyboardInterrupt(f"the training was stopped {where}; {saved}")


def check_finite(found: Mapping[str, Any], where: str) -> None:
    """Refuse weights or scores that are no numbers: the loss of an epoch is that of before its last step.

    Args:
        found: Name -> number or array.
        where: In which epoch, for the message.

    Raises:
        TrainingError: NaN or infinity.

    Examples:
        >>> check_finite({"val_loss": 0.5}, "after epoch 1")
    """
    for name, value in found.items():
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"{name} holds NaN or infinity {where}; {_REMEDY}")


def validate(
    model: Any,
    val: ImageSet,
    name: str = "val",
    *,
    inputs: ImageSet | Features | None = None,
    label_smoothing: float = 0.0,
    focal: float = 0.0,
) -> dict[str, float]:
    """Score a model on the validation set: the loss as Keras computes it, and every score of a history.

    Args:
        model: From images to probabilities.
        val: With labels.
        name: What the scores' names begin with.
        inputs: What the model takes instead of the images; None for the images.
        label_smoothing: As of ``make_loss``.
        focal: As of ``make_loss``.

    Returns:
        ``val_loss``, with label smoothing, focal loss and the penalties of trained weights, but without class weights;
        and ``val_NAME`` for the scores of ``cellclf.evaluation.scores`` that are shown in histories, among them
        ``val_log_loss`` without all these. Macro scores include the classes that have images.
    """
    assert val.labels is not None
    found = probabilities(model, val if inputs is None else inputs)
    truth: NDArray[np.int64] = val.labels
    classes = found.shape[1]
    confusion = np.bincount(truth * classes + found.argmax(1), minlength=classes**2).reshape(classes, classes)
    counts = count(confusion, confusion.sum(1) > 0)
    loss = validation_loss(truth, found, label_smoothing=label_smoothing, focal=focal) + penalties(model)
    scores = {f"{name}_{score.name}": score.value(counts, truth, found) for score in scores_in("history")}
    return {f"{name}_loss": loss} | scores
