"""What a run says of images without labels: class, probability, set of classes, and whether it knows them at all."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import Skipped
from cellclf.errors import MissingPackageError, OptionError
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.ood import DomainShift
from cellclf.runs.confidence import Confidence
from cellclf.utils.atomic import replacing

FOREIGN = "not a cell that I know"
ENDINGS = (".csv", ".json", ".parquet")
_UNIT = 0.005  # an ood_score of 1 is what this share of known cells exceeds


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a run on a set of images; made by ``Run.report_predictions``.

    Args:
        ids: (N,) the images.
        class_names: (C,) names in label order.
        probabilities: (N, C); calibrated, if the run is.
        sets: (N, C) bool, the classes that may be the truth; None if the run is not calibrated.
        ood_score: (N,) how foreign an image is: beyond 1, 0.5 % of known cells lie; None if the run is not calibrated.
        foreign: (N,) bool, what is called foreign; None if the run is not calibrated.
        domain_shift: Whether the set as a whole is of the kind that the run knows; None if the run is not calibrated.
        error: The share of sets that may miss the truth.
        skipped: Inputs that are no image, and why.
    """

    ids: NDArray[np.str_]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]]
    sets: NDArray[np.bool_] | None = None
    ood_score: NDArray[np.float64] | None = None
    foreign: NDArray[np.bool_] | None = None
    domain_shift: DomainShift | None = None
    error: float = 0.01
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image, of foreign ones, too."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give one dict an image: id, class, probability; set and ood_score if calibrated; and p_CLASS for each class.

        A foreign image has the class "not a cell that I know", no probability and an empty set; what the classifier
        would have guessed stands in the columns of the classes. What could not be read comes last: in the column
        ``skipped`` stands why, and all others but the id are empty.
        """
        for k, (id_, called) in enumerate(zip(self.ids.tolist(), self.predicted.tolist(), strict=True)):
            strange = self.foreign is not None and bool(self.foreign[k])
            row: dict[str, Any] = {
                "id": id_,
                "class": FOREIGN if strange else self.class_names[called],
                "probability": None if strange else round(float(self.probabilities[k, called]), 5),
            }
            if self.sets is not None and self.ood_score is not None:
                order = np.argsort(-self.probabilities[k], kind="stable").tolist()
                row["set"] = [] if strange else [self.class_names[c] for c in order if self.sets[k, c]]
                row["ood_score"] = round(float(self.ood_score[k]), 4)
            shares = zip(self.class_names, self.probabilities[k].tolist(), strict=True)
            yield row | {f"p_{name}": round(share, 5) for name, share in shares} | {"skipped": None}
        for lost in self.skipped:
            yield dict.fromkeys(self._columns()) | {"id": lost.id, "skipped": lost.reason}

    def to_csv(self) -> str:
        """Write the rows as CSV text; the classes of a set are parted by ``|``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns(), lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            writer.writerow(
                {name: "|".join(value) if isinstance(value, list) else value for name, value in row.items()}
            )
        return text.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the rows as CSV, JSON (a list of objects) or Parquet, after the ending of the name.

        Args:
            path: Ends in ``.csv``, ``.json`` or ``.parquet``.

        Raises:
            OptionError: Another ending.
            MissingPackageError: Parquet without pyarrow.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in ENDINGS:
            raise OptionError(
                f"cannot write predictions to {path.name!r}; expected a name ending in {', '.join(ENDINGS)}"
            )
        if ending == ".parquet":
            try:
                import pyarrow as pa
                import pyarrow.parquet as pq
            except ImportError:
                raise MissingPackageError(
                    f"writing {path.name} needs pyarrow: pip install pyarrow, or write .csv"
                ) from None
            every = list(self.rows())
            kinds = {name: pa.string() for name in ("id", "class", "skipped")} | {"set": pa.list_(pa.string())}
            schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in self._columns()])
            with replacing(path) as new:
                pq.write_table(pa.Table.from_pylist(every, schema=schema), new)
            return path
        with replacing(path) as new, new.open("w", encoding="utf-8", newline="") as file:
            if ending == ".csv":
                file.write(self.to_csv())
            else:
                json.dump(list(self.rows()), file, indent=1, ensure_ascii=False)
        return path

    def summary(self) -> str:
        """Say in some lines what was found: images of each class, foreign ones, skipped ones, sets, shift."""
        named = Counter(
            FOREIGN if self.foreign is not None and self.foreign[k] else self.class_names[called]
            for k, called in enumerate(self.predicted.tolist())
        )
        width = max(map(len, named), default=0)
        lines = [f"{len(self):,} images", *(f"  {name:<{width}}  {n:,}" for name, n in named.most_common())]
        if self.skipped:
            lines.append(f"skipped, and why stands in their rows: {len(self.skipped):,}")
        if self.sets is None:
            return "\n".join([*lines, "the run was never calibrated: no sets, and foreign images are not told apart"])
        if len(self):
            lines.append(
                f"sets that miss the truth in at most {100 * self.error:g} % of known cells hold "
                f"{self.sets.sum(1).mean():.2f} classes on average; "
                f"{100 * (self.sets.sum(1) == 1).mean():.1f} % of them hold just one"
            )
        if self.domain_shift is not None:
            lines.append(str(self.domain_shift))
        return "\n".join(lines)

    def _columns(self) -> list[str]:
        extra = [] if self.sets is None else ["set", "ood_score"]
        return ["id", "class", "probability", *extra, *(f"p_{name}" for name in self.class_names), "skipped"]


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
) -> Predictions:
    """Judge features and plain probabilities, some images at a time, by what a run knows of its reliability.

    Args:
        ids: (N,) the images.
        class_names: (C,) names in label order.
        batches: (features, probabilities) in the order of ``ids``.
        known: What the run learnt when it was calibrated.
        error: The share of sets that may miss the truth.
        per_class: Keep that promise for every class by itself.
        refuse: The share of known cells that may be called foreign by mistake.
        skipped: Inputs that are no image.

    Raises:
        OptionError: Shares that cannot be; before the first batch is asked for.
    """
    limit, unit = known.familiar.limit(refuse), max(known.familiar.limit(_UNIT), 1e-12)
    known.conformal.thresholds(error)
    found = [(known.familiar.distance(features), scale(p, known.temperature)) for features, p in batches]
    distance = np.concatenate([np.empty(0), *(d for d, _ in found)])
    shares = np.concatenate([np.empty((0, len(class_names))), *(p for _, p in found)])
    return Predictions(
        ids=ids,
        class_names=class_names,
        probabilities=shares,
        sets=known.conformal.sets(shares, error, per_class=per_class),
        ood_score=distance / unit,
        foreign=distance > limit,
        domain_shift=known.familiar.compare(distance, refuse=refuse) if len(distance) else None,
        error=error,
        skipped=skipped,
    )
