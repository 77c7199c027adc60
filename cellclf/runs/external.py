"""External validation: a run on images of another laboratory, unchanged and with what would help there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.data.spelling import matched as matched_names
from cellclf.errors import DataError, OptionError, RunFolderError, unknown
from cellclf.evaluation.calibration import calibrate, scale
from cellclf.evaluation.external import External, LeftOut, Remedy
from cellclf.evaluation.groups import number_groups
from cellclf.evaluation.intervals import Grouped
from cellclf.evaluation.label_gain import LabelGain, label_gain
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.significance import Change, compare_paired, compare_sets
from cellclf.runs.tta import view_names
from cellclf.utils.parameters import Count, check_value, shortened

if TYPE_CHECKING:
    from cellclf.runs.run import Run


class Offered(Protocol):
    """What was predicted after some labels: an ``Offer`` of the room to the right."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) positions of the cells that were used."""

    @property
    def before(self) -> NDArray[np.int64]:
        """(n,) predicted by the run as it is."""

    @property
    def after(self) -> Mapping[int, NDArray[np.int64]]:
        """Labels -> (D, n) predicted by models that had not seen the label of the cell."""

    @property
    def halves(self) -> NDArray[np.bool_]:
        """(D, n) the half of each cell in each draw."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be done, and why."""


def external(
    run: Run,
    cells: ImageSet,
    mapping: Mapping[str, str | None] | None,
    *,
    reference: ImageSet | None,
    min_count: int,
    tta: int | Sequence[str],
    offer: Callable[[ImageSet, NDArray[np.int64]], Offered] | None,
    seed: int,
    show: bool | None,
) -> External:
    """Score the run on external images, with what would help there, and compare with the reference.

    Args:
        run: The run.
        cells: Of its size.
        mapping: See ``counterparts``.
        reference: See ``Run.external``.
        min_count: See ``Run.external``.
        tta: See ``Run.external``.
        offer: From the scored cells and their classes to what the run predicts after labels; None tries none.
        seed: Of the intervals.
        show: See ``Run.external``.
    """
    names = run.class_names
    views = f"{len(view_names(tta, cells.image_shape))} views"
    matched, unmatched = counterparts(cells, names, mapping or {})
    reference_labels = None if reference is None else match_labels(reference, names)
    scored = np.flatnonzero(matched >= 0)
    labels, temperature = matched[scored], 1.0 if run.confidence is None else run.confidence.temperature
    groups = None if cells.groups is None else cells.groups[scored]
    check_value(min_count, Count, "min_count")
    most = int(np.bincount(labels).max())
    if most < min_count:
        raise DataError(f"no external class has min_count={min_count} images, the largest has {most}; lower min_count")

    def predict(one: Run, tta: int | Sequence[str] = 1) -> NDArray[np.float64]:
        return scale(one.predict_proba(cells, tta=tta, show=show), temperature)

    def remedy(name: str, probabilities: NDArray[np.float64], first: Report | None = None) -> Remedy:
        found = probabilities[scored]
        report = evaluate(labels, found, names, min_count=min_count, seed=seed, groups=groups)
        gain = None
        if first is not None:
            two = (report.predicted, first.predicted)
            gain = compare_paired(labels, *two, len(names), min_count=min_count, seed=seed, groups=groups)
        return Remedy(name, report, calibrate(labels, found, seed=seed), gain)

    domain_shift = None
    if run.confidence is None:
        probabilities = predict(run)
    else:
        predictions = run.report_predictions(cells, show=show)
        probabilities, domain_shift = np.asarray(predictions.probabilities, np.float64), predictions.domain_shift
    remedies = [remedy("as it is", probabilities)]
    first, notes = remedies[0].report, []
    by_place = _positions(list(_present(cells)), names, mapping or {})
    if by_place:
        pairs = ", ".join(f"{name} is {names[place]}" for name, place in by_place.items())
        notes.append(f"The external classes have no names and are matched by position: {pairs}.")
    if groups is not None:
        notes.append(f"The intervals of the external images resample {first.unit}.")
    occurring = np.unique(labels)
    fewer = 1 < len(occurring) < len(names)
    tried = {"": probabilities} | ({} if tta == 1 else {views: predict(run, tta)})
    remedies += [remedy(name, found, first) for name, found in tried.items() if name]
    if fewer:
        for name, found in tried.items():
            called = f"its {len(occurring)} classes" + (f", {name}" if name else "")
            remedies.append(remedy(called, _restricted(found, occurring), first))
    gains: tuple[LabelGain, ...] = ()
    if offer is not None:
        gains, said = _offered(offer(cells.subset(scored), labels), labels, first, min_count, groups)
        notes += said

    calibration, counts, reference_name = None, None, None
    images: list[Grouped | None] = [None, None]
    if first.groups is not None:
        images[1] = Grouped(labels, first.predicted, first.groups)
    if reference is not None and reference_labels is not None:
        found = scale(run.predict_proba(reference, show=show), temperature)
        calibration = calibrate(reference_labels, found, seed=seed)
        reference_name = f"{len(reference_labels):,} images"
        counts = np.zeros((len(names), len(names)), np.int64)
        np.add.at(counts, (reference_labels, found.argmax(1)), 1)
        if (numbers := number_groups(reference.groups, len(reference))) is not None:
            images[0] = Grouped(reference_labels, found.argmax(1), numbers)
    elif run.folder is not None:
        reference_name, counts = _stored_counts(run.folder, names)
    changes: tuple[tuple[Change, ...], tuple[Change, ...]] = ((), ())
    if counts is None:
        notes.append("No comparison: the run's folder holds no report; give labelled reference images.")
    else:
        both = (images[0], images[1])
        changes = compare_sets(counts, first.confusion, names, min_count=min_count, seed=seed, images=both)
        missing = [name for k, name in enumerate(names) if first.confusion[k].any() and not counts[k].any()]
        if missing:
            notes.append(f"The reference has no images of {', '.join(missing)}: the comparison leaves them out.")
    predicted, external_classes = probabilities.argmax(1), _present(cells)
    return External(
        report=first,
        mapping={name: names[matched[rows[0]]] for name, rows in external_classes.items() if name not in unmatched},
        left_out=tuple(
            LeftOut(name, len(rows), unmatched[name], _count_predicted(predicted[rows], names))
            for name, rows in external_classes.items()
            if name in unmatched
        ),
        missing=tuple(name for k, name in enumerate(names) if not first.confusion[k].any()),
        reference=reference_name,
        changes=changes[0],
        recalls=changes[1],
        reference_calibration=calibration,
        domain_shift=domain_shift,
        remedies=tuple(remedies),
        label_gains=gains,
        occurring=tuple(names[k] for k in occurring) if fewer else (),
        run=str(run.folder or "RUN"),
        notes=tuple(notes),
    )


