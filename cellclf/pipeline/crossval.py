"""Cross-validation, by patient or by domain: each image is predicted once by a classifier not trained on it."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.inspect import class_gaps
from cellclf.data.split import Parts, Split, components
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.scores import scores_in
from cellclf.pipeline.pipeline import Pipeline
from cellclf.reporting.compare import Candidate
from cellclf.training.trainer import Trainer
from cellclf.utils.annotations import HUGE, Called
from cellclf.utils.atomic import check_writable, expanded, write_json, write_text
from cellclf.utils.csv_tables import csv_text
from cellclf.utils.log import logger, showing
from cellclf.utils.parameters import Jobs, Seed, check_arguments, check_value, plain
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns as lined_up

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
        domains: (N,) laboratory, hospital or scanner of each image; None if they are not known.
        held_out: The domain that each fold held out; empty where folds are not domains.
        scored: (N,) bool, False for images of a class that no other domain has, so that no classifier of its fold knew
            it; None if all are scored.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    reports: tuple[Report, ...]
    chosen: tuple[str, ...]
    groups: NDArray[np.str_] | None = None
    domains: NDArray[np.str_] | None = None
    held_out: tuple[str, ...] = ()
    scored: NDArray[np.bool_] | None = None

    def pooled(self) -> Report:
        """Score all images together, each by the classifier that was not trained on it."""
        which = slice(None) if self.scored is None else self.scored
        return evaluate(
            self.labels[which],
            self.probabilities[which],
            self.class_names,
            groups=None if self.groups is None else self.groups[which],
            domains=None if self.domains is None else self.domains[which],
        )

    def mean(self, score: str = "macro_f1") -> tuple[float, float]:
        """Give a score's mean and standard deviation over the folds; this is no confidence interval."""
        values = [float(getattr(report, score)) for report in self.reports]
        return float(np.mean(values)), float(np.std(values, ddof=1))

    def __str__(self) -> str:
        several = len(set(self.chosen)) > 1
        means = ", ".join(f"{name} {mean:.4f} (SD {spread:.4f})" for name, (mean, spread) in self._means().items())
        if self.held_out:
            lines = [*lined_up(self._domain_rows(several), right=(1,)), f"over {len(self.reports)} domains: {means}"]
            return "\n".join([*lines, *self._not_scored()])
        lines = [f"fold  images  macro F1  accuracy{'  chosen' if several else ''}"]
        for number, (report, name) in enumerate(zip(self.reports, self.chosen, strict=True), 1):
            scores = f"{float(report.macro_f1):>8.4f}  {float(report.accuracy):>8.4f}"
            lines.append(f"{number:>4}  {report.n:>8,}  {scores}{f'  {name}' if several else ''}")
        return "\n".join([*lines, f"over {len(self.reports)} folds: {means}"])

    def _domain_rows(self, several: bool) -> list[tuple[str, ...]]:
        """Give a row for each domain that was held out, with intervals; the worst balanced accuracy first."""
        scores = scores_in("difference")
        head = ("held out", "images", *(score.label for score in scores), "classes", *(["chosen"] * several))
        order = sorted(range(len(self.reports)), key=lambda k: self.reports[k].balanced_accuracy)
        rows = [
            (
                self.held_out[k],
                f"{report.n:,}",
                *(score.text(report.scores[score.name]) for score in scores),
                f"{len(report.class_names) - len(report.left_out)} of {len(report.class_names)}",
                *([self.chosen[k]] * several),
            )
            for k, report in ((k, self.reports[k]) for k in order)
        ]
        return [head, *rows]

    def _not_scored(self) -> list[str]:
        if self.scored is None or self.domains is None or self.scored.all():
            return []
        found: dict[str, int] = {}
        for row in np.flatnonzero(~self.scored).tolist():
            name = f"{self.class_names[self.labels[row]]!r} in {self.domains[row]}"
            found[name] = found.get(name, 0) + 1
        named = ", ".join(f"{name} ({n:,})" for name, n in found.items())
        return [f"not scored, since no other domain has the class: {named}"]

    def _means(self) -> dict[str, tuple[float, float]]:
        return {"macro F1": self.mean(), "accuracy": self.mean("accuracy")}

    def to_dict(self) -> dict[str, Any]:
        """Give the scores as plain data that JSON can hold."""
        return {
            "folds": [report.to_dict() for report in self.reports],
            "held_out": list(self.held_out),
            "not_scored": 0 if self.scored is None else int(np.count_nonzero(~self.scored)),
            "chosen": list(self.chosen),
            "means": {name: {"mean": mean, "sd": spread} for name, (mean, spread) in self._means().items()},
            "pooled": self.pooled().to_dict(),
        }

    def write(self, folder: str | Path) -> Path:
        """Write ``folds.csv`` (id, class, fold, domain, probabilities of each image) and ``cross_validation.json``."""
        folder = Path(folder)
        known = [] if self.domains is None else [self.domains]
        first = ("id", "class", "fold", *(["domain"] * len(known)))
        columns = [*first, *(f"p_{name}" if name in first else name for name in self.class_names)]
        names = np.asarray(self.class_names)[self.labels]
        each = zip(self.ids, names, self.folds, *known, self.probabilities, strict=True)
        rows = (dict(zip(columns, [*start, *(f"{p:.5f}" for p in row)], strict=True)) for *start, row in each)
        write_text(folder / "folds.csv", csv_text(columns, rows))
        write_json(folder / "cross_validation.json", self.to_dict())
        return folder


