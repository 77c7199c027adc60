"""Apply packed programs to images on the device: pure `keras.ops`, jit-safe, static shapes.

Between stages an image is (H * W,) int32, red << 16 | green << 8 | blue: resampling then reads one word a pixel, not
three, and levels are rounded after every stage, as if it were saved. On a CPU a stage goes through the images that
have work in it, one at a time: a step that one image in five gets costs a fifth, though all shapes are static, and an
image remains in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cellclf.augmentation.kernels import background as grounding
from cellclf.augmentation.kernels import colour as toning
from cellclf.augmentation.kernels import geometry as warping
from cellclf.augmentation.kernels import light as lighting
from cellclf.augmentation.kernels import masks as masking
from cellclf.augmentation.kernels import optics as filtering

Tensor = Any

STAGES: tuple[tuple[str, tuple[str, ...], Callable[..., Tensor], bool], ...] = (
    ("ground", ("shape",), grounding.exchange, True),
    ("warp", ("linear", "shift", "border", "fill"), warping.warp, True),
    ("tone", ("table", "matrix", "space", "statistic", "amount"), toning.tone, False),
    ("light", ("shape",), lighting.shade, True),
    ("kernel", ("weights",), filtering.convolve, True),
    ("sharp", ("factor",), filtering.sharpen, True),
    ("noise", ("deviation", "key"), filtering.add_noise, False),
    ("jpeg", ("quality",), filtering.jpeg, True),
    ("box", ("shape", "fill"), masking.paint_boxes, True),
    ("grid", ("shape", "fill"), masking.paint_grids, True),
)
"""Name, arrays, function, and whether it needs height and width; in the order of application."""


def apply(
    images: Tensor, params: Mapping[str, Tensor], layout: Sequence[tuple[int, int]], *, together: bool = True
) -> Tensor:
    """Apply an augmenter's stages to images.

    Args:
        images: (N, H, W, 3) uint8 or float32, 0-255.
        params: What `Augmenter.draw` gave.
        layout: For each stage its name in ``params`` and its number of AugMix chains, 0 for fused steps.
        together: All images at once; otherwise one after the other.

    Returns:
        (N, H, W, 3) of the type that came in.
    """
    from keras import ops

    images = ops.convert_to_tensor(images)
    if not layout:
        return images
    _, height, width, _ = images.shape
    # the cast to int32 cuts the fraction off, so that + 0.5 rounds
    levels = images if images.dtype == "uint8" else ops.clip(images + 0.5, 0, 255)
    packed = pack_pixels(levels)

    def under(prefix: str) -> dict[str, Tensor]:
        return {key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)}

    for place, chains in layout:
        work = partial(run, height=height, width=width, together=together)
        if chains:
            made = [work(packed, under(f"{place}/{chain}/")) for chain in range(chains)]
            packed = blend(packed, ops.convert_to_tensor(params[f"{place}/blend"]), made)
        else:
            packed = work(packed, under(f"{place}/"))
    return ops.cast(unpack_pixels(packed, height, width), images.dtype)


def pack_pixels(images: Tensor) -> Tensor:
    """Pack (N, H, W, 3) levels 0-255 to (N, H * W) int32."""
    from keras import ops

    n, height, width, _ = images.shape
    levels = ops.cast(images, "int32")
    packed = levels[..., 0] * 65536 + levels[..., 1] * 256 + levels[..., 2]
    return ops.reshape(packed, (n, height * width))


def unpack_pixels(packed: Tensor, height: int, width: int) -> Tensor:
    """Unpack (N, H * W) int32 to (N, H, W, 3) uint8."""
    from keras import ops

    levels = ops.cast(ops.stack(toning.channels(packed), axis=-1), "uint8")
    return ops.reshape(levels, (packed.shape[0], height, width, 3))


def run(packed: Tensor, arrays: Mapping[str, Tensor], *, height: int, width: int, together: bool) -> Tensor:
    """Run a program (`Program.arrays`) on (N, H * W) packed images.

    Args:
        packed: (N, H * W) int32.
        arrays: What `Program.arrays` gave, as tensors or numpy arrays.
        height: Pixels.
        width: Pixels.
        together: All images at once, which is faster on a GPU; otherwise those that have work, one after the other.
    """
    from keras import ops

    for name, fields, function, needs_size in STAGES:
        if f"{name}_count" in arrays:
            work = partial(function, height=height, width=width) if needs_size else function
            values = [ops.convert_to_tensor(arrays[f"{name}_{field}"]) for field in fields]
            count = ops.convert_to_tensor(arrays[f"{name}_count"])
            packed = work(packed, count, *values) if together else _one_by_one(packed, count, values, work)
    return packed


def _one_by_one(packed: Tensor, count: Tensor, values: list[Tensor], work: Callable[..., Tensor]) -> Tensor:
    """Do the work for those images that have any, each on its own.

    Shapes must be static, and the number of these images is not: so they are not selected, but sorted to the front of
    ``rows``, and a loop stops behind the last of them.
    """
    from keras import ops

    busy = ops.greater(count, 0)
    rows = ops.argsort(ops.where(busy, 0, 1))
    last = ops.sum(ops.cast(busy, "int32"))

    def body(k: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        row = ops.take(rows, k)

        def piece(array: Tensor) -> Tensor:
            # not ops.slice: XLA needs its start as a constant, and would compile again for every batch
            return ops.take(array, row, axis=0)[None]

        new = work(piece(packed), *(piece(v) for v in (count, *values)))
        return k + 1, ops.slice_update(done, ops.stack([row, ops.zeros_like(row)]), new)

    _, done = ops.while_loop(lambda k, done: ops.less(k, last), body, (ops.zeros((), "int32"), packed))
    return done


def blend(packed: Tensor, weights: Tensor, chains: Sequence[Tensor]) -> Tensor:
    """Average each image with the results of its chains.

    Args:
        packed: (N, H * W) int32.
        weights: (N, 1 + chains) float32 that sum to 1: of the image itself, then of each chain.
        chains: (N, H * W) int32 each.
    """
    from keras import ops

    sums: list[Tensor] = [0.0, 0.0, 0.0]
    for place, made in enumerate((packed, *chains)):
        weight = weights[:, place : place + 1]
        levels = (ops.cast(c, "float32") for c in toning.channels(made))
        sums = [total + weight * level for total, level in zip(sums, levels, strict=True)]
    return toning.join(*sums)
