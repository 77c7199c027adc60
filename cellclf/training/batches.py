"""Training batches: images shuffled and augmented by keys (seed, epoch, id), so that timing changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.training.epoch_steps import Group
from cellclf.training.sampling import epoch_order, names_of

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter
    from cellclf.augmentation.mixing import Mix
    from cellclf.runs.features.cache import Features

_KEEP_DECODED = 1 << 30
"""Bytes of pixels up to which a set is held in memory."""
_GROUP_BYTES = 8 << 20
"""Bytes of features that are read at a time."""


@dataclass(frozen=True)
class Batches:
    """The batches of every epoch.

    The order follows from ``seed`` and the epoch, the augmentation of an image from its id and the epoch, so an
    epoch is the same whether or not the training was interrupted before.

    Args:
        cells: What is trained on, with labels.
        augmenter: Changes the images; None leaves them unchanged.
        batch_size: Images in a batch; the last one of an epoch holds those that are left over.
        weights: (N,) float32 weight of each image in the loss.
        seed: Of the order.
        mix: Mixes the images, labels and weights of a batch; None leaves them unchanged.
        views: 3 gives each image unchanged and in two augmented views in the same batch, as a consistency loss needs;
            1 gives one augmented view.
        features: Cached features that are given in place of the images; they are augmented already.
        sampling: ``"balanced"`` gives as many images of each class; None each image once.
        devices: How many devices share a batch: the last one is never smaller.
    """

    cells: ImageSet
    augmenter: Augmenter | None
    batch_size: int
    weights: NDArray[np.float32]
    seed: int
    mix: Mix | None = None
    views: int = 1
    features: Features | None = None
    sampling: str | None = None
    devices: int = 1

    def at_strength(self, factor: float) -> Batches:
        """Give the same batches with the augmenter's strength multiplied by a factor."""
        augmenter = self.augmenter
        return (
            self
            if augmenter is None
            else replace(self, augmenter=augmenter.replace(strength=augmenter.strength * factor))
        )

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self._ends)

    def images_in(self, steps: int) -> int:
        """Give how many images the first batches of an epoch hold."""
        return self._ends[steps - 1] if steps else 0

    @property
    def largest(self) -> int:
        """Images in the largest batch."""
        return max(after - before for before, after in itertools.pairwise((0, *self._ends)))

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """How many images of an epoch have been given after each of its batches."""
        count = len(self.cells)
        full, rest = divmod(count, self.batch_size)
        ends = [(k + 1) * self.batch_size for k in range(full)]
        if rest and (rest >= self.devices or not full):
            ends.append(count)
        elif rest:  # too few for all devices: the last batch takes them, too
            ends[-1] = count
        return tuple(ends)

    def _slice(self, step: int) -> slice:
        return slice(self._ends[step - 1] if step else 0, self._ends[step])

    def epoch(self, number: int, start: int = 0) -> Any:
        """Give the batches of one epoch, made ready ahead: (images or features, one-hot labels, weights) each.

        Args:
            number: Counted over all stages, so that no two epochs are alike.
            start: Batches to skip.

        Returns:
            On TensorFlow a ``tf.data.Dataset``, else an iterable of arrays.
        """
        if self.features is None:
            make, dtype = self._batches, np.dtype(np.uint8)
        else:
            make, dtype = self._single, self.features.cache.dtype
        shape = self.cells.image_shape if self.features is None else self.features.shape
        sizes = {now.stop - now.start for now in map(self._slice, range(self.steps))}
        rows = sizes.pop() * self.views if len(sizes) == 1 else None
        entries = (((rows, *shape), dtype), ((rows, self.cells.num_classes), np.float32), ((rows,), np.float32))
        return current().batches(lambda: make(number, start), entries, self.steps - start)

    def chosen(self, number: int, start: int = 0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.str_]]]:
        """Give the rows of one batch after the other, and the names by which they are augmented.

        Args:
            number: As for ``epoch``.
            start: Batches to skip.
        """
        labels = self.cells.labels
        assert labels is not None
        order = epoch_order(labels, self.seed, number, self.sampling)
        names = names_of(self.cells.ids, order)
        for step in range(start, self.steps):
            now = self._slice(step)
            yield order[now], names[now]

    def _batches(self, number: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """Give images, labels and weights of one batch after the other."""
        labels = self.cells.labels
        classes = np.eye(self.cells.num_classes, dtype=np.float32)
        assert labels is not None
        for rows, ids in self.chosen(number, start):
            images, targets, weights = self._images(rows, ids, number), classes[labels[rows]], self.weights[rows]
            if self.mix is not None:
                from keras.ops import convert_to_numpy

                wide = np.concatenate([targets, weights[:, None]], axis=1)
                drawn = self.mix.draw(ids, number)
                mixed, wide = (convert_to_numpy(found) for found in self.mix.apply(images, wide, drawn))
                images, targets, weights = np.rint(mixed).astype(np.uint8), wide[:, :-1], wide[:, -1]
            yield images, np.tile(targets, (self.views, 1)), np.tile(weights, self.views)

    def _single(self, number: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """Give cached features, labels and weights of one batch after the other."""
        for group in self.groups(number, start, group_size=1):
            yield tuple(entries[0] for entries in group)

    def groups(self, number: int, start: int = 0, group_size: int | None = None) -> Iterator[Group]:
        """Give the batches of one epoch from the cache, several at a time: a call costs more than a small batch.

        Args:
            number: As for ``epoch``.
            start: Batches to skip.
            group_size: Batches at a time; None for some megabytes of them.

        Returns:
            (g, n, ...) features, (g, n, K) one-hot labels and (g, n) weights of g batches of n; a smaller last batch
            is a group of its own.
        """
        features, labels = self.features, self.cells.labels
        assert features is not None and labels is not None
        cached = features.cache.open()
        classes = np.eye(self.cells.num_classes, dtype=np.float32)
        order = epoch_order(labels, self.seed, number, self.sampling)
        places = features.choose(order, names_of(self.cells.ids, order), self.seed, number)
        sizes = [now.stop - now.start for now in map(self._slice, range(self.steps))]
        group_size = group_size or max(1, _GROUP_BYTES // (sizes[0] * cached[:1].nbytes))
        alike = sum(size == sizes[0] for size in sizes)  # all but perhaps the last
        starts = [*range(start, alike, group_size), *range(max(start, alike), self.steps)]
        for first, following in zip(starts, [*starts[1:], self.steps], strict=True):
            now = slice(self._slice(first).start, self._slice(following - 1).stop)
            rows, size = order[now], sizes[first]
            yield (
                np.asarray(cached[places[now]]).reshape(-1, size, *features.shape),
                classes[labels[rows]].reshape(-1, size, len(classes)),
                self.weights[rows].reshape(-1, size),
            )

    def _images(self, rows: NDArray[np.int64], ids: NDArray[np.str_], number: int) -> NDArray[np.uint8]:
        images = self.cells.read(rows)
        if self.augmenter is None:
            return images
        if self.views == 1:
            return self.augmenter(images, ids, number)
        views = (self.augmenter(images, names, number) for names in self.view_names(ids))
        return np.concatenate([images, *views])

    def view_names(self, ids: NDArray[np.str_]) -> list[NDArray[np.str_]]:
        """Give the names by which each augmented view of some images is drawn."""
        return [ids] if self.views == 1 else [np.char.add(ids, f"/view{k}") for k in range(1, self.views)]


def check_accumulate(accumulate: int, steps: int) -> None:
    """Refuse steps of more batches than an epoch has, which most epochs would end without.

    Args:
        accumulate: Batches that make one step.
        steps: Batches of an epoch.

    Raises:
        OptionError: More than there are.

    Examples:
        >>> check_accumulate(4, 10)
    """
    if accumulate > steps:
        raise OptionError(
            f"accumulate={accumulate} batches make one step, and an epoch has {steps}; expected accumulate={steps} or "
            "less, a smaller batch_size, or more images"
        )


def altered_copy(cells: ImageSet, augmenter: Augmenter) -> ImageSet:
    """Make an altered copy of a set, always the same: a choice made on it also holds for other microscopes.

    Args:
        cells: The images.
        augmenter: Alters them; its epoch 0 is used.

    Returns:
        A set in memory with the same ids and labels.
    """
    altered = np.empty((len(cells), *cells.image_shape), np.uint8)
    for start in range(0, len(cells), 256):
        part = cells[start : start + 256]
        altered[start : start + 256] = augmenter(part.images, part.ids)
    return ImageSet(altered, cells.labels, class_names=cells.class_names, ids=cells.ids)


def in_memory(cells: ImageSet) -> ImageSet:
    """Decode a set once if its pixels fit in a gigabyte, so that no epoch decodes it again."""
    if len(cells) * int(np.prod(cells.image_shape)) > _KEEP_DECODED:
        return cells
    return ImageSet(
        cells.images,
        cells.labels,
        class_names=cells.class_names,
        ids=cells.ids,
        groups=cells.groups,
        domains=cells.domains,
        clusters=cells.clusters,
        sizes=cells.sizes,
    )
