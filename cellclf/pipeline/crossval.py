"""Cross-validation by class, group and cluster: each image is predicted once by a classifier not trained on it."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.pipeline.pipeline import Pipeline
from cellclf.reporting.compare import Candidate
from cellclf.training.trainer import Trainer
from cellclf.utils.annotations import HUGE, Called
from cellclf.utils.atomic import check_writable, write_json, write_text
from cellclf.utils.csv_tables import csv_text
from cellclf.utils.log import logger, showing
from cellclf.utils.parameters import Jobs, Seed, check_arguments, check_value, plain
from cellclf.utils.results import Result

Job = Pipeline | Trainer


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CrossValidation(Result):
    """The result of ``cross_validate``.

    Args:
        ids: (N,) the images.
        labels: (N,) their classes.
        class_names: K names.
        folds: (N,) in which fold each image was held out, from 1.
        probabilities: (N, K) by the classifier of that fold.
        reports: Scores of each fold on its held-out images.
        chosen: The job that was chosen in each fold.
        groups: (N,) slide or patient of each image, which intervals resample; None if they are not known.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    reports: tuple[Report, ...]
    chosen: tuple[str, ...]
    groups: NDArray[np.str_] | None = None

    def pooled(self) -> Report:
        """Score all images together, each by the classifier that was not trained on it."""
        return evaluate(self.labels, self.probabilities, self.class_names, groups=self.groups)

    def mean(self, score: str = "macro_f1") -> tuple[float, float]:
        """Give a score's mean and standard deviation over the folds; this is no confidence interval."""
        values = [float(getattr(report, score)) for report in self.reports]
        return float(np.mean(values)), float(np.std(values, ddof=1))

    def __str__(self) -> str:
        several = len(set(self.chosen)) > 1
        lines = [f"fold  images  macro F1  accuracy{'  chosen' if several else ''}"]
        for number, (report, name) in enumerate(zip(self.reports, self.chosen, strict=True), 1):
            scores = f"{float(report.macro_f1):>8.4f}  {float(report.accuracy):>8.4f}"
            lines.append(f"{number:>4}  {report.n:>8,}  {scores}{f'  {name}' if several else ''}")
        means = (f"{name} {mean:.4f} (SD {spread:.4f})" for name, (mean, spread) in self._means().items())
        return "\n".join([*lines, f"over {len(self.reports)} folds: {', '.join(means)}"])

    def _means(self) -> dict[str, tuple[float, float]]:
        return {"macro F1": self.mean(), "accuracy": self.mean("accuracy")}

    def to_dict(self) -> dict[str, Any]:
        """Give the scores as plain data that JSON can hold."""
        return {
            "folds": [report.to_dict() for report in self.reports],
            "chosen": list(self.chosen),
            "means": {name: {"mean": mean, "sd": spread} for name, (mean, spread) in self._means().items()},
            "pooled": self.pooled().to_dict(),
        }

    def write(self, folder: str | Path) -> Path:
        """Write ``folds.csv`` (id, class, fold and probabilities of each image) and ``cross_validation.json``."""
        folder = Path(folder)
        first = ("id", "class", "fold")
        columns = [*first, *(f"p_{name}" if name in first else name for name in self.class_names)]
        each = zip(self.ids, self.labels, self.folds, self.probabilities, strict=True)
        rows = (
            dict(zip(columns, [id_, self.class_names[label], fold, *(f"{p:.5f}" for p in row)], strict=True))
            for id_, label, fold, row in each
        )
        write_text(folder / "folds.csv", csv_text(columns, rows))
        write_json(folder / "cross_validation.json", self.to_dict())
        return folder


