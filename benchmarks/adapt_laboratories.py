"""Pretended laboratories: the cells on which a run was chosen, as five other laboratories would show them.

Each one takes its own part of the cells, in its own mix of classes, on three slides whose light and stain differ. What
is done to the images lies outside the ranges of the augmentation presets, so that the run has met nothing like it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from cellclf import ImageSet

Images = np.ndarray
SIDE = 96


@dataclass(frozen=True)
class Laboratory:
    """A pretended laboratory.

    Args:
        name: What it is called in tables.
        picture: Changes one (96, 96, 3) float image 0-1; takes the image, others to borrow neighbours from, and a rng.
        counts: Cells of each class, in the run's order; at most so many are there.
        removed: Name of a class that the run is made to have never heard of; None leaves the run as it is.
    """

    name: str
    picture: Callable[[Images, Images, np.random.Generator], Images]
    counts: tuple[int, ...]
    removed: str | None = None
    slides: int = field(default=3)


def resized(image: Images, factor: float) -> Images:
    """Scale an image by a factor, bilinear on a smoothed copy where it shrinks."""
    if factor < 1:
        image = ndimage.gaussian_filter(image, (0.35 / factor, 0.35 / factor, 0))
    return np.clip(ndimage.zoom(image, (factor, factor, 1), order=1, grid_mode=True, mode="nearest"), 0, 1)


def shrunk(image: Images, others: Images, rng: np.random.Generator, factor: float) -> Images:
    """Show a cell at a smaller scale, among the cells and red cells of other images."""
    small = [resized(others[k], factor) for k in rng.choice(len(others), 6, replace=False)]
    side = small[0].shape[0]
    canvas = np.zeros((3 * side, 3 * side, 3))
    for place in range(9):
        down, right = divmod(place, 3)
        tile = small[int(rng.integers(len(small)))]
        canvas[down * side : (down + 1) * side, right * side : (right + 1) * side] = np.rot90(tile, rng.integers(4))
    start = (3 * side - SIDE) // 2
    canvas = canvas[start : start + SIDE, start : start + SIDE]
    cell = resized(image, factor)
    far = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, side)] * 2))
    weight = np.clip((1.08 - far) / 0.16, 0, 1)[:, :, None]
    top, left = (SIDE - side) // 2 + rng.integers(-4, 5, 2)
    window = canvas[top : top + side, left : left + side]
    window[:] = weight * cell + (1 - weight) * window
    return canvas


def zoomed(image: Images, factor: float) -> Images:
    """Show a cell so large that its rim lies outside."""
    large = resized(image, factor)
    start = (large.shape[0] - SIDE) // 2
    return large[start : start + SIDE, start : start + SIDE]


def blurred(image: Images, radius: float) -> Images:
    """Put an image out of focus: a disc of that radius."""
    reach = int(np.ceil(radius))
    far = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc = np.clip(radius + 0.5 - far, 0, 1)
    return ndimage.convolve(image, (disc / disc.sum())[:, :, None], mode="reflect")


def mixed(image: Images, matrix: list[list[float]], white: tuple[float, float, float], gamma: float = 1.0) -> Images:
    """Mix what each channel absorbs (optical density) into others: another stain, another camera."""
    density = -np.log(np.clip(image, 0.02, 1))
    return np.clip(np.asarray(white) * np.exp(-(density @ np.asarray(matrix))) ** gamma, 0, 1)


def foreground(image: Images) -> Images:
    """Weigh each pixel by how dark or stained it is: what is no background, softly."""
    ground = np.quantile(image.mean(2), 0.9)
    away = np.abs(image - np.quantile(image.reshape(-1, 3), 0.85, axis=0)).sum(2)
    return ndimage.gaussian_filter(np.clip((away - 0.12) / 0.25, 0, 1) * (image.mean(2) < 1.05 * ground), 0.7)


def _half(image: Images, others: Images, rng: np.random.Generator) -> Images:
    found = shrunk(image, others, rng, 0.5 * rng.uniform(0.95, 1.05))
    return mixed(found, [[0.9, 0.05, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 1.0]], (0.92, 0.93, 0.98))


def _large(image: Images, others: Images, rng: np.random.Generator) -> Images:
    found = blurred(zoomed(image, 1.8 * rng.uniform(0.95, 1.05)), rng.uniform(3.2, 4.2))
    return mixed(found, [[0.8, 0.1, 0.0], [0.25, 0.7, 0.15], [0.1, 0.0, 0.6]], (0.9, 0.86, 0.82))


def _optics(image: Images, others: Images, rng: np.random.Generator) -> Images:
    stained = mixed(image, [[0.35, 0.3, 0.1], [0.5, 0.35, 0.25], [0.05, 0.25, 0.7]], (0.8, 0.93, 0.84), 1.25)
    shifted = np.stack(
        [ndimage.shift(stained[:, :, k], (s, -s), order=1, mode="nearest") for k, s in enumerate((-1.2, 0, 1.2))], 2
    )
    found = blurred(shifted, 2.4)
    down, right = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    light = 1 - 0.5 * (down * 0.7 + right * 0.3 + 0.4 * (down**2 + right**2))
    return found * light[:, :, None] + rng.normal(0, 0.05, found.shape)


def _ground(image: Images, others: Images, rng: np.random.Generator) -> Images:
    weight = foreground(image)
    labelled, _ = ndimage.label(weight > 0.3)
    middle = labelled[SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8]
    main = np.bincount(middle[middle > 0].ravel()).argmax() if (middle > 0).any() else -1
    cell = ndimage.gaussian_filter(
        ndimage.binary_fill_holes(ndimage.binary_dilation(labelled == main, iterations=2)).astype(float), 1
    )
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 3)
    ground = np.asarray((0.62, 0.66, 0.70)) + 0.9 * texture[:, :, None]
    for _ in range(rng.integers(4, 9)):  # dark round neighbours, as in a dense marrow
        place, radius = rng.uniform(0, SIDE, 2), rng.uniform(9, 16)
        if np.hypot(*(place - SIDE / 2)) < radius + 16:
            continue
        far = np.hypot(*(np.mgrid[0:SIDE, 0:SIDE] - place[:, None, None]))
        inside = np.clip(radius - far, 0, 1)[:, :, None]
        ground = ground * (1 - inside) + inside * np.asarray((0.38, 0.30, 0.48))
    found = resized(cell[:, :, None] * image + (1 - cell[:, :, None]) * ground, 1.35)
    start = (found.shape[0] - SIDE) // 2
    found = ndimage.uniform_filter1d(found[start : start + SIDE, start : start + SIDE], 9, axis=1)
    found = found + rng.normal(0, 0.04, found.shape)
    return mixed(found, [[0.3, 0.35, 0.4], [0.1, 0.35, 0.4], [0.5, 0.1, 0.3]], (0.97, 0.90, 0.84), 0.8)


def _faded(image: Images, others: Images, rng: np.random.Generator) -> Images:
    found = shrunk(image, others, rng, 0.72 * rng.uniform(0.95, 1.05))
    grey = found.mean(2, keepdims=True)
    faded = 0.36 + 0.5 * (0.55 * found + 0.45 * grey)
    return blurred(faded + np.asarray((-0.04, 0.0, 0.05)), 1.5) + rng.normal(0, 0.02, found.shape)


LABORATORIES = (
    #                          baso eosi eryt imma lymp mono neut plat
    Laboratory("half scale", _half, (20, 50, 40, 60, 80, 60, 200, 60)),
    Laboratory("large, blurred", _large, (15, 60, 40, 40, 90, 50, 220, 40)),
    Laboratory("optics, 5 classes", _optics, (0, 60, 0, 60, 80, 50, 200, 0)),
    Laboratory("background", _ground, (30, 80, 60, 80, 60, 50, 120, 60)),
    Laboratory("new class", _faded, (30, 70, 50, 70, 60, 60, 150, 60), removed="monocyte"),
)


def pretend(cells: ImageSet, laboratory: Laboratory, place: int, *, seed: int = 0) -> ImageSet:
    """Show some cells as a pretended laboratory does.

    Args:
        cells: The cells on which the run was chosen, with labels in its order.
        laboratory: How.
        place: Which of the laboratories it is: they begin at other cells.
        seed: Of the choice and of everything drawn.
    """
    rng = np.random.default_rng([seed, place])
    rows = []
    for label, count in enumerate(laboratory.counts):
        every = np.random.default_rng([seed, label]).permutation(np.flatnonzero(cells.labels == label))
        rows.append(np.roll(every, -place * len(every) // len(LABORATORIES))[:count])
    chosen = rng.permutation(np.concatenate(rows))
    lent = cells.read(rng.permutation(np.flatnonzero(cells.labels == cells.class_names.index("platelet")))[:60]) / 255
    slides = rng.integers(laboratory.slides, size=len(chosen))
    gains = rng.normal(1, 0.04, (laboratory.slides, 3))
    powers = np.exp(rng.normal(0, 0.12, laboratory.slides))
    images = np.empty((len(chosen), SIDE, SIDE, 3), np.uint8)
    for k, image in enumerate(cells.read(chosen) / 255):
        changed = np.clip(laboratory.picture(image, lent, rng), 0, 1) ** powers[slides[k]] * gains[slides[k]]
        images[k] = np.rint(255 * np.clip(changed, 0, 1))
    return ImageSet(
        images,
        cells.labels[chosen],
        class_names=cells.class_names,
        ids=cells.ids[chosen],
        groups=[f"slide {k}" for k in slides],
    )
