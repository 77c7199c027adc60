"""Doubtful labels of a set: cross-validated predictions by a recipe, and what they contradict."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.selection import Selection
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split, components
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.label_problems import LabelProblems, find_label_problems
from cellclf.files import replacing
from cellclf.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class LabelCheck(Selection):
    """Which labels are confidently contradicted; made by ``check_labels``.

    ``apply`` leaves the doubtful pictures out; whether their labels are wrong, somebody should look first.

    Args:
        ids: (N,) the pictures that were predicted.
        keep: (N,) bool, False for a doubtful label.
        reasons: (N,) str, "" for what stays.
        problems: Ranking and thresholds; places are places in ``ids``.
        probabilities: (N, C) of the classifier that had not seen the picture.
        folds: (N,) which classifier that was, from 1.
    """

    problems: LabelProblems
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int64]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,) how much the label is contradicted, in nats."""
        return self.problems.score

    def summary(self) -> str:
        """Say in some lines how many labels are contradicted, and between which classes."""
        return self.problems.summary()

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: the doubtful pictures by id, the most doubtful first."""
        found = self.problems.to_dict()
        for problem in found["problems"]:
            problem["id"] = str(self.ids[problem.pop("place")])
        return found

    def plot(self, limit: int = 40) -> Any:
        """Show the most doubtful labels.

        Raises:
            DataError: The result does not know its pictures.
        """
        if self.cells is None:
            raise DataError("this result does not know its pictures; call check_labels again to look at them")
        return self.problems.plot(self.cells, limit=limit)

    def save_table(self, path: str | Path) -> Path:
        """Write every picture as CSV, the most doubtful label first: rank, id, label, suggested, probability, ..."""
        path, found = Path(path), self.problems
        with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["rank", "id", "label", "suggested", "probability", "score", "doubtful", "fold"])
            for rank, k in enumerate(found.order.tolist(), 1):
                names = found.class_names[found.labels[k]], found.class_names[found.suggested[k]]
                numbers = f"{found.confidence[k]:.5f}", f"{found.score[k]:.4f}", bool(found.flagged[k])
                writer.writerow([rank, self.ids[k], *names, *numbers, self.folds[k]])
        return path


def check_labels(
    cells: ImageSet,
    *,
    recipe: str | Path | Mapping[str, Any] = "fast",
    folds: int = 3,
    out: str | Path | None = None,
    seed: int = 0,
    show: bool | None = None,
) -> LabelCheck:
    """Predict every picture by a classifier that has not seen it, and find labels that are confidently contradicted.

    Duplicates go first, if the recipe says so: the copy of a picture would tell its label. (Copies with different
    labels are label problems, too: ``Dedup`` names them as conflicts.) Patients, slides and duplicates stay in one
    fold. The outlier filter of the recipe stays out of it.

    Args:
        cells: With labels.
        recipe: Trains the classifiers: a name, a path, or the data.
        folds: How many classifiers; each predicts the share that it was not trained on.
        out: Folder for a run of each fold, ``labels.csv``, ``labels.json`` and the gallery ``labels.html``; the same
            call goes on after a stop.
        seed: Deals the pictures to the folds.
        show: True tells on stderr what happens, None only on a terminal.

    Raises:
        DataError: No labels, or a class with fewer pictures than folds.
        OptionError: Fewer than two folds.

    Source:
        Northcutt, Jiang, Chuang 2021, Confident learning, arXiv 1911.00068.
    """
    shown = sys.stderr.isatty() if show is None else show
    pipe = Pipeline.from_recipe(recipe)
    folder = None if out is None else Path(out)
    if pipe.dedup is not None and cells.labels is not None:
        copies = pipe.dedup.find(cells)
        cells = copies.apply(cells)
        if shown:
            print(f"duplicates: {copies.summary()}", file=sys.stderr, flush=True)
    fold_of = deal(cells, folds, seed)
    job = dataclasses.replace(pipe, dedup=None, outliers=None, split=Split(val=pipe.split.val, seed=pipe.split.seed))
    probabilities = np.zeros((len(cells), cells.num_classes), np.float32)
    for number in range(1, folds + 1):
        if shown:
            print(f"fold {number} of {folds}", file=sys.stderr, flush=True)
        prepared = job.prepare(cells.subset(fold_of != number))
        held = np.flatnonzero(fold_of == number)
        run = job.trainer.fit(
            prepared.train, prepared.val, out=None if folder is None else folder / f"fold-{number}", show=shown
        )
        probabilities[held] = run.predict_proba(cells.subset(held), show=shown and sys.stderr.isatty())
    found = _checked(cells, probabilities, fold_of)
    if folder is not None:
        _write(found, folder)
    return found


def deal(cells: ImageSet, folds: int, seed: int) -> NDArray[np.int64]:
    """Deal pictures to folds, stratified by class; what belongs together stays together.

    Args:
        cells: With labels.
        folds: 2 or more.
        seed: Of the dealing.

    Returns:
        (N,) numbers from 1.

    Raises:
        DataError: No labels, or a class with fewer pictures than folds.
        OptionError: Fewer than two folds.

    Examples:
        >>> cells = ImageSet(np.zeros((6, 8, 8, 3), np.uint8), [0, 0, 0, 1, 1, 1])
        >>> sorted(deal(cells, 3, 0).tolist())
        [1, 1, 2, 2, 3, 3]
    """
    if folds < 2:
        raise OptionError(f"folds={folds}; wanted 2 or more: every picture needs a classifier that has not seen it")
    if cells.labels is None:
        raise DataError("the pictures have no labels, so there are none to check")
    for name, count in cells.counts().items():
        if 0 < count < folds:
            raise DataError(f"there are {count} pictures of {name} and {folds} folds; wanted as many pictures at least")
    from sklearn.model_selection import StratifiedGroupKFold

    number = np.zeros(len(cells), np.int64)
    cutter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for k, (_, held) in enumerate(cutter.split(number, cells.labels, components(cells)), 1):
        number[held] = k
    return number


def _checked(cells: ImageSet, probabilities: NDArray[np.float32], folds: NDArray[np.int64]) -> LabelCheck:
    assert cells.labels is not None
    problems = find_label_problems(cells.labels, probabilities, cells.class_names)
    names = cells.class_names
    reasons = [
        f"labelled {names[label]}, looks like {names[other]}: {100 * sure:.1f} %" if flagged else ""
        for label, other, sure, flagged in zip(
            problems.labels, problems.suggested, problems.confidence, problems.flagged, strict=True
        )
    ]
    return LabelCheck(
        ids=cells.ids,
        keep=~problems.flagged,
        reasons=np.asarray(reasons, np.str_),
        problems=problems,
        probabilities=probabilities,
        folds=folds,
        cells=cells,
    )


def _write(found: LabelCheck, folder: Path) -> None:
    from cellclf.reporting.gallery import write_gallery

    found.save_table(folder / "labels.csv")
    with replacing(folder / "labels.json") as new:
        new.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
    write_gallery(found, folder / "labels.html", title=f"{found.dropped:,} doubtful labels of {len(found):,}")
