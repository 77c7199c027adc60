"""Predictions of a run: class, probability, set of possible classes, and whether an image is out-of-distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import Skipped
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.groups import domain_names
from cellclf.evaluation.ood import DomainShift, OodDetector
from cellclf.evaluation.selective import Promise
from cellclf.runs.confidence import Confidence
from cellclf.runs.submission import ENDINGS, Submission, fill_template
from cellclf.utils.atomic import write_json
from cellclf.utils.csv_tables import csv_text, write_table
from cellclf.utils.results import Result

UNKNOWN, UNSURE = "unknown", "unsure"
"""Class in tables of an out-of-distribution image, and of one whose probability is below the threshold."""

_UNIT = 0.005  # this fraction of known cells has an ood_score above 1


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(Result):
    """Predictions of a run on a set of images; made by ``Run.report_predictions``.

    Args:
        ids: (N,) the images.
        class_names: (C,) names in label order.
        probabilities: (N, C); calibrated, if the run is.
        sets: (N, C) bool, the classes that may be the true one; None if the run is not calibrated.
        ood_score: (N,) how far an image is from known cells; 0.5 % of these are above 1. None if the run is not
            calibrated.
        out_of_distribution: (N,) bool, the images beyond the limit; None if the run is not calibrated.
        domain_shift: Whether the set as a whole differs from known cells; None if the run is not calibrated.
        error: The fraction of sets that may miss the true class.
        skipped: Inputs that could not be read, and why.
        threshold: Images whose class has a lower probability are "unsure" in the table and left to a person.
        promise: The accuracy that the threshold was chosen for; None if the threshold was given.
        views: Flips and turns that were averaged. The calibration is for one; with more there are no sets.
        domains: (N,) laboratory, hospital or scanner of each image; None if they are not known.
        runs: (N,) the run that classified each image, where several were combined; None if one did or all did.
        notes: Further lines of the summary: which runs were combined, and how.
        runtime: What computed the network, in words, where that was not Keras.
    """

    ids: NDArray[np.str_]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]]
    sets: NDArray[np.bool_] | None = None
    ood_score: NDArray[np.float64] | None = None
    out_of_distribution: NDArray[np.bool_] | None = None
    domain_shift: DomainShift | None = None
    error: float = 0.01
    skipped: tuple[Skipped, ...] = ()
    threshold: float = 0.0
    promise: Promise | None = None
    views: int = 1
    domains: NDArray[np.str_] | None = None
    runs: NDArray[np.str_] | None = None
    notes: tuple[str, ...] = ()
    runtime: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image, of out-of-distribution ones, too."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give one dict an image: id, class, probability; set, ood_score, domain if known; and p_CLASS for each class.

        Where several runs were combined so that each image has its own, the column ``run`` names it.

        An out-of-distribution image has the class "unknown", no probability and an empty set; the columns of the
        classes hold its probabilities all the same. Inputs that could not be read come last, with the reason in the
        column ``skipped``; their other columns, except the id, are empty.
        """
        for k, (id_, predicted) in enumerate(zip(self.ids.tolist(), self.predicted.tolist(), strict=True)):
            unknown = self._is_unknown(k)
            row: dict[str, Any] = {
                "id": id_,
                **({} if self.domains is None else {"domain": str(self.domains[k])}),
                "class": self.called(k),
                "probability": None if unknown else round(float(self.probabilities[k, predicted]), 5),
            }
            if self.sets is not None:
                order = np.argsort(-self.probabilities[k], kind="stable").tolist()
                row["set"] = [] if unknown else [self.class_names[c] for c in order if self.sets[k, c]]
            if self.ood_score is not None:
                row["ood_score"] = round(float(self.ood_score[k]), 4)
            if self.runs is not None:
                row["run"] = str(self.runs[k])
            each = zip(self.class_names, self.probabilities[k].tolist(), strict=True)
            yield row | {f"p_{name}": round(probability, 5) for name, probability in each} | {"skipped": None}
        for skipped in self.skipped:
            yield dict.fromkeys(self._columns()) | {"id": skipped.id, "skipped": skipped.reason}

    def to_csv(self) -> str:
        """Write the rows as CSV text; the classes of a set are separated by ``|``."""
        rows = ({k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in self.rows())
        return csv_text(list(self._columns()), rows)

    def save(self, path: str | Path, *, template: str | Path | None = None) -> Path:
        """Write the rows as CSV, JSON (a list of objects), JSON lines, Parquet or XLSX, by the ending of the name.

        Args:
            path: Ends in ``.csv``, ``.json``, ``.jsonl``, ``.parquet`` or ``.xlsx``.
            template: A CSV whose columns and rows are filled in, see ``fill``; None writes all columns.

        Raises:
            OptionError: Another ending.
            MissingPackageError: Parquet without pyarrow, XLSX without openpyxl.
            DataError: A template that cannot be filled.
        """
        path = Path(path)
        if template is not None:
            return self.fill(template).save(path)
        if path.suffix.lower() == ".json":
            return write_json(path, list(self.rows()))
        return write_table(path, self._columns(), self.rows(), what="predictions", endings=ENDINGS)

    def fill(self, template: str | Path) -> Submission:
        """Put the predictions into a template, such as the sample submission of a challenge.

        A column of ids is found by the usual names (id, image, file ...) or is the first one; beside it there is one of
        labels (label, class, prediction ...), or one of probabilities for each class, called as the class, with or
        without ``p_``. The rows are in the order of the template's ids: an id is that of the image, or the name of its
        file, with or without its ending. Out-of-distribution images get their most probable class.

        Args:
            template: A CSV; if it has a head only, all images are in it, in their order.

        Raises:
            DataError: An id without a prediction or with two, or a column that is none of these.
        """
        return fill_template(self, template)

    def summary(self) -> str:
        """Give some lines: images of each class, out-of-distribution and skipped ones, sets, domain shift."""
        more = {UNKNOWN: f"{UNKNOWN} (out-of-distribution)", UNSURE: f"{UNSURE} (below the threshold)"}
        named = Counter(more.get(name, name) for name in map(self.called, range(len(self))))
        width = max(map(len, named), default=0)
        inputs = len(self) + len(self.skipped)
        images = f"{len(self):,} {'image' if len(self) == 1 else 'images'}"
        lines = [images, *(f"  {name:<{width}}  {n:,}" for name, n in named.most_common())]
        for domain, rows in domain_names(self.domains, len(self)).items():
            unknown = sum(map(self._is_unknown, rows.tolist()))
            lines.append(f"domain {domain}: {len(rows):,} images" + (f", {unknown:,} {UNKNOWN}" if unknown else ""))
        notes = [*self.notes, *([f"computed by {self.runtime}"] if self.runtime else [])]
        if self.skipped:
            lines[0] = f"{inputs:,} inputs: {images}"
            lines.append(f"skipped (the table gives the reasons): {len(self.skipped):,}")
        if self.ood_score is None:
            return "\n".join([*lines, "the run is not calibrated: no sets, no out-of-distribution scores", *notes])
        if self.promise is not None:
            lines.append(str(self.promise))
        if self.threshold and len(self):
            share = sum(self.called(k) not in (UNKNOWN, UNSURE) for k in range(len(self))) / inputs
            what = "inputs" if self.skipped else "images"
            lines.append(f"classified here: {100 * share:.1f} % of the {what}; the others are left to a person")
        if self.views > 1:
            lines.append(
                f"probabilities are averaged over {self.views} views, and the calibration is for one: no sets, and no "
                "promise of accuracy; out-of-distribution scores are of the unchanged image"
            )
        elif len(self) and self.sets is not None:
            lines.append(
                f"sets that miss the true class of at most {100 * self.error:g} % of known cells hold "
                f"{self.sets.sum(1).mean():.2f} classes on average; "
                f"{100 * (self.sets.sum(1) == 1).mean():.1f} % of them hold one class"
            )
        if self.domain_shift is not None:
            lines.append(str(self.domain_shift))
        return "\n".join([*lines, *notes])

    def called(self, k: int) -> str:
        """Give the class of an image in the table: its most probable one, "unknown" or "unsure".

        Args:
            k: Position of the image.
        """
        if self._is_unknown(k):
            return UNKNOWN
        place = int(self.probabilities[k].argmax())
        return UNSURE if self.probabilities[k, place] < self.threshold else self.class_names[place]

    def _is_unknown(self, k: int) -> bool:
        return self.out_of_distribution is not None and bool(self.out_of_distribution[k])

    def _columns(self) -> dict[str, str]:
        """Give the columns and their types, as ``write_table`` takes them."""
        extra = ({} if self.sets is None else {"set": "texts"}) | (
            {} if self.ood_score is None else {"ood_score": "number"}
        )
        if self.runs is not None:
            extra["run"] = "text"
        each = dict.fromkeys((f"p_{name}" for name in self.class_names), "number")
        domain = {} if self.domains is None else {"domain": "text"}
        return {"id": "text", **domain, "class": "text", "probability": "number", **extra, **each, "skipped": "text"}

    def to_dict(self) -> dict[str, Any]:
        """Give the rows and what is known of the set as plain data."""
        return {
            "images": len(self),
            "rows": list(self.rows()),
            "domain_shift": None if self.domain_shift is None else self.domain_shift.to_dict(),
            "promise": None if self.promise is None else self.promise.to_dict(),
            "views": self.views,
            "notes": list(self.notes),
            "runtime": self.runtime or None,
        }


def ood_unit(known: OodDetector) -> float:
    """Give the distance whose ``ood_score`` is 1."""
    return max(known.limit(_UNIT), 1e-12)


def predictions(
    ids: NDArray[np.str_],
    class_names: tuple[str, ...],
    batches: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    known: Confidence,
    *,
    error: float,
    per_class: bool,
    refuse: float,
    skipped: tuple[Skipped, ...] = (),
    threshold: float = 0.0,
    promise: Promise | None = None,
    averaged: NDArray[Any] | None = None,
    views: int = 1,
    runtime: str = "",
) -> Predictions:
    """Make predictions from features and uncalibrated probabilities, some images at a time.

    Args:
        ids: (N,) the images.
        class_names: (C,) names in label order.
        batches: (features, probabilities) in the order of ``ids``.
        known: From the calibration of the run.
        error: The fraction of sets that may miss the true class.
        per_class: True holds ``error`` for every class by itself.
        refuse: The fraction of known cells that may be reported as out-of-distribution.
        skipped: Inputs that could not be read.
        threshold: The probability that an image needs to be classified.
        promise: The accuracy that the threshold was chosen for.
        averaged: (N, C) probabilities averaged over views, which stand in place of those of one view.
        views: How many.
        runtime: What computed the network, where that was not Keras.

    Raises:
        OptionError: ``error`` or ``refuse`` cannot be used; before the first batch is read.
    """
    limit, unit = known.familiar.limit(refuse), ood_unit(known.familiar)
    known.conformal.thresholds(error)
    found = [(known.familiar.distance(features), scale(p, known.temperature)) for features, p in batches]
    distance = np.concatenate([np.empty(0), *(d for d, _ in found)])
    probabilities = np.concatenate([np.empty((0, len(class_names))), *(p for _, p in found)])
    shift = None
    if len(distance):
        predicted = probabilities.argmax(1)  # of one view, as the known cells were
        shift = known.familiar.compare(distance, predicted, class_names=class_names, refuse=refuse)
    return Predictions(
        ids=ids,
        class_names=class_names,
        probabilities=probabilities if averaged is None else scale(averaged, known.temperature),
        sets=known.conformal.sets(probabilities, error, per_class=per_class) if averaged is None else None,
        ood_score=distance / unit,
        out_of_distribution=distance > limit,
        domain_shift=shift,
        error=error,
        skipped=skipped,
        threshold=threshold,
        promise=promise,
        views=views,
        runtime=runtime,
    )
