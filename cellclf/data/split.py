"""Splitting a set into train, val and test: images of one patient, slide or duplicate stay in one part."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.stratify import assign, round_to
from cellclf.errors import CellclfWarning, DataError, OptionError
from cellclf.utils.parameters import Count, Params, Seed, check_arguments, check_parameters, check_value, plain
from cellclf.utils.results import Result

Fraction = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True, repr=False)
class Parts(Result):
    """The parts of a set, each an ImageSet in the order of the original.

    Args:
        train: What is trained on.
        val: What choices are made on.
        test: What is only reported; empty unless requested.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet

    def summary(self) -> str:
        """Count the images of each class in each part."""
        names = self.train.class_names or ("images",)
        width = max(len(name) for name in names)
        lines = [f"{'':<{width}}  {'train':>8} {'val':>8} {'test':>8}"]
        for name in names:
            found = (part.counts().get(name, 0) for part in (self.train, self.val, self.test))
            if self.train.class_names:
                lines.append(f"{name:<{width}}  " + " ".join(f"{n:>8,}" for n in found))
        totals = " ".join(f"{len(part):>8,}" for part in (self.train, self.val, self.test))
        return "\n".join([*lines, f"{'all':<{width}}  {totals}"])

    def to_dict(self) -> dict[str, Any]:
        """Give the number of images of each class in each part."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: {"images": len(part), "classes": part.counts()} for name, part in parts.items()}


class Split(Params):
    """Split a set into train, val and test: stratified by class; patients, slides and duplicates stay together.

    Images that share a group (patient, slide) or a cluster (duplicates) are joined into connected components, and
    no component is split across parts. Each part comes as near as possible to its fraction of every class, and a rare
    class counts as much as a common one; without groups and clusters the fractions are exact to one image a class.

    **Training has every class**: what is never trained on cannot be judged. A class that only one patient has is
    trained on, and a warning says that validation lacks it.

    Args:
        val: Fraction of the images for validation, 0 to below 1.
        test: Fraction of the images that is only reported, 0 to below 1.
        seed: Of the assignment; the same seed and set give the same split.

    Raises:
        OptionError: Fractions that leave nothing to train on (when the set is split).
        DataError: Nothing can be cut off, because all images hang together (when the set is split).

    Examples:
        >>> cells = ImageSet(np.zeros((10, 8, 8, 3), np.uint8), [0] * 5 + [1] * 5)
        >>> parts = Split(val=0.2, seed=7).apply(cells)
        >>> len(parts.train), parts.val.counts()
        (8, {'0': 1, '1': 1})
    """

    def __init__(self, *, val: Fraction = 0.2, test: Fraction = 0.0, seed: Seed = 0) -> None:
        self.val = val
        self.test = test
        self.seed = seed

    def __repr__(self) -> str:
        return f"Split(val={self.val}, test={self.test}, seed={self.seed})"

    def check(self) -> None:
        """Raise OptionError if the fractions or the seed cannot be used."""
        check_parameters(self)
        if self.val + self.test >= 1:
            raise OptionError(f"val={self.val} and test={self.test} leave nothing to train on; expected a sum below 1")

    def apply(self, cells: Cells, labels: ArrayLike | None = None) -> Parts:
        """Split the set.

        Args:
            cells: The set; without labels it is split at random.
            labels: (N,) or (N, 1) labels beside an array.

        Returns:
            Train, val and test; together they are the set, and they share no image, group or cluster.

        Raises:
            DataError: A part would be empty, because its images hang together with those that are trained on.
        """
        cells = as_cells(cells, labels)
        self.check()
        val, test = float(self.val), float(self.test)
        fractions = [1 - val - test, val, test]
        component = components(cells)
        part = assign(component, *_classes(cells), fractions, plain(self.seed), favoured=0)
        found = Parts(*(cells.subset(part == k) for k in range(3)))
        if len(cells) > 1:
            _warn_of_empty(cells, found, {"val": val, "test": test})
        bound = len(cells) > 1 and bool(len(component)) and component.max() + 1 < len(cells)
        for name, fraction in (("val", val), ("test", test)) if bound else ():
            chosen: ImageSet = getattr(found, name)
            if round(fraction * len(cells)) and not len(chosen):
                raise DataError(_uncut(cells, component, name))
            if fraction and (lacking := _lacking(cells, chosen, fraction)):
                warnings.warn(f"{name} has no image of {lacking}", CellclfWarning, stacklevel=2)
        return found

    def folds(self, cells: Cells, count: int = 5) -> list[Parts]:
        """Split the set ``count`` times so that each image is in exactly one ``val`` (k-fold cross-validation).

        Args:
            cells: The set.
            count: Folds, at least 2; ``val`` and ``test`` of this Split are ignored.

        Returns:
            One Parts a fold; ``test`` is empty. A class that at least two patients have is in every ``train``.

        Raises:
            OptionError: More folds than images.
            DataError: More folds than patients, slides or single images.
        """
        cells = as_cells(cells)
        check_value(count, Count, "count")
        if not 2 <= count <= max(2, len(cells)):
            raise OptionError(f"count={count} folds of {len(cells)} images; expected from 2 to {len(cells)}")
        check_value(self.seed, Seed, "Split seed")
        component = components(cells)
        units = int(component.max()) + 1 if len(cells) else 0
        if units < min(count, len(cells)):
            raise DataError(
                f"count={count} folds of {units} groups ({len(cells):,} images; those of one {_bond(cells)} stay "
                f"together); expected at most {units}"
                if units > 1
                else _uncut(cells, component, "fold")
            )
        part = assign(component, *_classes(cells), [1 / count] * count, plain(self.seed))
        for empty in set(range(count)) - set(part.tolist()):  # more folds than a class has images
            held = [np.unique(component[part == k]) for k in range(count)]
            part[component == max(held, key=len)[-1]] = empty
        none = cells.subset([])
        return [Parts(cells.subset(part != k), cells.subset(part == k), none) for k in range(count)]


def sample(cells: ImageSet, count: Count, *, seed: Seed = 0) -> ImageSet:
    """Draw some images of a set at random, each class in proportion: for a first look, not for a split.

    Args:
        cells: The set; without labels classes are ignored.
        count: How many; a smaller set is returned unchanged.
        seed: Chooses which.

    Returns:
        The images, in the order of the set.

    Examples:
        >>> cells = ImageSet(np.zeros((9, 8, 8, 3), np.uint8), [0] * 6 + [1] * 3)
        >>> sample(cells, 3).counts()
        {'0': 2, '1': 1}
    """
    check_arguments(sample, count=count, seed=seed)
    count, seed = plain((count, seed))
    if count >= len(cells):
        return cells
    labels = np.zeros(len(cells), np.int64) if cells.labels is None else cells.labels
    support = np.bincount(labels)
    counts = round_to(np.asarray(support * (count / len(cells)), np.float64), count)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == k))[:most] for k, most in enumerate(counts)]
    return cells.subset(np.sort(np.concatenate(drawn)))


def components(cells: ImageSet) -> NDArray[np.int64]:
    """Number the connected components of groups and clusters.

    Args:
        cells: N images, with or without groups and clusters.

    Returns:
        (N,) int64: images of one number must not be split across parts; numbered from 0 by first appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(cells)
    edges: list[NDArray[np.int64]] = []
    for column in (cells.groups, cells.clusters):
        if column is not None and count:
            _, first, which = np.unique(column, return_index=True, return_inverse=True)
            edges.append(np.stack([np.arange(count), first[which]]))
    if not edges:
        return np.arange(count)
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    numbers: Any = connected_components(graph, directed=False)[1]
    return _by_appearance(numbers)


