"""Label check: labels of a set that cross-validated predictions contradict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.cleaning.selection import Selection
from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError
from cellclf.evaluation.label_noise import LabelProblems, find_label_problems
from cellclf.pipeline.crossval import CrossValidation, cross_validate
from cellclf.pipeline.pipeline import Pipeline
from cellclf.utils.annotations import HUGE
from cellclf.utils.atomic import write_json, write_text
from cellclf.utils.csv_tables import csv_text
from cellclf.utils.parameters import Jobs, Seed, check_arguments


@dataclass(frozen=True, eq=False, repr=False)
class LabelCheck(Selection):
    """The labels that predictions contradict with high probability; made by ``check_labels``.

    ``apply`` removes the doubtful images; look at them first, since not every doubtful label is wrong.

    Args:
        ids: (N,) the images that were predicted.
        keep: (N,) bool, False for a doubtful label.
        reasons: (N,) str, "" for kept images.
        problems: Ranking and thresholds; its places are positions in ``ids``.
        probabilities: (N, C) of the classifier that was not trained on the image.
        folds: (N,) the number of that classifier, from 1.
    """

    problems: LabelProblems
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int64]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,) how much the predictions contradict the label, in nats."""
        return self.problems.score

    def summary(self) -> str:
        """Give some lines: how many labels are contradicted, and between which classes."""
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
            DataError: The result does not hold its images.
        """
        if self.cells is None:
            raise DataError("this result does not hold its images; call check_labels again to plot them")
        return self.problems.plot(self.cells, limit=limit)

    def save_table(self, path: str | Path) -> Path:
        """Write every image as CSV, the most doubtful label first: rank, id, label, suggested, probability, ..."""
        found = self.problems
        rows = [
            {
                "rank": rank,
                "id": self.ids[k],
                "label": found.class_names[found.labels[k]],
                "suggested": found.class_names[found.suggested[k]],
                "probability": f"{found.confidence[k]:.5f}",
                "score": f"{found.score[k]:.4f}",
                "doubtful": bool(found.flagged[k]),
                "fold": self.folds[k],
            }
            for rank, k in enumerate(found.order.tolist(), 1)
        ]
        columns = ["rank", "id", "label", "suggested", "probability", "score", "doubtful", "fold"]
        return write_text(Path(path), csv_text(columns, rows))


def check_labels(
    cells: Cells,
    *,
    recipe: str | Path | Mapping[str, Any] = "fast",
    folds: Annotated[int, Interval(ge=2, lt=HUGE)] = 3,
    out: str | Path | None = None,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    show: bool | None = None,
) -> LabelCheck:
    """Predict every image by a classifier that was not trained on it, and find labels that this contradicts.

    Duplicates are removed first, if the recipe does so: a copy in the training set would give the label away. (Copies
    with different labels are label problems, too: ``Dedup`` reports them as conflicts.) Patients, slides and clusters
    are in one fold each. The outlier filter of the recipe is not used.

    Args:
        cells: With labels.
        recipe: Trains the classifiers: a name, a path, or the data.
        folds: How many classifiers; each predicts the fold that it was not trained on.
        out: Folder for a run of each fold, ``labels.csv``, ``labels.json`` and the gallery ``labels.html``; the same
            call resumes after a stop.
        seed: Assigns the images to the folds.
        n_jobs: Folds at a time, see ``cross_validate``.
        show: True shows each step, False hides it; None shows it on a terminal and in a notebook.

    Raises:
        DataError: No labels, or a fold without a class that it needs.
        OptionError: Fewer than two folds.

    Source:
        Northcutt, Jiang, Chuang 2021, Confident learning, arXiv 1911.00068.
    """
    check_arguments(check_labels, recipe=recipe, folds=folds, out=out, seed=seed, n_jobs=n_jobs)
    cells = as_cells(cells)
    pipe = dataclasses.replace(Pipeline.from_recipe(recipe), outliers=None)
    validated = cross_validate(pipe, cells, folds=folds, seed=seed, out=out, n_jobs=n_jobs, show=show)
    found = _label_check(cells.subset(np.isin(cells.ids, validated.ids)), validated)
    if out is not None:
        _write(found, Path(out))
    return found


def _label_check(cells: ImageSet, validated: CrossValidation) -> LabelCheck:
    problems = find_label_problems(validated.labels, validated.probabilities, validated.class_names)
    names = cells.class_names
    reasons = [
        f"labelled {names[label]}, looks like {names[other]}: {100 * probability:.1f} %" if flagged else ""
        for label, other, probability, flagged in zip(
            problems.labels, problems.suggested, problems.confidence, problems.flagged, strict=True
        )
    ]
    return LabelCheck(
        ids=cells.ids,
        keep=~problems.flagged,
        reasons=np.asarray(reasons, np.str_),
        problems=problems,
        probabilities=validated.probabilities,
        folds=validated.folds,
        cells=cells,
    )


def _write(found: LabelCheck, folder: Path) -> None:
    from cellclf.reporting.gallery import write_gallery

    found.save_table(folder / "labels.csv")
    write_json(folder / "labels.json", found.to_dict())
    write_gallery(found, folder / "labels.html", title=f"{found.removed:,} doubtful labels of {len(found):,}")
