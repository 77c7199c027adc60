"""How well a classifier does on corrupted and shifted images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.loaders import load
from cellclf.errors import DataError, unknown
from cellclf.evaluation.checks import Level, Resamples, averaged_classes
from cellclf.evaluation.intervals import Estimate, Floats, bootstrap, estimate_shares
from cellclf.evaluation.robustness.corruptions import ALEXNET_CLEAN, CORRUPTIONS, SEVERITIES, corrupt
from cellclf.evaluation.robustness.families import families_of
from cellclf.evaluation.robustness.result import MEDMNIST_C, CorruptionScores, Robustness
from cellclf.evaluation.scores import SCORES
from cellclf.utils.parameters import Count, Seed, check_arguments
from cellclf.utils.progress import track

Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]
Condition = tuple[str, int]

CLEAN: Condition = ("clean", 0)
SHIFTED: Condition = ("shifted", 1)


def robustness(
    predict: Predict,
    cells: Cells,
    suite: str | Path | ImageSet = MEDMNIST_C,
    *,
    name: str | None = None,
    seen: Collection[str] = (),
    seed: Seed = 0,
    min_count: Count | None = None,
    batch_size: Count = 256,
    confidence: Level = 0.95,
    resamples: Resamples = 1000,
    show: bool | None = None,
) -> Robustness:
    """Predict the same images again, corrupted, and compare the scores.

    Images are read once, a batch at a time, and every corruption of a batch is computed when it is predicted; only the
    predicted classes are kept. The result does not depend on ``batch_size``.

    Args:
        predict: From (n, H, W, 3) uint8 images to (n, C) probabilities, columns as ``cells.class_names``.
        cells: Clean images with labels.
        suite: "medmnist-c" corrupts ``cells`` in eleven ways at five severities (see ``corrupt``). Or shifted
            images with labels of the same classes: a set, or a path that ``load`` reads.
        name: Name of a set of shifted images in the result; None takes the name of its file.
        seen: Steps of the augmenter that the classifier was trained with (``Augmenter.names()``), or families of
            corruptions; corruptions of these families are marked, and a mean is given without them.
        seed: Of the corruptions' random choices, and of the intervals.
        min_count: Classes with fewer images are left out of the balanced accuracy; None as by ``evaluate``.
        batch_size: Images at a time.
        confidence: Level of the intervals, between 0 and 1.
        resamples: Bootstrap resamples behind the intervals; whole images are drawn, with all their corruptions.
        show: Whether to show a progress bar; None shows it on a terminal and in a notebook.

    Raises:
        DataError: No images, no labels, or shifted images of other classes or another size.
        UnknownNameError: A suite, or a name in ``seen``, that does not exist.
        OptionError: Settings that cannot be used.

    Examples:
        >>> cells = ImageSet(np.full((4, 8, 8, 3), 90, np.uint8), [0, 1, 0, 1], class_names=["round", "lobed"])
        >>> found = robustness(lambda images: np.tile([0.9, 0.1], (len(images), 1)), cells, seen=["jpeg"])
        >>> float(found.mean), len(found.corruptions), len(found.unseen)
        (0.5, 11, 10)

    Source:
        Di Salvo, Doerrich & Ledig 2024, "MedMNIST-C", arXiv 2406.17536.
    """
    cells = as_cells(cells)
    given = {"min_count": min_count, "batch_size": batch_size, "confidence": confidence, "resamples": resamples}
    check_arguments(robustness, seed=seed, **given)
    families = families_of(seen)
    suite_name, shifted = load_suite(suite, cells.image_shape[:2])
    title = name or suite_name
    tests = [(CLEAN, cells, _labels(cells, min_count))]
    if shifted is None:
        tests += [((kind, severity), cells, tests[0][2]) for kind in CORRUPTIONS for severity in SEVERITIES]
    else:
        shifted = _fitting(shifted, cells)
        tests.append((SHIFTED, shifted, _labels(shifted, min_count)))
    predicted = _predict_all(predict, {test[0]: test[1] for test in tests}, seed=seed, batch_size=batch_size, show=show)
    settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}

    def point(condition: Condition, truth: NDArray[np.int64], averaged: NDArray[np.bool_]) -> tuple[Estimate, Estimate]:
        classes = len(averaged)
        confusion = np.bincount(truth * classes + predicted[condition], minlength=classes**2).reshape(classes, classes)
        found = bootstrap(confusion, averaged, **settings)
        return SCORES["balanced_accuracy"].estimate(found), SCORES["accuracy"].estimate(found)

    each = {condition: point(condition, *truth) for condition, _, truth in tests}
    truth, averaged = tests[-1][2]
    hits = {condition: (predicted[condition] == truth).astype(np.float64) for condition in each if condition != CLEAN}

    def over(conditions: Collection[Condition]) -> tuple[Estimate, Estimate]:
        # of each image the fraction of its conditions that are right: whole images are resampled, since the corruptions
        # of one image are no independent evidence
        right: Floats = sum((hits[condition] for condition in conditions), np.zeros(len(truth))) / len(conditions)
        return estimate_shares(right, truth, averaged, **settings)

    corruptions = []
    for kind in dict.fromkeys(kind for kind, _ in hits):
        conditions = [condition for condition in hits if condition[0] == kind]
        family = CORRUPTIONS[kind].family if shifted is None else "shifted"
        balanced, plain = zip(*(each[condition] for condition in conditions), strict=True)
        mean, mean_accuracy = over(conditions) if len(conditions) > 1 else each[conditions[0]]
        scores = CorruptionScores(
            kind if shifted is None else title, family, family in families, balanced, plain, mean, mean_accuracy
        )
        corruptions.append(scores if shifted is not None else _against_alexnet(scores, each[CLEAN][0]))
    unseen = [c for c in hits if shifted is not None or CORRUPTIONS[c[0]].family not in families]
    mean, mean_accuracy = over(list(hits)) if len(hits) > 1 else each[next(iter(hits))]
    return Robustness(
        suite=title,
        n=len(truth),
        seed=seed,
        clean=each[CLEAN][0],
        clean_accuracy=each[CLEAN][1],
        corruptions=tuple(corruptions),
        mean=mean,
        mean_accuracy=mean_accuracy,
        unseen_mean=over(unseen)[0] if unseen else None,
        be=_mean([scores.be for scores in corruptions]),
        relative_be=_mean([scores.relative_be for scores in corruptions]),
        seen=families,
        left_out={cells.class_names[k]: int((truth == k).sum()) for k in np.flatnonzero(~averaged)},
        confidence_level=confidence,
    )


def load_suite(suite: str | Path | ImageSet, size: tuple[int, int]) -> tuple[str, ImageSet | None]:
    """Give the name of a suite and its shifted images; None for the corruptions, which are made of clean ones.

    Args:
        suite: "medmnist-c", a set, or a path.
        size: Height and width of the images, if they come from files.

    Raises:
        UnknownNameError: Neither a suite nor a file.
    """
    if isinstance(suite, ImageSet):
        return "shifted images", suite
    if str(suite) == MEDMNIST_C:
        return MEDMNIST_C, None
    if not Path(suite).exists():
        raise unknown("suite (and no file)", str(suite), [MEDMNIST_C])
    return Path(suite).stem, load(suite, size=size)


def _fitting(shifted: ImageSet, cells: ImageSet) -> ImageSet:
    """Number the classes of shifted images as the clean ones'; refuse another size."""
    if shifted.image_shape != cells.image_shape:
        found, expected = (f"{s.image_shape[0]}x{s.image_shape[1]}" for s in (shifted, cells))
        raise DataError(
            f"shifted images are {found}; expected {expected} like the clean ones: load both with one size="
        )
    return shifted if shifted.labels is None else shifted.align(cells.class_names)


