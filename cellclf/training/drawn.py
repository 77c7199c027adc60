"""Training batches in two parts: what the host draws, ahead, and what the device makes of it in a compiled step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.blocks import has_gpu
from cellclf.augmentation.program import Arrays
from cellclf.backends import current
from cellclf.backends.prefetch import Prefetched
from cellclf.backends.protocol import Group
from cellclf.training.batches import Batches
from cellclf.training.device_images import DeviceImages

Tensor = Any


@dataclass(frozen=True, eq=False)
class Drawn:
    """The batches of ``Batches``, made on the device: the same images in the same order.

    Args:
        batches: Which images, and what happens to them.
        images: Holds them.
        exact: Leaves the last batch of an epoch as small as it is, where a layer looks at the whole batch, such as
            BatchNorm that learns. Else it is filled up with rows that count nothing, so that all have one shape.
    """

    batches: Batches
    images: DeviceImages
    exact: bool = False

    def draw(self, rows: NDArray[np.int64], ids: NDArray[np.str_], number: int) -> Arrays:
        """Draw what happens to the images of a batch.

        Args:
            rows: (n,) their places in the set.
            ids: (n,) the names by which they are augmented.
            number: Of the epoch, as for ``Batches.epoch``.

        Returns:
            Arrays whose first axis is the image.
        """
        batches = self.batches
        drawn: Arrays = {"rows": rows.astype(np.int32), "real": np.ones(len(rows), np.float32)}
        if batches.augmenter is not None:
            for view, names in enumerate(batches.view_names(ids)):
                drawn |= _under(f"view{view}", batches.augmenter.draw(names, number))
        return drawn if batches.mix is None else drawn | _under("mix", batches.mix.draw(ids, number))

    def make(self, held: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Make a batch: pure `keras.ops`, of static shapes.

        Args:
            held: ``images`` (N, H, W, 3) uint8, ``labels`` (N,) int32, ``weights`` (N,) float32.
            drawn: What ``draw`` gave; more rows may be there, whose ``real`` is 0.

        Returns:
            Images (n, H, W, 3) uint8, labels (n, K), weights (n,), and (n,) 1 for rows that count, else 0; n is
            ``views`` times as large where there are several. Weights are raised in a batch that is filled up, so that
            their mean with anything is that of the rows that count.
        """
        from keras import ops

        batches = self.batches
        rows, real = drawn["rows"], drawn["real"]
        images = ops.take(held["images"], rows, axis=0)
        labels = ops.one_hot(ops.take(held["labels"], rows, axis=0), batches.cells.num_classes, dtype="float32")
        weights = ops.take(held["weights"], rows, axis=0)
        if batches.augmenter is not None:
            views = [
                batches.augmenter.apply(images, _of(f"view{view}", drawn), together=has_gpu())
                for view in range(max(1, batches.views - 1))
            ]
            images = views[0] if batches.views == 1 else ops.concatenate([images, *views])
        if batches.mix is not None:
            wide = ops.concatenate([labels, weights[:, None]], axis=1)
            mixed, wide = batches.mix.apply(images, wide, _of("mix", drawn))
            images, labels, weights = ops.cast(ops.round(mixed), "uint8"), wide[:, :-1], wide[:, -1]
        weights = weights * real * (real.shape[0] / ops.sum(real))
        if batches.views > 1:
            labels = ops.tile(labels, (batches.views, 1))
            weights, real = ops.tile(weights, (batches.views,)), ops.tile(real, (batches.views,))
        return images, labels, weights, real

    def groups(self, number: int, start: int, size: int, extra: Mapping[str, NDArray[Any]] | None = None) -> Prefetched:
        """Draw one epoch ahead, in a thread, and copy it to the device.

        Args:
            number: As for ``Batches.epoch``.
            start: Batches to skip.
            size: Batches in a group; the last may hold fewer.
            extra: Name -> a further number for each batch of the epoch.

        Returns:
            ``Group``s, in each loop over them anew.
        """
        rest = range(start, self.batches.steps)
        return Prefetched(lambda: self._groups(number, rest, size, extra or {}), len(rest))

    def _groups(self, number: int, rest: range, size: int, extra: Mapping[str, NDArray[Any]]) -> Iterator[Group]:
        place = current().place
        following = zip(rest, self.batches.chosen(number, rest.start), strict=True)
        for _, alike in itertools.groupby(following, lambda one: self._rows_of(len(one[1][0]))):
            while some := list(itertools.islice(alike, size)):
                rows = [chosen for _, (chosen, _) in some]
                drawn = [self.draw(chosen, ids, number) for _, (chosen, ids) in some]
                for one, (step, _) in zip(drawn, some, strict=True):
                    one |= {name: column[step] for name, column in extra.items()}
                held = self.images.held
                if held is None:
                    block, places = self.images.block(rows, size * self._rows_of(len(rows[0])))
                    held = place(block)
                    for one, own in zip(drawn, places, strict=True):
                        one["rows"] = own
                yield held, place(_stacked(drawn, size, self._rows_of(len(rows[0])))), len(some)

    def _rows_of(self, count: int) -> int:
        """Give how many rows a batch of so many images has."""
        return count if self.exact else max(count, self.batches.largest)


def _under(place: str, arrays: Arrays) -> Arrays:
    return {f"{place}/{name}": array for name, array in arrays.items()}


def _of(place: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{place}/"): array for name, array in arrays.items() if name.startswith(f"{place}/")}


def _stacked(drawn: list[Arrays], batches: int, rows: int) -> Arrays:
    """Stack what was drawn for some batches, filled up to so many of so many rows.

    Rows that are added show the first image of the batch with nothing to do to it, since counts of work are 0.
    """
    out = {}
    for name, first in drawn[0].items():
        if not first.shape:  # one number for the batch
            out[name] = np.zeros(batches, first.dtype)
            out[name][: len(drawn)] = [one[name] for one in drawn]
            continue
        out[name] = np.zeros((batches, rows, *first.shape[1:]), first.dtype)
        for k, one in enumerate(drawn):
            out[name][k, : len(one[name])] = one[name]
            if name == "rows":
                out[name][k, len(one[name]) :] = one[name][0]
    return out
