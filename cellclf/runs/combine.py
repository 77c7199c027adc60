"""Several runs on one set: their mean, or for each slide the run that it fits best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import Cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, unknown
from cellclf.evaluation.ood import DomainShift
from cellclf.runs.predictions import Predictions, ood_unit
from cellclf.runs.run import Run
from cellclf.utils.parameters import shortened

AVERAGE, BEST_FIT = "average", "best-fit"
WAYS = (AVERAGE, BEST_FIT)
"""The ways to combine runs."""

_LINES = 20  # groups that the summary names


def combine_predictions(
    runs: Sequence[Run],
    cells: Cells | Callable[[Run], ImageSet],
    how: str = AVERAGE,
    *,
    error: float = 0.01,
    per_class: bool = False,
    refuse: float = 0.005,
    threshold: float | None = None,
    tta: int | Sequence[str] = 1,
    show: bool | None = None,
) -> Predictions:
    """Predict with several runs.

    Args:
        runs: Runs of any image sizes. For ``"average"`` their classes are the same, in any order; for ``"best-fit"``
            they may differ: a class that the chosen run does not have gets the probability 0.
        cells: Images, which each run reads at its own size; or a function that gives those of a run.
        how: ``"average"``: the mean of the calibrated probabilities, for runs that do the same job. ``"best-fit"``: the
            images of each group (slide, patient; the whole set where there are none) are compared with the known cells
            of every run, and predicted by the run from whose cells they are least far (the AUROC of
            ``Run.domain_shift``): for one run a laboratory.
        error: See ``Run.report_predictions``; a mean has no sets, since each calibration is for one run.
        per_class: See there.
        refuse: See there; in a mean, an image is out-of-distribution where most runs say so.
        threshold: See there. No accuracy can be promised for several runs.
        tta: See there.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        Predictions whose summary names the runs; for ``"best-fit"`` also a column ``run``.

    Raises:
        UnknownNameError: Another ``how``.
        OptionError: No run, or one that is not calibrated, for ``"best-fit"``.
        DataError: Runs of other classes, for ``"average"``; or runs that read other images from ``cells``.
    """
    if how not in WAYS:
        raise unknown("way to combine runs", how, WAYS)
    if not isinstance(runs, list | tuple) or not runs or not all(isinstance(run, Run) for run in runs):
        raise OptionError(f"runs={shortened(runs)}; expected a list of runs, such as load_run gives")
    names = _names(runs)
    if how == AVERAGE:
        for name, run in zip(names, runs, strict=True):
            if set(run.class_names) != set(runs[0].class_names):
                raise DataError(
                    f"{names[0]} has the classes {', '.join(runs[0].class_names)} and {name} "
                    f"{', '.join(run.class_names)}; expected the same for an average: combine them by best-fit"
                )
    elif bare := [name for name, run in zip(names, runs, strict=True) if run.confidence is None]:
        raise OptionError(
            f"{', '.join(bare)} is not calibrated, so that nothing is known of how images fit it; "
            "Run.calibrate(train, val) calibrates it"
        )
    found, groups = [], None
    for run in runs:
        own: ImageSet = cells(run) if callable(cells) else run._fitted(cells)
        groups = own.groups
        found.append(
            run.report_predictions(
                own, error=error, per_class=per_class, refuse=refuse, threshold=threshold, tta=tta, show=show
            )
        )
        if not np.array_equal(found[-1].ids, found[0].ids):
            raise DataError(
                f"{names[0]} and {names[len(found) - 1]} read other images from the same source "
                f"({len(found[0]):,} and {len(found[-1]):,}): they were trained on files that were read in another way"
            )
    return _averaged(names, found) if how == AVERAGE else _best(names, runs, found, groups)


def _names(runs: Sequence[Run]) -> list[str]:
    """Give each run a name of its own: its folder, or its number."""
    names = [f"run {k}" if run.folder is None else str(run.folder) for k, run in enumerate(runs, 1)]
    return [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)]


def _averaged(names: Sequence[str], found: Sequence[Predictions]) -> Predictions:
    first = found[0]
    probabilities = np.mean(
        [one.probabilities[:, [one.class_names.index(name) for name in first.class_names]] for one in found], axis=0
    )
    scores = [one.ood_score for one in found if one.ood_score is not None]
    votes = [one.out_of_distribution for one in found if one.out_of_distribution is not None]
    known = len(scores) == len(votes) == len(found)
    notes = [
        f"the mean of {len(found)} runs: {', '.join(names)}; it has no sets, since each calibration is for one run"
    ]
    notes += [f"{name}: {one.domain_shift}" for name, one in zip(names, found, strict=True) if one.domain_shift]
    return Predictions(
        ids=first.ids,
        class_names=first.class_names,
        probabilities=probabilities,
        ood_score=np.mean(scores, axis=0) if known else None,
        out_of_distribution=np.mean(votes, axis=0) > 0.5 if known else None,
        error=first.error,
        skipped=first.skipped,
        threshold=first.threshold,
        views=first.views,
        notes=(*notes, *_runtimes(found)),
    )


def _best(
    names: Sequence[str], runs: Sequence[Run], found: Sequence[Predictions], groups: NDArray[np.str_] | None
) -> Predictions:
    first = found[0]
    class_names = tuple(dict.fromkeys(name for one in found for name in one.class_names))
    probabilities = np.zeros((len(first), len(class_names)))
    sets = None if first.sets is None else np.zeros((len(first), len(class_names)), bool)
    scores, outside = np.zeros(len(first)), np.zeros(len(first), bool)
    chosen = np.zeros(len(first), np.int64)
    slides = np.zeros(len(first), np.int64) if groups is None else groups
    lines: list[str] = []
    for slide in np.unique(slides) if len(first) else ():
        rows = np.flatnonzero(slides == slide)
        fits = [_fit(run, one, rows) for run, one in zip(runs, found, strict=True)]
        best = int(np.argmin([fit.auroc for fit in fits]))
        one = found[best]
        places = np.asarray([class_names.index(name) for name in one.class_names], np.intp)
        probabilities[np.ix_(rows, places)] = one.probabilities[rows]
        if sets is not None and one.sets is not None:
            sets[np.ix_(rows, places)] = one.sets[rows]
        if one.ood_score is not None and one.out_of_distribution is not None:
            scores[rows], outside[rows] = one.ood_score[rows], one.out_of_distribution[rows]
        chosen[rows] = best
        lines.append(_line("all images" if groups is None else str(slide), len(rows), names, fits, best))
    if len(lines) > _LINES:
        counts = np.bincount(chosen, minlength=len(names))
        more = ", ".join(f"{name} {n:,} images" for name, n in zip(names, counts.tolist(), strict=True))
        lines = [*lines[:_LINES], f"  and {len(lines) - _LINES:,} more groups; in all: {more}"]
    note = "the run that fits best, by how often an image is farther from its known cells than a known cell is:"
    return Predictions(
        ids=first.ids,
        class_names=class_names,
        probabilities=probabilities,
        sets=sets,
        ood_score=scores,
        out_of_distribution=outside,
        error=first.error,
        skipped=first.skipped,
        threshold=first.threshold,
        views=first.views,
        runs=np.asarray(names)[chosen],
        notes=(note, *lines, *_runtimes(found)),
    )


def _fit(run: Run, found: Predictions, rows: NDArray[np.intp]) -> DomainShift:
    """Compare the images of one group with the known cells of a run."""
    assert run.confidence is not None and found.ood_score is not None
    known = run.confidence.familiar
    return known.compare(found.ood_score[rows] * ood_unit(known), found.predicted[rows], class_names=run.class_names)


def _line(slide: str, count: int, names: Sequence[str], fits: Sequence[DomainShift], best: int) -> str:
    order = sorted(range(len(names)), key=lambda k: (k != best, fits[k].auroc))
    measured = ", ".join(f"{names[k]} {100 * fits[k].auroc:.0f} %" for k in order[1:])
    shifted = "; SHIFTED: no run fits, so check it on labelled images" if fits[best].shifted else ""
    beside = f" ({measured})" if measured else ""
    return f"  {slide}, {count:,} images: {names[best]} {100 * fits[best].auroc:.0f} %{beside}{shifted}"


def _runtimes(found: Sequence[Predictions]) -> list[str]:
    """Give in what the networks were computed, where that was not Keras."""
    return list(dict.fromkeys(f"computed by {one.runtime}" for one in found if one.runtime))