def cross_validate(
    job: Job | Mapping[str, Job],
    cells: Cells,
    *,
    folds: Annotated[int, Interval(ge=2, lt=HUGE)] = 5,
    by: Literal["domain"] | None = None,
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

    With ``by="domain"`` each laboratory, hospital or scanner is a fold: how good is the classifier in one that it has
    not seen? Images of its patients and their duplicates are not trained on, wherever they are. Images of a class that
    no other domain has are not scored.

    Args:
        job: A pipeline or a trainer; or several by name, of which each fold takes the one with the best macro F1 on
            its own validation part (nested selection).
        cells: With labels.
        folds: How many, 2 or more; of domains there are as many folds as there are domains.
        by: ``"domain"`` holds out one domain at a time; None makes folds of the images.
        seed: Assigns the images to the folds.
        out: Folder for the run of each fold, ``folds.csv`` and ``cross_validation.json``; the same call resumes after
            a stop.
        n_jobs: Folds at a time, each in a process of its own (joblib); None trains one after the other here, or as
            ``joblib.parallel_config`` is set, such as to ``backend="dask"``.
        show: True shows each step, False hides it; None shows it on a terminal and in a notebook.

    Raises:
        DataError: No labels, a fold without a class that it needs, or fewer than two domains.
        OptionError: Fewer than two folds, or jobs that cannot be used; all are checked before the first is trained.
    """
    cells = as_cells(cells)
    import joblib

    check_arguments(cross_validate, folds=folds, by=by, seed=seed, out=out, n_jobs=n_jobs)
    folds, seed, n_jobs = plain((folds, seed, n_jobs))
    jobs = {name: _pipeline(one) for name, one in (job if isinstance(job, Mapping) else {"job": job}).items()}
    if not jobs:
        raise OptionError("there is no job to cross-validate; expected a Pipeline or a Trainer")
    if cells.labels is None:
        raise DataError("the images have no labels, so there is nothing to score; expected a class for each")
    for one in jobs.values():
        if (parent := one.trainer.parent()) is not None:
            if len(jobs) > 1:
                raise OptionError(f"a job continues a run (start={parent}); expected it alone: its classes come first")
            (cells,) = parent.fitted(cells)
    folder = None if out is None else expanded(out)
    if folder is not None:
        check_writable(folder / "folds.csv")
    with showing(show) as shown:
        for line in class_gaps(cells):
            logger.info(line)
        dedup = next(iter(jobs.values())).dedup
        if dedup is not None:
            duplicates = dedup.find(cells)
            cells = duplicates.apply(cells)
            logger.info(f"duplicates: {duplicates.summary()}")
        held_out = () if by is None else _domains(cells)
        fold_parts = _domain_folds(cells, held_out) if held_out else Split(seed=seed).folds(cells, folds)
        inner = {name: _without_dedup(one) for name, one in jobs.items()}
        for one in inner.values():
            for parts in fold_parts:
                one.check(parts.train)
            one.check_weights()
        found = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(_fold)(inner, parts.train, parts.val, number, len(fold_parts), folder, shown)
            for number, parts in enumerate(fold_parts, 1)
        )
    row_of = {id_: row for row, id_ in enumerate(cells.ids.tolist())}
    fold_of = np.zeros(len(cells), np.int64)
    probabilities = np.zeros((len(cells), cells.num_classes), np.float32)
    scored = np.ones(len(cells), bool)
    reports = []
    for number, (parts, (_, predicted)) in enumerate(zip(fold_parts, found, strict=True), 1):
        rows = np.asarray([row_of[id_] for id_ in parts.val.ids.tolist()])
        columns = [cells.class_names.index(name) for name in parts.train.class_names]
        fold_of[rows] = number
        probabilities[np.ix_(rows, columns)] = predicted
        scored[rows] = np.isin(cells.labels[rows], columns)
        rows = rows[scored[rows]]
        groups = None if cells.groups is None else cells.groups[rows]
        truth, called = cells.labels[rows], probabilities[rows]
        # small classes count in every fold or in none, and all of a fold are few: `pooled` leaves out what is rare
        reports.append(evaluate(truth, called, cells.class_names, min_count=1, groups=groups))
    result = CrossValidation(
        ids=cells.ids,
        labels=cells.labels,
        class_names=cells.class_names,
        folds=fold_of,
        probabilities=probabilities,
        reports=tuple(reports),
        chosen=tuple(name for name, _ in found),
        groups=cells.groups,
        domains=cells.domains,
        held_out=held_out,
        scored=None if scored.all() else scored,
    )
    if folder is not None:
        result.write(folder)
    return result


def _domains(cells: ImageSet) -> tuple[str, ...]:
    if cells.domains is None:
        raise DataError(
            "the images have no domains; expected several sources (ImageSet.concat(..., names=...), on the command "
            "line several SRC), or a column that says the domain: hospital, scanner, ..."
        )
    found = tuple(dict.fromkeys(cells.domains.tolist()))
    if len(found) < 2:
        raise DataError(f"all images are of one domain, {found[0]!r}; expected two or more, to hold out one of them")
    return found


def _domain_folds(cells: ImageSet, domains: tuple[str, ...]) -> list[Parts]:
    """Hold out one domain after the other; ``train`` has no image of its patients, and only classes that it knows."""
    assert cells.domains is not None and cells.labels is not None
    component, none, found = components(cells), cells.subset([]), []
    for domain in domains:
        held = cells.domains == domain
        tied = ~held & np.isin(component, component[held])
        if tied.any():
            logger.info(f"{domain}: {int(tied.sum()):,} images of other domains are tied to it and not trained on")
        train = cells.subset(~held & ~tied)
        names = [name for name, count in train.counts().items() if count]
        unknown = [name for name, count in cells.subset(held).counts().items() if count and name not in names]
        if len(unknown) == sum(count > 0 for count in cells.subset(held).counts().values()):
            raise DataError(
                f"no class of {domain!r} is in another domain ({', '.join(unknown)}); nothing can be scored"
            )
        found.append(Parts(train.align(names), cells.subset(held), none))
    return found


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
