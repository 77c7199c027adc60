"""The epochs of a training: one stage after the other, watched, written down, taken up again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import TrainingError
from cellclf.evaluation.intervals import count
from cellclf.evaluation.scores import scores_in
from cellclf.runs.features.cache import Cached, Caching, Features
from cellclf.runs.folder import write_history
from cellclf.runs.predict import probabilities
from cellclf.training.batches import Feed, feeding
from cellclf.training.callbacks import Listeners
from cellclf.training.checkpoint import Arrays, Checkpoint, assign, values
from cellclf.training.early_stopping import Watch
from cellclf.training.ema import Average
from cellclf.training.freezing import freeze, moving_variables
from cellclf.training.optimizers import make_optimizer
from cellclf.training.signals import Interrupt
from cellclf.training.stage import Stage
from cellclf.training.stage_input import Stream
from cellclf.training.steps import Watcher, fit, fitter_of_groups, make_scores, progress_bar

Row = dict[str, Any]


@dataclass(frozen=True)
class Begun:
    """How far an epoch got before its process ended.

    Args:
        batches: Batches done.
        seconds: Time that they took.
        metrics: Keras's running scores after them.
        rate: Learning rate at its beginning.
    """

    batches: int = 0
    seconds: float = 0.0
    metrics: Arrays = field(default_factory=list)
    rate: float = 0.0


@dataclass
class Loop:
    """A model on its way through the stages.

    Args:
        model: Keras model from images to probabilities, flat.
        blocks: The layers of each block of its backbone, from the input on.
        backbone_layers: All layers of the backbone.
        stages: What to do.
        stream: The training images.
        val: The validation images.
        optimizer: Name or Keras optimizer.
        weight_decay: Of the optimizer.
        accumulate: Batches that make one step.
        scale_loss: Whether the loss is scaled for float16.
        loss: Keras loss.
        shifted: The altered copy of the validation images; None where there is none.
        ema: Momentum of the moving average of weights that is judged and kept; None keeps the weights themselves.
        jit_compile: Whether XLA compiles the training steps, as Keras takes it.
        caching: Whether and where features of frozen layers are kept.
        checkpoint: Where the state goes after each epoch.
        show: Whether to print a line an epoch.
        listeners: Who else is told of each epoch.
        finish: Called when the last stage is over, with what is cached, which goes after it.
    """

    model: Any
    blocks: Sequence[Sequence[Any]]
    backbone_layers: Sequence[Any]
    stages: Sequence[Stage]
    stream: Stream
    val: ImageSet
    optimizer: Any
    weight_decay: float
    accumulate: int
    scale_loss: bool
    loss: Any
    shifted: ImageSet | None
    ema: float | None
    jit_compile: bool | str
    caching: Caching
    checkpoint: Checkpoint
    show: bool
    listeners: Listeners = field(default_factory=Listeners)
    finish: Callable[[Cached | None], None] = lambda cached: None
    history: list[Row] = field(default_factory=list)
    interrupt: Interrupt = field(default_factory=Interrupt)

    def run(self) -> list[Row]:
        """Train through all stages, or from where the checkpoint stands.

        Returns:
            One row an epoch; the model holds the weights of the best epoch of the last stage.

        Raises:
            TrainingError: The loss is no number any more.
            KeyboardInterrupt: The training was asked to stop; its state is written down.
        """
        import keras

        judge = keras.Model(self.model.inputs, self.model.outputs)  # shares the layers; compiled only once
        plain = Feed(self.model, judge, self.stream, self.val, self.shifted)
        first, watch = 0, Watch()
        begun = self.checkpoint.load("stage")
        if begun is not None:
            meta, arrays = begun
            assign(self.model.variables, arrays["model"])
            first, watch, self.history = meta["stage"], Watch(**meta["watch"]), meta["history"]
        for number in range(first, len(self.stages)):
            stage = self.stages[number]
            if number and stage.monitor != self.stages[number - 1].monitor:
                watch.best = None
            watch = Watch(best=watch.best)
            if begun is None or number > first:
                meta = {"stage": number, "watch": watch.to_dict(), "history": self.history}
                self.checkpoint.save("stage", meta, model=values(self.model.variables))
            freeze(self.backbone_layers, self.blocks, stage)
            with feeding(plain, stage, self.blocks, self.caching) as self._feed:
                if self._feed.told:
                    self._say(f"stage {number + 1}: {self._feed.told}")
                with self.listeners.around(self._feed.model, stage.epochs):
                    watch = self._stage(number, stage, watch)
                if number + 1 == len(self.stages):
                    self.finish(self._feed.cached)
        return self.history

    def _stage(self, number: int, stage: Stage, watch: Watch) -> Watch:
        import tensorflow as tf

        optimizer = make_optimizer(
            self.optimizer,
            stage.rate(self.stream.steps),
            self.weight_decay,
            accumulate=self.accumulate,
            scale_loss=self.scale_loss,
        )
        model = self._feed.model
        model.compile(optimizer=optimizer, loss=self.loss, metrics=["accuracy"], jit_compile=self.jit_compile)
        optimizer.build(self.model.trainable_variables)
        make_scores(model)
        in_groups = self._feed.cache is not None and not tf.distribute.has_strategy()
        self._fit_groups = fitter_of_groups(model) if in_groups else None
        moving = moving_variables(self.model)
        self._average = None if self.ema is None else Average(moving, self.ema)
        best = values(moving)
        epoch, stopped, begun = 0, False, Begun()
        saved = self.checkpoint.load("epoch")
        if saved is not None and saved[0]["stage"] == number:
            meta, arrays = saved
            assign(moving, arrays["moving"])
            assign(optimizer.variables, arrays["optimizer"])
            if self._average is not None:
                self._average.load(arrays["average"], meta["averaged"])
            best, epoch, stopped = arrays["best"], meta["epoch"], meta["stopped"]
            watch, self.history = Watch(**meta["watch"]), meta["history"]
            begun = Begun(meta["batches"], meta["seconds"], arrays.get("metrics", []), meta["rate"])
            within = f" and {begun.batches} batches" if begun.batches else ""
            self._say(f"going on after epoch {epoch}{within} of stage {number + 1}")

        def save(begun: Begun) -> None:
            meta: Row = {"stage": number, "epoch": epoch, "stopped": stopped}
            meta |= {"watch": watch.to_dict(), "history": self.history}
            meta |= {"batches": begun.batches, "seconds": begun.seconds, "rate": begun.rate}
            state: dict[str, Arrays] = {
                "moving": values(moving),
                "optimizer": values(optimizer.variables),
                "best": best,
                "metrics": begun.metrics,
            }
            if self._average is not None:
                meta["averaged"], state["average"] = self._average.steps, values(self._average.averages)
            self.checkpoint.save("epoch", meta, **state)

        self._filling = self._feed.prepare() if epoch < stage.epochs and not stopped else 0.0
        begun = replace(begun, seconds=begun.seconds + self._filling)
        while epoch < stage.epochs and not stopped:
            with self.interrupt.deferred():
                row = self._epoch(number, epoch + 1, begun, save)
                epoch, begun = epoch + 1, Begun()
                better, reduce, stopped = watch.see(stage, epoch, row)
                if better:
                    best = values(moving) if self._average is None else self._average.whole(values(moving))
                if reduce:
                    optimizer.learning_rate = float(optimizer.learning_rate) * stage.reduce_factor
                self.history.append(row)
                self._tell(row, better)
                save(begun)
                if self.checkpoint.folder is not None:
                    write_history(self.checkpoint.folder.parent, self.history)
            self.listeners.tell(len(self.history) - 1, row)
            if self.interrupt.asked:
                raise self._stop(f"after epoch {epoch} of stage {number + 1}")
        assign(moving, best)
        for row in self.history:
            if row["stage"] == number + 1:
                row["best"] = row["epoch"] == watch.best_epoch
        if watch.best_epoch == 0:
            self._say(f"stage {number + 1} did not better {stage.monitor} {watch.best:.4f}: its start is kept")
        return watch

    def _epoch(self, number: int, epoch: int, begun: Begun, save: Callable[[Begun], None]) -> Row:
        started = time.perf_counter() - begun.seconds
        rate = begun.rate if begun.batches else float(np.asarray(self._feed.model.optimizer.learning_rate))
        model, stream = self._feed.model, self._feed.stream

        def now(batches: int) -> Begun:
            return Begun(batches, time.perf_counter() - started, values(model.metrics_variables), rate)

        with progress_bar(model, begun.batches, stream.steps, f"stage {number + 1} epoch {epoch}") as tell:

            def after_step(batches: int) -> None:
                self._after_batch((epoch - 1) * stream.steps + batches)
                tell(batches)

            watcher = Watcher(
                done=begun.batches,
                after_step=after_step,
                save=lambda batches: save(now(batches)) if batches < stream.steps else None,  # else see below
                asked_to_stop=lambda: self.interrupt.asked,
            )
            if self._fit_groups is None:
                fit(model, stream.epoch(len(self.history)).skip(begun.batches), watcher, begun.metrics)
            else:
                together = None if self._average is None else 1  # the average takes in every step
                self._fit_groups(stream.groups(len(self.history), begun.batches, together), watcher, begun.metrics)
        if watcher.done < stream.steps:
            save(now(watcher.done))
            raise self._stop(f"after {watcher.done} of {stream.steps} batches of epoch {epoch}, stage {number + 1}")
        found = {name: float(value) for name, value in model.get_metrics_result().items()}
        loss = found["loss"]
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch} of stage {number + 1} at a learning rate of {rate:g}; "
                "lower learning_rate (a tenth is a good try) or leave out images that are no cells"
            )
        row = {"stage": number + 1, "epoch": epoch, "loss": loss, "accuracy": found["accuracy"]}
        with nullcontext() if self._average is None else self._average.in_place():
            row |= validate(self._feed.judge, self.val, inputs=self._feed.val)
            if self.shifted is not None:
                row |= validate(self._feed.judge, self.shifted, "shifted", inputs=self._feed.shifted)
                row["mean_macro_f1"] = (row["val_macro_f1"] + row["shifted_macro_f1"]) / 2
        return row | {"learning_rate": rate, "seconds": time.perf_counter() - started, "best": False}

    def _tell(self, row: Row, better: bool) -> None:
        stage = self.stages[row["stage"] - 1]
        left = (stage.epochs - row["epoch"]) * (row["seconds"] - self._filling)
        self._filling = 0.0
        shifted = "" if self.shifted is None else f"shifted_macro_f1 {row['shifted_macro_f1']:.4f}  "
        self._say(
            f"stage {row['stage']}/{len(self.stages)} epoch {row['epoch']:>3}/{stage.epochs}  "
            f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  val_loss {row['val_loss']:.4f}  "
            f"val_macro_f1 {row['val_macro_f1']:.4f}  "
            f"{shifted}"
            f"rate {row['learning_rate']:.2g}  {row['seconds']:.0f} s"
            f"{f', at most {left / 60:.1f} min left in the stage' if left > 30 else ''}{'  best' if better else ''}"
        )

    def _after_batch(self, done: int) -> None:
        """Take the weights into the average when they have moved; ``done`` counts the batches of the stage."""
        if self._average is not None and done % self.accumulate == 0:
            self._average.update()

    def _stop(self, where: str) -> KeyboardInterrupt:
        folder = self.checkpoint.folder
        saved = "its state is lost, since it had no folder (out=...)"
        if folder is not None:
            saved = f"its state is saved: the same call with {folder.parent} goes on from there"
        return KeyboardInterrupt(f"the training was stopped {where}; {saved}")

    def _say(self, text: str) -> None:
        if self.show:
            print(text, file=sys.stderr, flush=True)


def validate(
    model: Any, val: ImageSet, name: str = "val", *, inputs: ImageSet | Features | None = None
) -> dict[str, float]:
    """Score a model on the validation set: unweighted loss without penalties, and every score of a history.

    Args:
        model: From images to probabilities.
        val: With labels.
        name: What the scores' names begin with.
        inputs: What the model takes instead of the images; None for the images.

    Returns:
        ``val_loss``, and ``val_NAME`` for the scores of ``cellclf.evaluation.scores`` that are shown in histories;
        macro scores include the classes that have images.
    """
    assert val.labels is not None
    found = probabilities(model, val if inputs is None else inputs)
    truth: NDArray[np.int64] = val.labels
    likely = np.clip(found[np.arange(len(truth)), truth].astype(np.float64), 1e-7, 1)
    classes = found.shape[1]
    confusion = np.bincount(truth * classes + found.argmax(1), minlength=classes**2).reshape(classes, classes)
    counts = count(confusion, confusion.sum(1) > 0)
    scores = {f"{name}_{score.name}": score.value(counts, truth, found) for score in scores_in("history")}
    return {f"{name}_loss": float(-np.log(likely).mean())} | scores