def _labels(cells: ImageSet, min_count: int | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give the labels, and which classes have enough images to be averaged over."""
    if cells.labels is None:
        raise DataError("the images have no labels; robustness needs them to count mistakes")
    support = np.bincount(cells.labels, minlength=cells.num_classes)
    return cells.labels, averaged_classes(support, min_count)


def _predict_all(
    predict: Predict, tests: dict[Condition, ImageSet], *, seed: int, batch_size: int, show: bool | None
) -> dict[Condition, NDArray[np.int64]]:
    """Predict every condition, batch by batch; predicted classes in the order of the images."""
    predicted: dict[Condition, list[NDArray[np.int16]]] = {condition: [] for condition in tests}
    sets: dict[int, tuple[ImageSet, list[Condition]]] = {}
    for condition, cells in tests.items():
        sets.setdefault(id(cells), (cells, []))[1].append(condition)
    total = sum(-(-len(cells) // batch_size) * len(conditions) for cells, conditions in sets.values())

    def work() -> Iterator[None]:
        for cells, conditions in sets.values():
            batches = cells.batches(batch_size, show=False)
            for start, batch in zip(range(0, len(cells), batch_size), batches, strict=True):
                ids = cells.ids[start : start + batch_size]
                for name, severity in conditions:
                    images = corrupt(batch, name, severity, ids=ids, seed=seed) if name in CORRUPTIONS else batch
                    predicted[name, severity].append(_classes(predict(images), len(batch), cells.num_classes))
                    yield

    for _ in track(work(), total=total, label="corrupted images", unit="batch", show=show):
        pass
    return {condition: np.concatenate(parts).astype(np.int64) for condition, parts in predicted.items()}


def _classes(probabilities: NDArray[Any], images: int, classes: int) -> NDArray[np.int16]:
    found = np.asarray(probabilities)
    if found.shape != (images, classes):
        raise DataError(
            f"predict gave {found.shape} for {images} images of {classes} classes; expected ({images}, {classes})"
        )
    return np.asarray(found.argmax(1), np.int16)


def _against_alexnet(scores: CorruptionScores, clean: Estimate) -> CorruptionScores:
    other = CORRUPTIONS[scores.name].alexnet
    if other is None:
        return scores
    error = 1 - float(np.mean(scores.balanced_accuracy))
    return replace(scores, be=error / other, relative_be=(error - (1 - clean)) / (other - ALEXNET_CLEAN))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
