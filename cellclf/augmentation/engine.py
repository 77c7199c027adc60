"""Apply packed programs to pictures on the device: pure `keras.ops`, jit-safe, static shapes.

Between stages a picture is (H * W,) int32, red << 16 | green << 8 | blue: a third of the reads when it is
resampled. A stage sorts the batch by how much work each picture has and walks through the ones that have
any, a few at a time; so a step that one picture in five draws costs a fifth, though all shapes are static.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cellclf.augmentation import filtering, masking, toning, warping

Tensor = Any

STAGES: tuple[tuple[str, tuple[str, ...], Callable[..., Tensor], bool], ...] = (
    ("warp", ("linear", "shift", "border", "fill"), warping.warp, True),
    ("tone", ("table", "matrix", "space", "statistic", "amount"), toning.tone, False),
    ("kernel", ("weights",), filtering.convolve, True),
    ("sharp", ("factor",), filtering.sharpen, True),
    ("noise", ("deviation", "key"), filtering.add_noise, False),
    ("jpeg", ("quality",), filtering.jpeg, True),
    ("box", ("shape", "fill"), masking.paint_boxes, True),
    ("grid", ("shape", "fill"), masking.paint_grids, True),
)
"""Name, arrays, function, and whether it must know height and width; in the order of application."""


def apply(
    images: Tensor, params: Mapping[str, Tensor], layout: Sequence[tuple[int, int]], *, chunk: int | None = None
) -> Tensor:
    """Apply an augmenter's stages to pictures.

    Args:
        images: (N, H, W, 3) uint8 or float32, 0-255.
        params: What `Augmenter.draw` gave.
        layout: For each stage its name in ``params`` and its number of AugMix chains, 0 for fused steps.
        chunk: Pictures worked on together; None is all.

    Returns:
        (N, H, W, 3) of the type that came in.
    """
    from keras import ops

    images = ops.convert_to_tensor(images)
    if not layout:
        return images
    n, height, width, _ = images.shape
    levels = images if images.dtype == "uint8" else ops.clip(images + 0.5, 0, 255)
    packed = pack_pixels(levels)

    def under(prefix: str) -> dict[str, Tensor]:
        return {key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)}

    for place, chains in layout:
        work = partial(run, height=height, width=width, chunk=n if chunk is None else chunk)
        if chains:
            made = [work(packed, under(f"{place}/{chain}/")) for chain in range(chains)]
            packed = blend(packed, params[f"{place}/blend"], made)
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


def run(packed: Tensor, arrays: Mapping[str, Tensor], *, height: int, width: int, chunk: int) -> Tensor:
    """Run a program (`Program.arrays`) on (N, H * W) packed pictures.

    Args:
        packed: (N, H * W) int32.
        arrays: What `Program.arrays` gave, as tensors or numpy arrays.
        height: Pixels.
        width: Pixels.
        chunk: Pictures at a time in a stage; a few on a CPU (they stay in its cache), all on a GPU.
    """
    for name, fields, function, needs_size in STAGES:
        if f"{name}_count" in arrays:
            work = partial(function, height=height, width=width) if needs_size else function
            values = [arrays[f"{name}_{field}"] for field in fields]
            packed = _busy(packed, arrays[f"{name}_count"], values, work, chunk)
    return packed


def _busy(packed: Tensor, count: Tensor, values: list[Tensor], work: Callable[..., Tensor], chunk: int) -> Tensor:
    """Do the work for those pictures that have any, the ones with most first, ``chunk`` at a time."""
    from keras import ops

    n = packed.shape[0]
    chunk = min(chunk, n)
    if chunk == n:
        return work(packed, ops.convert_to_tensor(count), *(ops.convert_to_tensor(v) for v in values))
    order = ops.argsort(-ops.convert_to_tensor(count))
    source, count, *values = (ops.take(ops.convert_to_tensor(v), order, axis=0) for v in (packed, count, *values))
    active = ops.sum(ops.cast(ops.greater(count, 0), "int32"))

    def body(first: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        # the last chunk is moved back to fit: it reads the untouched source, so twice is not too often
        start = ops.minimum(first, n - chunk)
        pieces = [
            ops.slice(v, ops.stack([start] + [ops.zeros_like(start)] * (len(v.shape) - 1)), (chunk, *v.shape[1:]))
            for v in (source, count, *values)
        ]
        new = work(*pieces)
        return first + chunk, ops.slice_update(done, ops.stack([start, ops.zeros_like(start)]), new)

    _, done = ops.while_loop(lambda first, done: ops.less(first, active), body, (ops.zeros((), "int32"), source))
    return ops.take(done, ops.argsort(order), axis=0)


def blend(packed: Tensor, shares: Tensor, chains: Sequence[Tensor]) -> Tensor:
    """Average each picture with what chains made of it.

    Args:
        packed: (N, H * W) int32.
        shares: (N, 1 + chains) float32 that sum to 1: of the picture itself, then of each chain.
        chains: (N, H * W) int32 each.
    """
    from keras import ops

    sums: list[Tensor] = [0.0, 0.0, 0.0]
    for place, made in enumerate((packed, *chains)):
        share = shares[:, place : place + 1]
        levels = (ops.cast(c, "float32") for c in toning.channels(made))
        sums = [total + share * level for total, level in zip(sums, levels, strict=True)]
    return toning.join(*sums)
