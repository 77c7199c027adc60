"""Splitting a set into train, val and test: images of one patient, slide or duplicate stay in one part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.utils.parameters import Params, Seed, check_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence


Fraction = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class Parts:
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


class Split(Params):
    """Split a set into train, val and test: stratified by class; patients, slides and duplicates stay together.

    Images that share a group (patient, slide) or a cluster (duplicates) are joined into connected components, and
    no component is split across parts. Components are assigned largest first, each to the part that lacks most of its
    classes, so that each part comes as near as possible to its fraction of every class; without groups and clusters
    the fractions are exact to one image a class.

    Args:
        val: Fraction of the images for validation, 0 to below 1.
        test: Fraction of the images that is only reported, 0 to below 1.
        seed: Of the assignment; the same seed and set give the same split.

    Raises:
        OptionError: Fractions that leave nothing to train on (when the set is split).

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
        """Raise OptionError if the fractions cannot be used."""
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
        """
        cells = as_cells(cells, labels)
        self.check()
        part = _assign(cells, [1 - self.val - self.test, self.val, self.test], self.seed)
        return Parts(*(cells.subset(part == k) for k in range(3)))

    def folds(self, cells: Cells, count: int = 5) -> list[Parts]:
        """Split the set ``count`` times so that each image is in exactly one ``val`` (k-fold cross-validation).

        Args:
            cells: The set.
            count: Folds, at least 2; ``val`` and ``test`` of this Split are ignored.

        Returns:
            One Parts a fold; ``test`` is empty.
        """
        cells = as_cells(cells)
        if not 2 <= count <= max(2, len(cells)):
            raise OptionError(f"count={count} folds of {len(cells)} images; expected from 2 to {len(cells)}")
        part = _assign(cells, [1 / count] * count, self.seed)
        none = cells.subset([])
        return [Parts(cells.subset(part != k), cells.subset(part == k), none) for k in range(count)]


def sample(cells: ImageSet, count: int, *, seed: int = 0) -> ImageSet:
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
    if count < 1:
        raise OptionError(f"count is {count}; expected 1 image or more")
    if count >= len(cells):
        return cells
    labels = np.zeros(len(cells), np.int64) if cells.labels is None else cells.labels
    support = np.bincount(labels)
    counts = _round_to(np.asarray(support * (count / len(cells)), np.float64), count)
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


def _assign(cells: ImageSet, fractions: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Assign each image to a part; the first part takes what rounding leaves."""
    labels = np.zeros(len(cells), np.int64) if cells.labels is None else cells.labels
    classes = max(1, cells.num_classes)
    component = components(cells)
    sizes = np.bincount(component) if len(cells) else np.empty(0, np.int64)
    content = np.zeros((len(sizes), classes))
    np.add.at(content, (component, labels), 1)
    missing = _targets(np.bincount(labels, minlength=classes), fractions)

    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(sizes))
    assigned = np.zeros(len(sizes), np.int64)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    large = order[sizes[order] > 1]
    for number in large:
        part = int(np.argmax(_improvement(missing, content[number], fractions)))
        assigned[number] = part
        missing[part] -= content[number]
    single = order[sizes[order] == 1]
    label_of = content[single].argmax(1) if len(single) else np.empty(0, np.int64)
    for label in range(classes):
        free = single[label_of == label]
        room = np.maximum(missing[:, label], 0)
        counts = (
            _round_to(room / room.sum() * len(free), len(free))
            if room.sum()
            else _round_to(np.asarray(fractions) * len(free), len(free))
        )
        assigned[free] = np.repeat(np.arange(len(fractions)), counts)
    return assigned[component] if len(cells) else np.empty(0, np.int64)


def _targets(counts: NDArray[np.int64], fractions: Sequence[float]) -> NDArray[np.float64]:
    """How many images of each class each part should hold: (parts, classes), whole, summing to the counts."""
    return np.stack([_round_to(np.asarray(fractions) * count, int(count)) for count in counts], axis=1).astype(float)


def _round_to(exact: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round down and give what is left to the largest remainders (Hamilton's method)."""
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return whole


def _improvement(
    missing: NDArray[np.float64], content: NDArray[np.float64], fractions: Sequence[float]
) -> NDArray[np.float64]:
    """By how much a component lowers each part's squared lack of images, in units of the part's fraction."""
    scale = np.maximum(np.asarray(fractions), 1e-12)[:, None]
    before = (missing**2 / scale).sum(1)
    after = ((missing - content) ** 2 / scale).sum(1)
    return np.where(np.asarray(fractions) > 0, before - after, -np.inf)
