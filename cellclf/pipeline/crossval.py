"""Cross-validation by class, group and cluster: each image judged once by a classifier that has not seen it."""

from __future__ import annotations

import copy
import csv
import dataclasses
import gc
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.pipeline.pipeline import Pipeline
from cellclf.reporting.compare import Candidate
from cellclf.training.trainer import Trainer
from cellclf.utils.atomic import replacing

Job = Pipeline | Trainer


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossValidation:
    """What ``cross_validate`` found.

    Args:
        ids: (N,) the images.
        labels: (N,) their classes.
        class_names: K names.
        folds: (N,) in which fold each image was held out, from 1.
        probabilities: (N, K) by the classifier of that fold.
        reports: Scores of each fold on what it held out.
        chosen: Which job was chosen in each fold.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    reports: tuple[Report, ...]
    chosen: tuple[str, ...]

    def pooled(self) -> Report:
        """Score all images together, each by the classifier that had not seen it."""
        return evaluate(self.labels, self.probabilities, self.class_names)

    def mean(self, score: str = "macro_f1") -> tuple[float, float]:
        """Give a score's mean and standard deviation over the folds; both name no interval for a single fold."""
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
        with replacing(folder / "folds.csv") as new, new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "class", "fold", *self.class_names])
            for id_, label, fold, row in zip(self.ids, self.labels, self.folds, self.probabilities, strict=True):
                writer.writerow([id_, self.class_names[label], fold, *(f"{p:.5f}" for p in row)])
        with replacing(folder / "cross_validation.json") as new:
            new.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return folder


def cross_validate(
    job: Job | Mapping[str, Job],
    cells: ImageSet,
    *,
    folds: int = 5,
    seed: int = 0,
    out: str | Path | None = None,
    n_jobs: int | None = None,
    show: bool | None = None,
) -> CrossValidation:
    """Hold out each share of a set once, train on the rest, and score what was held out.

    Duplicates go before the folds are dealt, so that no copy of an image is on both sides; patients, slides and
    clusters stay in one fold, classes keep their shares. Within a fold the rest is split once more, as the job says,
    and every choice (of the epoch, of outliers' limits, between several jobs) is made there: what is held out only
    reports.

    Args:
        job: A pipeline or a trainer; or several by name, of which each fold takes the one with the best macro F1 on
            its own validation part (nested selection).
        cells: With labels.
        folds: How many, 2 or more.
        seed: Deals the images to the folds.
        out: Folder for the run of each fold, ``folds.csv`` and ``cross_validation.json``; the same call goes on after
            a stop.
        n_jobs: Folds at a time, each in a process of its own (joblib); None means one after the other here, or what
            ``joblib.parallel_config`` says, such as ``backend="dask"``.
        show: True tells on stderr what happens, None only on a terminal.

    Raises:
        DataError: No labels, or a fold without a class that it needs.
        OptionError: Fewer than two folds, or jobs that cannot be used; all are checked before the first is trained.
    """
    import joblib

    shown = sys.stderr.isatty() if show is None else show
    jobs = {name: _pipeline(one) for name, one in (job if isinstance(job, Mapping) else {"job": job}).items()}
    if not jobs:
        raise OptionError("there is no job to cross-validate; expected a Pipeline or a Trainer")
    if cells.labels is None:
        raise DataError("the images have no labels, so there is nothing to score; expected a class for each")
    cleaner = next(iter(jobs.values())).dedup
    if cleaner is not None:
        copies = cleaner.find(cells)
        cells = copies.apply(cells)
        if shown:
            print(f"duplicates: {copies.summary()}", file=sys.stderr, flush=True)
    dealt = Split(seed=seed).folds(cells, folds)
    inner = {name: _without_dedup(one) for name, one in jobs.items()}
    for parts in dealt:
        for one in inner.values():
            one.check(parts.train)
    folder = None if out is None else Path(out)
    found = joblib.Parallel(n_jobs=n_jobs)(
        joblib.delayed(_fold)(inner, parts.train, parts.val, number, folds, folder, shown)
        for number, parts in enumerate(dealt, 1)
    )
    place = {id_: k for k, id_ in enumerate(cells.ids.tolist())}
    fold_of = np.zeros(len(cells), np.int64)
    probabilities = np.zeros((len(cells), cells.num_classes), np.float32)
    reports = []
    for number, (parts, (_, chances)) in enumerate(zip(dealt, found, strict=True), 1):
        rows = [place[id_] for id_ in parts.val.ids.tolist()]
        fold_of[rows], probabilities[rows] = number, chances
        assert parts.val.labels is not None
        reports.append(evaluate(parts.val.labels, chances, cells.class_names))
    result = CrossValidation(
        ids=cells.ids,
        labels=cells.labels,  # type: ignore[arg-type]  # checked above; a subset of labelled images has labels
        class_names=cells.class_names,
        folds=fold_of,
        probabilities=probabilities,
        reports=tuple(reports),
        chosen=tuple(name for name, _ in found),
    )
    if folder is not None:
        result.write(folder)
    return result


def _pipeline(job: Job) -> Pipeline:
    return job if isinstance(job, Pipeline) else Pipeline(trainer=job, split=Split(seed=job.seed))


def _without_dedup(pipe: Pipeline) -> Pipeline:
    split = copy.copy(pipe.split)
    split.test = 0.0  # the fold is the test
    return dataclasses.replace(pipe, dedup=None, split=split)


def _fold(
    jobs: Mapping[str, Pipeline],
    rest: ImageSet,
    held: ImageSet,
    number: int,
    folds: int,
    folder: Path | None,
    show: bool,
) -> tuple[str, NDArray[np.float32]]:
    """Train every job on the rest, and let the best one predict what was held out."""
    best: tuple[float, str, NDArray[np.float32]] | None = None
    for name, pipe in jobs.items():
        if show:
            print(f"fold {number} of {folds}{f', {name}' if len(jobs) > 1 else ''}", file=sys.stderr, flush=True)
        out = None if folder is None else folder / f"fold-{number}"
        if out is not None and len(jobs) > 1:
            out = out / name
        prepared = pipe.prepare(rest, show=show)
        run = pipe.trainer.fit(prepared.train, prepared.val, out=out, show=show)
        score = Candidate(name=name, history=run.history).kept("val_macro_f1") or 0.0
        if best is None or score > best[0]:
            best = score, name, run.predict_proba(held)
        del run, prepared
        gc.collect()  # Keras models hold themselves in circles; several at once would fill the memory
    assert best is not None
    return best[1], best[2]
