"""Training images in the memory of the device, where they fit; else blocks of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.program import Arrays
from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.runs.features.cache import size_text
from cellclf.utils.device_memory import is_out_of_memory
from cellclf.utils.log import logger

LIMIT = 4_000_000_000
"""Bytes of pixels that are held on a device, unless another limit is given."""


@dataclass(eq=False)
class DeviceImages:
    """The images, labels and weights of a training set, for a device.

    Args:
        cells: The set, with labels.
        weights: (N,) float32.
        limit: Bytes of pixels up to which they are all copied to the device, once.
    """

    cells: ImageSet
    weights: NDArray[np.float32]
    limit: int = LIMIT
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def held(self) -> dict[str, Any] | None:
        """What is on the device; None where it does not fit, which is then reported in a line, once."""
        with self._lock:
            return self._held

    @cached_property
    def _held(self) -> dict[str, Any] | None:
        size = len(self.cells) * int(np.prod(self.cells.image_shape))
        reason = f"limit={size_text(self.limit)}"
        if size <= self.limit:
            try:
                return current().place(self._arrays(np.arange(len(self.cells))))
            except Exception as error:  # each backend has its own for this
                if not is_out_of_memory(error):
                    raise
                reason = "the memory that the device has left"
        logger.warning(f"{size_text(size)} of images are more than {reason}: blocks of them are copied to the device")
        return None

    def block(self, rows: Sequence[NDArray[np.int64]], size: int) -> tuple[Arrays, list[NDArray[np.int32]]]:
        """Read the images of some batches.

        Args:
            rows: Places in the set, of each batch.
            size: Images in a block, so that all have one shape.

        Returns:
            The arrays that are held in place of all, and the places in them, of each batch.
        """
        everyone = np.concatenate(rows)
        arrays = self._arrays(everyone)
        missing = size - len(everyone)
        if missing:
            arrays = {k: np.concatenate([v, np.zeros((missing, *v.shape[1:]), v.dtype)]) for k, v in arrays.items()}
        places = np.split(np.arange(len(everyone), dtype=np.int32), np.cumsum([len(one) for one in rows])[:-1])
        return arrays, places

    def _arrays(self, rows: NDArray[np.int64]) -> Arrays:
        labels = self.cells.labels
        assert labels is not None
        images = np.ascontiguousarray(self.cells.read(rows))
        return {"images": images, "labels": labels[rows].astype(np.int32), "weights": self.weights[rows]}
