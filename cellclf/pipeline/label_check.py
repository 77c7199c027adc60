"""Doubtful labels of a set: cross-validated predictions by a recipe, and what they contradict."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.selection import Selection
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError
from cellclf.evaluation.label_noise import LabelProblems, find_label_problems
from cellclf.pipeline.crossval import CrossValidation, cross_validate
from cellclf.pipeline.pipeline import Pipeline
from cellclf.utils.atomic import replacing


@dataclass(frozen=True, eq=False)
class LabelCheck(Selection):
    """Which labels are confidently contradicted; made by ``check_labels``.

    ``apply`` leaves the doubtful images out; whether their labels are wrong, somebody should look first.

    Args:
        ids: (N,) the images that were predicted.
        keep: (N,) bool, False for a doubtful label.
        reasons: (N,) str, "" for what stays.
        problems: Ranking and thresholds; places are places in ``ids``.
        probabilities: (N, C) of the classifier that had not seen the image.
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
        """Give plain data that JSON can hold: the doubtful images by id, the most doubtful first."""
        found = self.problems.to_dict()
        for problem in found["problems"]:
            problem["id"] = str(self.ids[problem.pop("place")])
        return found

    def plot(self, limit: int = 40) -> Any:
        """Show the most doubtful labels.

        Raises:
            DataError: The result does not know its images.
        """
        if self.cells is None:
            raise DataError("this result does not know its images; call check_labels again to look at them")
        return self.problems.plot(self.cells, limit=limit)

    def save_table(self, path: str | Path) -> Path:
        """Write every image as CSV, the most doubtful label first: rank, id, label, suggested, probability, ..."""
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
    n_jobs: int | None = None,
    show: bool | None = None,
) -> LabelCheck:
    """Predict every image by a classifier that has not seen it, and find labels that are confidently contradicted.

    Duplicates go first, if the recipe says so: the copy of an image would tell its label. (Copies with different
    labels are label problems, too: ``Dedup`` names them as conflicts.) Patients, slides and duplicates stay in one
    fold. The outlier filter of the recipe stays out of it.

    Args:
        cells: With labels.
        recipe: Trains the classifiers: a name, a path, or the data.
        folds: How many classifiers; each predicts the share that it was not trained on.
        out: Folder for a run of each fold, ``labels.csv``, ``labels.json`` and the gallery ``labels.html``; the same
            call goes on after a stop.
        seed: Deals the images to the folds.
        n_jobs: Folds at a time, see ``cross_validate``.
        show: True tells on stderr what happens, None only on a terminal.

    Raises:
        DataError: No labels, or a fold without a class that it needs.
        OptionError: Fewer than two folds.

    Source:
        Northcutt, Jiang, Chuang 2021, Confident learning, arXiv 1911.00068.
    """
    pipe = dataclasses.replace(Pipeline.from_recipe(recipe), outliers=None)
    judged = cross_validate(pipe, cells, folds=folds, seed=seed, out=out, n_jobs=n_jobs, show=show)
    found = _checked(cells.subset(np.isin(cells.ids, judged.ids)), judged)
    if out is not None:
        _write(found, Path(out))
    return found


def _checked(cells: ImageSet, judged: CrossValidation) -> LabelCheck:
    problems = find_label_problems(judged.labels, judged.probabilities, judged.class_names)
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
        probabilities=judged.probabilities,
        folds=judged.folds,
        cells=cells,
    )


def _write(found: LabelCheck, folder: Path) -> None:
    from cellclf.reporting.gallery import write_gallery

    found.save_table(folder / "labels.csv")
    with replacing(folder / "labels.json") as new:
        new.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
    write_gallery(found, folder / "labels.html", title=f"{found.removed:,} doubtful labels of {len(found):,}")
