"""Where in an image the cell is: a mask from its optical density alone, with a score of how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError
from cellclf.utils.results import Result

Tensor = Any

GRID = 40
"""Rows and columns on which the cell is looked for: smaller images keep their own."""

TRUSTED = 0.5
"""Trust from which on a mask is used."""

_BATCH = 64
_THRESHOLDS = 32
_NEAR = 0.2  # radius around the middle, in sides, in which the nucleus has to be met
_CYTOPLASM = 0.15  # most that the cell reaches beyond its nucleus, in sides: it ends red cells that touch it


@dataclass(frozen=True, eq=False, repr=False)
class ForegroundMasks(Result):
    """The cells of N images; made by ``foreground_masks``.

    Args:
        masks: (N, H, W) float32, 0-1: 1 inside of the cell, 0 outside, between them along its edge.
        trust: (N,) float32, 0-1.
    """

    masks: NDArray[np.float32]
    trust: NDArray[np.float32]

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """(N,) bool: whether a mask can be used."""
        return self.trust >= TRUSTED

    def __len__(self) -> int:
        return len(self.trust)

    def summary(self) -> str:
        """State for how many images there is a mask that can be used."""
        return f"ForegroundMasks: {len(self)} images, {int(self.trusted.sum())} with a mask to trust"


def foreground_masks(images: NDArray[np.uint8]) -> ForegroundMasks:
    """Find the cell in the middle of each image.

    A nucleus (or a platelet) takes away more red light than red cells, cytoplasm and the bright ground do. So the
    nucleus is what Otsu's threshold on the optical density of red gives, as far as it is connected with the middle.
    From there the mask grows over what differs from the ground in any colour, but not further than cytoplasm reaches,
    since red cells may touch it; then holes are filled.

    The trust is low where there is no such nucleus, where it is hardly darker than the rest or all edge, where the mask
    is tiny, fills the image, or runs along its border. Stains of another kind, and images without a
    cell, have a low trust.

    Args:
        images: (N, H, W, 3) uint8, 0-255, the cell in the middle.

    Returns:
        The masks and how far each can be trusted.

    Raises:
        DataError: Images of another shape or type.

    Examples:
        >>> image = np.full((1, 48, 48, 3), (240, 220, 200), np.uint8)
        >>> image[0, 16:32, 16:32] = (80, 40, 140)
        >>> found = foreground_masks(image)
        >>> found.masks[0, 24].round(1)[[0, 12, 24]].tolist(), bool(found.trusted[0])
        ([0.0, 0.0, 1.0], True)

    Source:
        Otsu 1979, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1); growing is geodesic
        dilation, Soille 2003, "Morphological Image Analysis". That azure-stained nuclei absorb red: the absorption of
        azure B is highest near 650 nm (Marshall 1978, "Romanowsky-type stains in haematology", Histochem. J. 10).
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(f"images are {images.dtype} of shape {images.shape}; expected uint8 0-255 of (N, H, W, 3)")
    masks, trust = np.empty(images.shape[:3], np.float32), np.empty(len(images), np.float32)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        masks[part], trust[part] = (np.asarray(found) for found in find_cells(images[part]))
    return ForegroundMasks(masks, trust)


def find_cells(images: Tensor) -> tuple[Tensor, Tensor]:
    """Find the cell in the middle of each image: pure `keras.ops`, jit-safe, shapes static; see `foreground_masks`.

    Args:
        images: (N, H, W, 3) uint8 or float32, 0-255.

    Returns:
        (N, H, W) float32 masks, 0-1, and (N,) float32 trust, 0-1.
    """
    from keras import ops

    _, height, width, _ = images.shape
    (down, up), (right, out) = _shrink(height), _shrink(width)
    levels = ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2))
    levels = ops.matmul(ops.matmul(down, levels), right.T)  # (N, 3, G, G): the mean of the pixels under each
    density = -ops.log((levels + 1) / 256)
    red = density[:, 0]
    nuclei, darker, apart = _otsu(red, ops.ones_like(red))
    ground = ops.mean(density, axis=1)
    bright = ops.cast(ground < ops.mean(ground, axis=(1, 2), keepdims=True), "float32")
    colour = ops.sum(density * bright[:, None], axis=(2, 3)) / (ops.sum(bright, axis=(1, 2))[:, None] + 1e-6)
    away = ops.maximum(density - colour[:, :, None, None], 0.0)  # a bright halo is ground
    away = ops.sqrt(ops.sum(ops.square(away), axis=1))
    deep = ops.sum(away * nuclei, axis=(1, 2)) / (ops.sum(nuclei, axis=(1, 2)) + 1e-6)
    # cytoplasm is pale: without the cut, the rims of nuclei would count as the stained class and it as ground
    stained, _, _ = _otsu(ops.minimum(away, 0.35 * deep[:, None, None]), 1 - nuclei)
    rows, columns = down.shape[0], right.shape[0]
    middle = ops.convert_to_tensor(_disc(rows, columns, _NEAR))
    nucleus = _grow(nuclei * middle, nuclei, rows + columns)
    cell = _grow(nucleus, ops.maximum(stained, nucleus), round(_CYTOPLASM * min(rows, columns)))
    core = _widest(_widest(-_widest(_widest(-cell))))
    cell = ops.maximum(_grow(nucleus, ops.maximum(core, nucleus), rows + columns), nucleus)  # thin bridges are cut ...
    cell = -_widest(-_widest(cell))  # ... and small gaps closed
    border = np.pad(np.zeros((rows - 2, columns - 2), np.float32), 1, constant_values=1)
    edge = ops.convert_to_tensor(border)
    cell = 1 - _grow((1 - cell) * edge, 1 - cell, rows + columns)  # what the outside does not reach is a hole
    share = ops.mean(cell, axis=(1, 2))
    near = _disc(rows, columns, 0.1)
    centre = ops.convert_to_tensor(near)
    compact = ops.sum(-_widest(-nucleus), axis=(1, 2)) / (ops.sum(nucleus, axis=(1, 2)) + 1e-6)  # what is not its rim
    trust = (
        _between(apart, 0.45, 0.65)
        * _between(darker, 0.12, 0.3)
        * _between(compact, 0.1, 0.25)
        * _between(ops.mean(nucleus, axis=(1, 2)), 0.008, 0.02)
        * (1 - _between(share, 0.6, 0.8))
        * (1 - _between(ops.sum(cell * edge, axis=(1, 2)) / float(border.sum()), 0.15, 0.4))
        * _between(ops.sum(cell * centre, axis=(1, 2)) / float(near.sum()), 0.3, 0.8)
    )
    soft = ops.matmul(ops.matmul(up, cell), out.T)
    return ops.clip(2.5 * soft - 0.5, 0.0, 1.0), trust  # the edge lies where a fifth of the square is cell


