"""A run on another laboratory's images: as it is, and with what helps without using their labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import batch_norms
from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, RunFolderError, unknown
from cellclf.evaluation.calibration import calibrate, scale
from cellclf.evaluation.external import External, LeftOut, Remedy
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.significance import Change, compare_paired, compare_sets
from cellclf.runs.tta import view_names

if TYPE_CHECKING:
    from cellclf.runs.run import Run


def external(
    run: Run,
    cells: ImageSet,
    mapping: Mapping[str, str | None] | None,
    *,
    reference: ImageSet | None,
    min_count: int,
    tta: int | Sequence[str],
    adapt: bool,
    prior: int,
    seed: int,
    show: bool,
) -> External:
    """Do what ``Run.external`` says."""
    names = run.class_names
    turned = f"{len(view_names(tta, cells.image_shape))} views"
    ours, left = counterparts(cells, names, mapping or {})
    own = None if reference is None else match_labels(reference, names)
    scored = np.flatnonzero(ours >= 0)
    labels, temperature = ours[scored], 1.0 if run.confidence is None else run.confidence.temperature
    most = int(np.bincount(labels).max())
    if most < min_count:
        raise DataError(f"no class has min_count = {min_count} images there, the largest has {most}; lower min_count")

    def asked(one: Run, how: int | Sequence[str] = 1) -> NDArray[np.float64]:
        return scale(one.predict_proba(cells, tta=how, show=show), temperature)

    def judged(name: str, shares: NDArray[np.float64], first: Report | None = None) -> Remedy:
        found = shares[scored]
        report = evaluate(labels, found, names, min_count=min_count, seed=seed)
        gain = None
        if first is not None:
            gain = compare_paired(labels, report.predicted, first.predicted, len(names), min_count=min_count, seed=seed)
        return Remedy(name, report, calibrate(labels, found, seed=seed), gain)

    shift = None
    if run.confidence is None:
        shares = asked(run)
    else:
        told = run.report_predictions(cells, show=show)
        shares, shift = np.asarray(told.probabilities, np.float64), told.domain_shift
    remedies = [judged("as it is", shares)]
    first, notes = remedies[0].report, []
    if tta != 1:
        remedies.append(judged(turned, asked(run, tta), first))
    if adapt and not batch_norms(run.model):
        notes.append("No adaptation: this network has no BatchNorm.")
    elif adapt:
        adapted = run.adapt(cells, prior=prior, show=show)
        remedies.append(judged("BatchNorm adapted", asked(adapted), first))
        if tta != 1:
            remedies.append(judged(f"BatchNorm adapted, {turned}", asked(adapted, tta), first))

    calibration, counts, words = None, None, None
    if reference is not None and own is not None:
        found = scale(run.predict_proba(reference, show=show), temperature)
        calibration, words = calibrate(own, found, seed=seed), f"{len(own):,} images"
        counts = np.zeros((len(names), len(names)), np.int64)
        np.add.at(counts, (own, found.argmax(1)), 1)
    elif run.folder is not None:
        words, counts = _reported(run.folder, names)
    changes: tuple[tuple[Change, ...], tuple[Change, ...]] = ((), ())
    if counts is None:
        notes.append("No drop: the run's folder holds no report to compare with; give labelled images of your own.")
    else:
        changes = compare_sets(counts, first.confusion, names, min_count=min_count, seed=seed)
        lacks = [name for k, name in enumerate(names) if first.confusion[k].any() and not counts[k].any()]
        if lacks:
            notes.append(f"The reference has no images of {', '.join(lacks)}: they are not in the change.")
    called, theirs = shares.argmax(1), _present(cells)
    return External(
        report=first,
        mapping={name: names[ours[rows[0]]] for name, rows in theirs.items() if name not in left},
        left_out=tuple(
            LeftOut(name, len(rows), left[name], _called(called[rows], names))
            for name, rows in theirs.items()
            if name in left
        ),
        missing=tuple(name for k, name in enumerate(names) if not first.confusion[k].any()),
        reference=words,
        changes=changes[0],
        recalls=changes[1],
        reference_calibration=calibration,
        domain_shift=shift,
        remedies=tuple(remedies),
        notes=tuple(notes),
    )


def counterparts(
    cells: ImageSet, class_names: Sequence[str], mapping: Mapping[str, str | None]
) -> tuple[NDArray[np.int64], dict[str, str]]:
    """Find for each image of another laboratory which class of ours it is.

    Args:
        cells: Their images, with labels.
        class_names: Our classes.
        mapping: Their name -> our name, or None for what we have no class for. What it does not name keeps its name;
            bare numbers are places in ``class_names``.

    Returns:
        (N,) places in ``class_names``, -1 without a counterpart; and their names without one, with the reason.

    Raises:
        UnknownNameError: The mapping speaks of a class that they, or we, do not have.
        DataError: No labels, or none of their classes has a counterpart.

    Examples:
        >>> cells = ImageSet(np.zeros((3, 8, 8, 3), np.uint8), ["Neu", "Lym", "smudge"])
        >>> ours, left = counterparts(cells, ["lymphocyte", "neutrophil"], {"Neu": "neutrophil", "Lym": "lymphocyte"})
        >>> ours.tolist(), list(left)
        ([1, 0, -1], ['smudge'])
    """
    if cells.labels is None:
        raise DataError("these images have no labels, so there is nothing to compare with; use predict")
    for theirs, own in mapping.items():
        if theirs not in cells.class_names:
            raise unknown("class of theirs", theirs, cells.class_names)
        if own is not None and own not in class_names:
            raise unknown("class of the run", own, class_names)
    numbered = all(name.isdecimal() for name in cells.class_names)
    places, left = np.full(cells.num_classes, -1), {}
    for k, name in enumerate(cells.class_names):
        own = mapping.get(name, name)
        if own is not None and own in class_names:
            places[k] = list(class_names).index(own)
        elif numbered and name not in mapping and int(name) < len(class_names):
            places[k] = int(name)
        else:
            left[name] = "the mapping says so" if name in mapping else "the run has no class of that name"
    found = places[cells.labels]
    if not (found >= 0).any():
        raise DataError(
            f"none of their classes ({', '.join(_present(cells))}) is one of the run's "
            f"({', '.join(class_names)}); say which is which: mapping={{theirs: ours}}, --map theirs=ours"
        )
    return np.asarray(found, np.int64), left


def _present(cells: ImageSet) -> dict[str, NDArray[np.intp]]:
    """Give the places of the images of each class that has any."""
    rows = {name: np.flatnonzero(np.asarray(cells.labels) == k) for k, name in enumerate(cells.class_names)}
    return {name: found for name, found in rows.items() if len(found)}


def _called(called: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return {names[k]: n for k, n in Counter(called.tolist()).most_common()}


def _reported(folder: Path, names: Sequence[str]) -> tuple[str | None, NDArray[np.int64] | None]:
    """Take the counts of the test part, or else of the validation part, from the report of a run."""
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
        raise RunFolderError(f"{path} is damaged ({error}); give reference=, or remove the file") from None
