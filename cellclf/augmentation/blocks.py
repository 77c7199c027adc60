"""Run an augmenter's work in blocks of one size, compiled once where the backend can compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.program import Arrays
from cellclf.backends import current

Tensor = Any
Layout = tuple[tuple[int, int], ...]
"""For each stage its place among the steps and its number of AugMix chains, 0 for fused steps."""

BLOCK = 64
"""Images in one compiled call: batches of any size run as blocks of this many, so there is one compilation."""

_COMPILING = Lock()


def run_blocks(
    draw: Callable[[Any], Arrays],
    layout: Layout,
    images: NDArray[Any],
    ids: Sequence[object] | NDArray[Any],
    *,
    gpu: bool,
) -> NDArray[Any]:
    """Draw and apply block by block; the last one is filled up with images that have nothing to do.

    Args:
        draw: From the ids of a block to what is drawn for them.
        layout: The augmenter's stages.
        images: (N, H, W, 3) uint8 or float32, 0-255.
        ids: N ids.
        gpu: Whether it runs on a GPU, which is faster with all images of a block at once.

    Returns:
        A new array like ``images``.
    """
    from keras.ops import convert_to_numpy

    out = np.empty_like(images)
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK]
        drawn = draw(ids[start : start + BLOCK])
        missing = BLOCK - len(part)
        block = part
        if missing:
            block = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
            drawn = {k: np.concatenate([v, np.zeros((missing, *v.shape[1:]), v.dtype)]) for k, v in drawn.items()}
        out[start : start + BLOCK] = convert_to_numpy(_work(layout, block, drawn, gpu)(block, drawn))[: len(part)]
    return out


def run_whole(
    draw: Callable[[Any], Arrays], layout: Layout, images: Tensor, ids: Sequence[object] | NDArray[Any], *, gpu: bool
) -> Tensor:
    """Draw and apply in one call, to images that may be on a device and remain there.

    Args:
        draw: From the ids to what is drawn for them.
        layout: The augmenter's stages.
        images: (N, H, W, 3) uint8 or float32, 0-255, on whatever device.
        ids: N ids.
        gpu: As for ``run_blocks``.

    Returns:
        A tensor like ``images``.
    """
    drawn = draw(ids)
    return _work(layout, images, drawn, gpu)(images, drawn)


def _work(layout: Layout, images: Tensor, drawn: Arrays, gpu: bool) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
    shapes = tuple((name, str(value.dtype), tuple(value.shape)) for name, value in drawn.items())
    with _COMPILING:  # otherwise all threads of a pipeline that find nothing in the cache would compile
        return _compiled(layout, gpu, (str(images.dtype), tuple(images.shape), shapes))


@lru_cache(maxsize=32)
def _compiled(layout: Layout, gpu: bool, shapes: object) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
    """Compile for one layout.

    ``shapes`` is part of the key only: each function then has a single trace, and the cache's size limits the traces.
    """
    from cellclf.augmentation.kernels import engine

    def work(images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        return engine.apply(images, params, layout, together=gpu)

    return current().compiled(work)


def has_gpu() -> bool:
    """Return whether the backend would put work on a GPU."""
    return bool(current().gpus())
