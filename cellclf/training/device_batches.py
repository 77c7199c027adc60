"""DeviceBatches: augmented training batches that are made on the device, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.mixing import Mix
from cellclf.backends import current
from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError, OptionError
from cellclf.runs.features.cache import byte_count
from cellclf.training.batches import Batches
from cellclf.training.device_images import DeviceImages
from cellclf.training.drawn import Drawn
from cellclf.utils.parameters import Count, Seed, Whole, check_arguments, shortened

Tensor = Any


class DeviceBatches:
    """Augmented training batches that are made where the network is trained: on a GPU if Keras uses one.

    The images are copied to the device once, as uint8, and the host draws numbers only, ahead, in a thread: which
    images, and what happens to each. Gathering, augmenting and mixing them is one compiled function. The images are
    those that ``Augmenter`` gives on the host, and the order is that of a ``Trainer`` with the same ``seed``.

    All batches have one shape, so that what takes them is compiled once: the last of an epoch is filled up with images
    whose weight is 0. The weights of its others are raised for it, so that the mean of losses times weights over a
    batch is that over its images.

    Args:
        cells: The training images.
        augmenter: Changes them, each epoch anew; None leaves them as they are.
        batch_size: Images in a batch.
        seed: Of the order.
        weights: (N,) weight of each image in the loss; None is 1 for each.
        mix: Mixes the images, labels and weights of a batch.
        sampling: ``"balanced"`` gives as many images of each class; None gives each image once an epoch.
        limit: Pixels that the device holds at most: bytes, or a text such as ``"4GB"``. Of a larger set, blocks are
            copied ahead, and one line says so.

    Raises:
        DataError: No images, or weights or a sampling that do not fit them.
        OptionError: A value that cannot be used.

    Examples:
        >>> import cellclf as cc
        >>> cells = cc.make_cells(20, size=32)
        >>> batches = DeviceBatches(cells, cc.Augmenter.preset("light"), batch_size=8)
        >>> for images, labels, weights in batches.epoch(0):
        ...     print(tuple(images.shape), tuple(labels.shape), int((np.asarray(weights) > 0).sum()))
        (8, 32, 32, 3) (8, 8) 8
        (8, 32, 32, 3) (8, 8) 8
        (8, 32, 32, 3) (8, 8) 4
    """

    def __init__(
        self,
        cells: Cells,
        augmenter: Augmenter | None = None,
        *,
        batch_size: Count = 64,
        seed: Seed = 0,
        weights: ArrayLike | None = None,
        mix: Mix | None = None,
        sampling: Literal["balanced"] | None = None,
        limit: Annotated[int, Interval(ge=0, lt=2**63)] | str = "4GB",
    ) -> None:
        check_arguments(
            DeviceBatches,
            augmenter=augmenter,
            batch_size=batch_size,
            seed=seed,
            mix=mix,
            sampling=sampling,
            limit=limit,
        )
        self.cells = as_cells(cells)
        count = len(self.cells)
        if not count:
            raise DataError("there are no images to make batches of")
        if sampling is not None and self.cells.labels is None:
            raise DataError(f"sampling={sampling!r} needs labels, and this set has none")
        for what in (augmenter, mix):
            if isinstance(what, Augmenter):
                what.check(self.cells.image_shape)
            elif what is not None:
                what.check()
        given = np.ones(count, np.float32) if weights is None else np.asarray(weights)
        if given.shape != (count,) or given.dtype.kind not in "iuf" or not (np.isfinite(given) & (given >= 0)).all():
            raise DataError(
                f"weights={shortened(weights)}; expected {count:,} numbers of 0 or more, one for each image"
            )
        try:
            size = byte_count(limit)
        except OptionError:
            raise OptionError(
                f"limit={shortened(limit)}; expected a size such as '4GB', or a number of bytes"
            ) from None
        self._labelled = self.cells.labels is not None
        # a set without labels is one of a single class, whose labels are left out in the end
        known = self.cells if self._labelled else self.cells.replace(labels=np.zeros(count, int), class_names=["cell"])
        column = given.astype(np.float32)
        self._batches = Batches(known, augmenter, int(batch_size), column, int(seed), mix, sampling=sampling)
        self._drawn = Drawn(self._batches, DeviceImages(known, column, size))

    def __repr__(self) -> str:
        return f"DeviceBatches({self.cells!r}, {len(self)} batches of {self._batches.largest})"

    def __len__(self) -> int:
        """Give the number of batches of an epoch."""
        return self._batches.steps

    def epoch(self, number: Whole, start: Whole = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Give the batches of one epoch.

        Args:
            number: Each epoch has another order, and draws anew; the same number gives the same batches.
            start: Batches to skip, where an epoch goes on that was stopped.

        Returns:
            Images (n, H, W, 3) uint8, labels (n, K) float32, one-hot or mixed, and weights (n,) float32, as tensors of
            the backend on its device; None in place of the labels where the set has none.

        Raises:
            OptionError: A number that is none, or more batches to skip than there are.
        """
        check_arguments(DeviceBatches.epoch, number=number, start=start)
        if start > len(self):
            raise OptionError(f"start={start}; an epoch has {len(self)} batches")
        return self._epoch(int(number), int(start))

    def _epoch(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for held, drawn, _ in self._drawn.groups(number, start, 1):
            images, labels, weights, _ = self._make(held, drawn)
            yield images, labels if self._labelled else None, weights

    @cached_property
    def _make(self) -> Callable[..., tuple[Tensor, ...]]:
        def make(held: dict[str, Tensor], drawn: dict[str, Tensor]) -> tuple[Tensor, ...]:
            return self._drawn.make(held, {name: entries[0] for name, entries in drawn.items()})

        return current().compiled(make)