def cross_validate(
    job: Job | Mapping[str, Job],
    cells: Cells,
    *,
    folds: Annotated[int, Interval(ge=2, lt=HUGE)] = 5,
    seed: Seed = 0,
    out: str | Path | None = None,
    n_jobs: Jobs | None = None,
    show: bool | None = None,
) -> CrossValidation:
    """Hold out each fold of a set once, train on the rest, and score the held-out images.

    Duplicates are removed before the folds are made, so that no copy of an image is on both sides; patients, slides and
    clusters are in one fold each, and classes are stratified. For each fold the rest is split once more, as the job
    says, and every choice (of the epoch, of outliers' limits, between several jobs) is made there: held-out images only
    report.

    Args:
        job: A pipeline or a trainer; or several by name, of which each fold takes the one with the best macro F1 on
            its own validation part (nested selection).
        cells: With labels.
        folds: How many, 2 or more.
        seed: Assigns the images to the folds.
        out: Folder for the run of each fold, ``folds.csv`` and ``cross_validation.json``; the same call resumes after
            a stop.
        n_jobs: Folds at a time, each in a process of its own (joblib); None trains one after the other here, or as
            ``joblib.parallel_config`` is set, such as to ``backend="dask"``.
        show: True shows each step, False hides it; None shows it on a terminal and in a notebook.

    Raises:
        DataError: No labels, or a fold without a class that it needs.
        OptionError: Fewer than two folds, or jobs that cannot be used; all are checked before the first is trained.
    """
    cells = as_cells(cells)
    import joblib

    check_arguments(cross_validate, folds=folds, seed=seed, out=out, n_jobs=n_jobs)
    folds, seed, n_jobs = plain((folds, seed, n_jobs))
    jobs = {name: _pipeline(one) for name, one in (job if isinstance(job, Mapping) else {"job": job}).items()}
    if not jobs:
        raise OptionError("there is no job to cross-validate; expected a Pipeline or a Trainer")
    if cells.labels is None:
        raise DataError("the images have no labels, so there is nothing to score; expected a class for each")
    folder = None if out is None else Path(out)
    if folder is not None:
        check_writable(folder / "folds.csv")
    with showing(show) as shown:
        dedup = next(iter(jobs.values())).dedup
        if dedup is not None:
            duplicates = dedup.find(cells)
            cells = duplicates.apply(cells)
            logger.info(f"duplicates: {duplicates.summary()}")
        fold_parts = Split(seed=seed).folds(cells, folds)
        inner = {name: _without_dedup(one) for name, one in jobs.items()}
        for one in inner.values():
            for parts in fold_parts:
                one.check(parts.train)
            one.check_weights()
        found = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(_fold)(inner, parts.train, parts.val, number, folds, folder, shown)
            for number, parts in enumerate(fold_parts, 1)
        )
    row_of = {id_: row for row, id_ in enumerate(cells.ids.tolist())}
    fold_of = np.zeros(len(cells), np.int64)
    probabilities = np.zeros((len(cells), cells.num_classes), np.float32)
    reports = []
    for number, (parts, (_, held_out)) in enumerate(zip(fold_parts, found, strict=True), 1):
        rows = [row_of[id_] for id_ in parts.val.ids.tolist()]
        fold_of[rows], probabilities[rows] = number, held_out
        assert parts.val.labels is not None
        reports.append(evaluate(parts.val.labels, held_out, cells.class_names, groups=parts.val.groups))
    result = CrossValidation(
        ids=cells.ids,
        labels=cells.labels,
        class_names=cells.class_names,
        folds=fold_of,
        probabilities=probabilities,
        reports=tuple(reports),
        chosen=tuple(name for name, _ in found),
        groups=cells.groups,
    )
    if folder is not None:
        result.write(folder)
    return result


def _pipeline(job: Job) -> Pipeline:
    check_value(job, Annotated[Pipeline | Trainer, Called("a Pipeline or a Trainer")], "cross_validate job")
    return job if isinstance(job, Pipeline) else Pipeline(trainer=job, split=Split(seed=job.seed))


def _without_dedup(pipe: Pipeline) -> Pipeline:
    split = copy.copy(pipe.split)
    split.test = 0.0  # the fold is the test
    return dataclasses.replace(pipe, dedup=None, split=split)


def _fold(
    jobs: Mapping[str, Pipeline],
    rest: ImageSet,
    held_out: ImageSet,
    number: int,
    folds: int,
    folder: Path | None,
    show: bool,
) -> tuple[str, NDArray[np.float32]]:
    """Train every job on the rest, and predict the held-out images with the best one."""
    best: tuple[float, str, NDArray[np.float32]] | None = None
    with showing(show):  # here too: it may be a process of its own
        for name, pipe in jobs.items():
            logger.info(f"fold {number} of {folds}{f', {name}' if len(jobs) > 1 else ''}")
            out = None if folder is None else folder / f"fold-{number}"
            if out is not None and len(jobs) > 1:
                out = out / name
            prepared = pipe.prepare(rest, show=show)
            run = pipe.trainer.fit(prepared.train, prepared.val, out=out, show=show)
            score = Candidate(name=name, history=run.history).kept("val_macro_f1") or 0.0
            if best is None or score > best[0]:
                best = score, name, run.predict_proba(held_out, show=None if show else False)
            del run, prepared
            gc.collect()  # Keras models are reference cycles; several at once would fill the memory
    assert best is not None
    return best[1], best[2]