@lru_cache(maxsize=16)
def _shrink(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the matrices along one axis to the grid (means over areas) and back from it (linear between centres)."""
    count = min(GRID, side)
    ends = np.linspace(0, side, count + 1)
    low, high = np.arange(side), np.arange(side) + 1
    covered = np.minimum(high, ends[1:, None]) - np.maximum(low, ends[:-1, None])
    down = np.clip(covered, 0, None) / (side / count)
    place = np.clip((np.arange(side) + 0.5) * count / side - 0.5, 0, count - 1)
    back = np.clip(1 - abs(place[:, None] - np.arange(count)), 0, None)
    return down.astype(np.float32), back.astype(np.float32)


def _disc(rows: int, columns: int, radius: float) -> NDArray[np.float32]:
    """Mark what lies within a radius (in sides) around the middle."""
    y, x = (np.arange(rows) + 0.5) / rows - 0.5, (np.arange(columns) + 0.5) / columns - 0.5
    return (np.hypot(y[:, None], x[None]) <= radius).astype(np.float32)


def _otsu(values: Tensor, among: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut (N, G, G) values in two where the classes differ most.

    Args:
        values: (N, G, G) float32.
        among: (N, G, G) 0 or 1: which of them count.

    Returns:
        (N, G, G) 1 above the threshold; (N,) by how much the means differ; (N,) the share of the variance between
        the classes, 0-1.
    """
    from keras import ops

    n = values.shape[0]
    flat, counts = ops.reshape(values, (n, -1)), ops.reshape(among, (n, -1))
    low = ops.min(ops.where(counts > 0, flat, 1e3), axis=1)
    high = ops.max(ops.where(counts > 0, flat, -1e3), axis=1)
    total = ops.sum(counts, axis=1) + 1e-6
    mean = ops.sum(flat * counts, axis=1) / total
    steps = ops.convert_to_tensor(np.arange(1, _THRESHOLDS, dtype=np.float32) / _THRESHOLDS)
    thresholds = low[:, None] + (high - low)[:, None] * steps  # (N, T)
    above = counts[:, None] * ops.cast(flat[:, None] > thresholds[:, :, None], "float32")
    size = ops.sum(above, axis=2)
    sums = ops.sum(flat[:, None] * above, axis=2)
    differences = sums / (size + 1e-6) - ((mean * total)[:, None] - sums) / (total[:, None] - size + 1e-6)
    between = size * (total[:, None] - size) * ops.square(differences / total[:, None])
    best = ops.max(between, axis=1)
    chosen = ops.argmax(between, axis=1)[:, None]
    cut = ops.take_along_axis(thresholds, chosen, axis=1)[:, 0]
    difference = ops.take_along_axis(differences, chosen, axis=1)[:, 0]
    variance = ops.sum(ops.square(flat - mean[:, None]) * counts, axis=1) / total
    marked = ops.cast(values > ops.reshape(cut, (n, 1, 1)), "float32") * among
    return marked, difference, best / (variance + 1e-6)


def _widest(marked: Tensor) -> Tensor:
    """Give each place the highest value among it and its eight neighbours."""
    from keras import ops

    return ops.max_pool(marked[..., None], 3, 1, padding="same")[..., 0]


def _grow(marked: Tensor, within: Tensor, steps: int) -> Tensor:
    """Grow what is marked by its neighbours within an area, some steps or until nothing changes."""
    from keras import ops

    def body(k: Tensor, now: Tensor, changed: Tensor) -> tuple[Tensor, ...]:
        new = _widest(now) * within
        return k + 1, new, ops.any(new > now)

    _, found, _ = ops.while_loop(
        lambda k, now, changed: ops.logical_and(ops.less(k, steps), changed),
        body,
        (ops.zeros((), "int32"), marked * within, ops.any(within > 0)),
    )
    return found


def _between(value: Tensor, low: float, high: float) -> Tensor:
    """Give 0 below, 1 above, and a straight line between."""
    from keras import ops

    return ops.clip((value - low) / (high - low), 0.0, 1.0)