def _by_appearance(numbers: NDArray[Any]) -> NDArray[np.int64]:
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[which]


def _classes(cells: ImageSet) -> tuple[NDArray[np.int64], int]:
    labels = np.zeros(len(cells), np.int64) if cells.labels is None else cells.labels
    return labels, max(1, cells.num_classes)


def _uncut(cells: ImageSet, component: NDArray[np.int64], part: str) -> str:
    """Say why nothing is left for a part."""
    units, bond, count = int(component.max()) + 1, _bond(cells), len(cells)
    fix = "load a set of other patients for it" if cells.groups is not None else "use other images for it"
    if units > 1:
        return (
            f"nothing is left for {part}: the {count:,} images are {units} groups (those of one {bond} stay together), "
            f"and no cut gives every part an image and training every class; {fix}"
        )
    some = f" {str(cells.groups[0])!r}" if cells.groups is not None and bond == "group" else ""
    return f"no {part} can be cut off: all {count:,} images are of one {bond}{some}; {fix}"


def _bond(cells: ImageSet) -> str:
    if cells.groups is None:
        return "cluster of duplicates"
    if cells.clusters is None or len(np.unique(cells.groups)) == 1:
        return "group"
    return "chain of groups and duplicates"


def _warn_of_empty(cells: ImageSet, found: Parts, fractions: dict[str, float]) -> None:
    """Warn of a part that was asked for and has no image; where groups are the reason, ``apply`` refuses it."""
    single = cells.labels is not None and max(cells.counts().values()) == 1
    for name, fraction in fractions.items():
        few = round(fraction * len(cells)) == 0
        if not fraction or len(getattr(found, name)) or not (few or single):
            continue
        why = f"{fraction:g} of {len(cells):,} images is less than one" if few else "each class has a single image"
        warnings.warn(f"{name} is empty: {why}", CellclfWarning, stacklevel=3)


def _lacking(cells: ImageSet, part: ImageSet, fraction: float) -> str:
    """Name the classes of which a part should have an image and has none."""
    counts, found = cells.counts(), part.counts()
    names = [name for name, count in counts.items() if round(fraction * count) and not found[name]]
    units = components(cells)
    told = []
    for name in names:
        assert cells.labels is not None
        patients = len(np.unique(units[cells.labels == cells.class_names.index(name)]))
        where = "all in one group, which is trained on" if patients == 1 else f"in {patients} groups"
        told.append(f"{name!r} ({counts[name]:,} images, {where})")
    return ", ".join(told)
