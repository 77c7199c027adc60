"""Checks of a whole job before its first slow step: all mistakes at once, the split, further sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from cellclf.cleaning.downsample import Downsample
from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts, Split
from cellclf.errors import CellclfError, DataError, OptionError, joined
from cellclf.pipeline.cut import completed
from cellclf.training.stage import Stage
from cellclf.training.trainer import Trainer
from cellclf.training.trainer_checks import check_stage_sizes


def raise_all(checks: Iterable[Callable[[], Any]]) -> None:
    """Run all checks, and raise what they found together.

    Args:
        checks: Each raises a CellclfError, or does nothing.

    Raises:
        CellclfError: The mistake; OptionError if there are several, all named.

    Examples:
        >>> raise_all([lambda: None])
    """
    found: dict[str, CellclfError] = {}
    for check in checks:
        try:
            check()
        except CellclfError as error:
            found.setdefault(str(error), error)
    if len(found) > 1:
        raise OptionError(f"{len(found)} mistakes: {joined(found)}")
    for mistake in found.values():
        raise mistake


def check_parts(cells: ImageSet | Parts, split: Split, downsample: Downsample | None, trainer: Trainer) -> None:
    """Check that a set can be split, and that its parts, or those that are given, can be trained on.

    Raises:
        DataError: No labels, or parts that cannot be trained on.
    """
    train = cells.train if isinstance(cells, Parts) else cells
    if train.labels is None:
        raise DataError("the images have no labels; expected one folder for each class, or labels in the file")
    if downsample is not None:
        downsample.find(train.subset([]))
    parts = completed(cells, split) if isinstance(cells, Parts) else split.apply(cells)
    # the sets alone: a mistake in the other options, reported by another check, must not hide theirs
    alone = ("backbone", "start", "class_weight", "image_size", "teacher")
    checked: Trainer = Trainer(**{name: getattr(trainer, name) for name in alone})
    checked.check(parts.train, parts.val)
    if isinstance(trainer.stages, list | tuple):
        check_stage_sizes(checked, (stage for stage in trainer.stages if isinstance(stage, Stage)), parts.train)


def check_test_set(name: str, test: ImageSet, cells: ImageSet, part_names: Collection[str]) -> None:
    """Check that a further set can be scored by a classifier of ``cells``.

    Args:
        name: Of the set.
        test: The set, with labels.
        cells: What is trained on.
        part_names: Names of the parts of the split, which the set cannot have.

    Raises:
        OptionError: The name is that of a part.
        DataError: An empty set, images of another size, or other classes.
    """
    if not isinstance(name, str) or not name.strip():
        raise OptionError(f"a further set is called {name!r}; expected a name, such as 'hospital_b'")
    if name in part_names:
        raise OptionError(f"a further set is called {name!r}, which is a part of the split; expected another name")
    if not len(test):
        raise DataError(f"the set {name!r} is empty; expected images")
    if test.image_shape != cells.image_shape:
        found, expected = ("x".join(map(str, one.image_shape[:2])) for one in (test, cells))
        raise DataError(f"the set {name!r} has images of {found}, expected {expected} as in the training set")
    try:
        match_labels(test, cells.class_names)
    except DataError as error:
        raise DataError(f"the set {name!r}: {error}") from None