def _restricted(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Leave out all classes but some: what remains is brought to sum 1."""
    found = np.zeros_like(probabilities)
    found[:, classes] = probabilities[:, classes] + 1e-12  # where the run excludes all of them, they are alike
    scaled: NDArray[np.float64] = found / found.sum(1, keepdims=True)
    return scaled


def _offered(
    found: Offered, labels: NDArray[np.int64], first: Report, min_count: int, groups: NDArray[np.str_] | None
) -> tuple[tuple[LabelGain, ...], list[str]]:
    """Score what was predicted after labels, over the classes that the averages of the run include."""
    truth, notes = labels[found.rows], list(found.notes)
    averaged = [k for k, one in enumerate(first.classes) if one.support and one.name not in first.left_out]
    numbers = None if groups is None else number_groups(groups[found.rows], len(truth))
    gains = tuple(
        label_gain(truth, found.before, after, found.halves, count, classes=np.asarray(averaged), groups=numbers)
        for count, after in found.after.items()
    )
    if gains and len(truth) < len(labels):
        notes.append(f"What labels would bring was measured on {len(truth):,} of the images, drawn at random.")
    return gains, notes


def counterparts(
    cells: ImageSet, class_names: Sequence[str], mapping: Mapping[str, str | None]
) -> tuple[NDArray[np.int64], dict[str, str]]:
    """Find the class of the run for each external image.

    Args:
        cells: External images, with labels.
        class_names: Classes of the run.
        mapping: External name -> name of the run, or None where the run has no such class. A class that it does not
            name keeps its name, in the spelling of the run. Without a mapping, names that are all numbers are
            positions in ``class_names``; of a run whose classes are numbers, too, they are names like any other, and
            all must be there.

    Returns:
        (N,) positions in ``class_names``, -1 without a counterpart; and the external names without one -> the reason.

    Raises:
        UnknownNameError: The mapping names a class that does not exist in the images, or in the run.
        DataError: No labels, or no external class has a counterpart; numbers that are not those of the run.

    Examples:
        >>> cells = ImageSet(np.zeros((3, 8, 8, 3), np.uint8), ["Neu", "Lym", "smudge"])
        >>> mapping = {"Neu": "neutrophil", "Lym": "lymphocyte"}
        >>> matched, unmatched = counterparts(cells, ["lymphocyte", "neutrophil"], mapping)
        >>> matched.tolist(), list(unmatched)
        ([1, 0, -1], ['smudge'])
    """
    if cells.labels is None:
        raise DataError("the external images have no labels, so there is nothing to score; use predict")
    if not isinstance(mapping, Mapping):
        raise OptionError(f"mapping={shortened(mapping)}; expected a mapping, such as {{'Neu': 'neutrophil'}}")
    for name, own in mapping.items():
        if name not in cells.class_names:
            raise unknown("external class", name, cells.class_names)
        if own is not None and own not in class_names:
            raise unknown("class of the run", own, class_names)
    places, unmatched = np.full(cells.num_classes, -1), {}
    positions = _positions(list(_present(cells)), class_names, mapping)
    spelt = matched_names(cells.class_names, class_names)
    for k, name in enumerate(cells.class_names):
        own = mapping.get(name, spelt.get(name, name))
        if own is not None and own in class_names:
            places[k] = list(class_names).index(own)
        elif name in positions:
            places[k] = positions[name]
        else:
            unmatched[name] = "excluded by the mapping" if name in mapping else "the run has no class of that name"
    found = places[cells.labels]
    if not (found >= 0).any():
        raise DataError(
            f"none of the external classes ({', '.join(_present(cells))}) is a class of the run "
            f"({', '.join(class_names)}); map them: mapping={{external: own}}, --map external=own"
        )
    return np.asarray(found, np.int64), unmatched


def _positions(
    external: Sequence[str], class_names: Sequence[str], mapping: Mapping[str, str | None]
) -> dict[str, int]:
    """Take external classes without names as positions: all of them, or none.

    Some by name and the others by position would make two classes one, or shift all by one.
    """
    left = [name for name in external if name not in mapping]
    if not left or not all(name.isdecimal() for name in external):
        return {}
    if all(name.isdecimal() for name in class_names):
        unknown_ = [name for name in left if name not in class_names]
        if unknown_:
            raise DataError(
                f"the external classes are the numbers {', '.join(external)}, those of the run "
                f"{', '.join(class_names)}: {', '.join(unknown_)} cannot be matched; expected a mapping of each: "
                "mapping={external: own}, --map external=own"
            )
        return {}
    beyond = [name for name in left if int(name) >= len(class_names)]
    if mapping or beyond or any(name in class_names for name in external):
        return {}
    return {name: int(name) for name in left}


def _present(cells: ImageSet) -> dict[str, NDArray[np.intp]]:
    """Give the positions of the images of each class that has any."""
    rows = {name: np.flatnonzero(np.asarray(cells.labels) == k) for k, name in enumerate(cells.class_names)}
    return {name: found for name, found in rows.items() if len(found)}


def _count_predicted(predicted: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return {names[k]: n for k, n in Counter(predicted.tolist()).most_common()}


def _stored_counts(folder: Path, names: Sequence[str]) -> tuple[str | None, NDArray[np.int64] | None]:
    """Read the confusion matrix of the test part, or else of the validation part, from the report of a run."""
    path = folder / "report.json"
    if not path.exists():
        return None, None
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        part = "test" if "test" in scores else "val"
        found = scores[part]
        if list(found["class_names"]) != list(names):
            return None, None
        return f"{part}, {found['n']:,} images", np.asarray(found["confusion"], np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); give reference images, or remove the file") from None
