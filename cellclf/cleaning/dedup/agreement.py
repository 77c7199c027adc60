"""How well two images that were laid onto each other agree, where both show something of their own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.polar import SIDE, Floats, interpolated
from cellclf.utils.colour import LUMA

Masks = NDArray[np.bool_]

MIDDLE = 0.37
"""Radius, in sides, that no border reaches which the changes searched for leave."""
WHITE = 252.0
"""From here on a value may have been cut off by a brightening."""
GAINS = (0.2, 5.0)
"""Least and largest change of brightness."""

_BLOCK, _FILLED = 6, 0.25  # side of a block in pixels; the share of the blocks that such a border may cover


@dataclass(frozen=True)
class Alignments:
    """How the second image of each pair lies on the first, and how well.

    A point (right, down) of the first, measured from its middle in sides of the image, is found in the second at
    ``zoom * R(angle) (right, flip * down) + shift``.

    Args:
        zoom: (n,) float32.
        angle: (n,) float32, radians from right towards down.
        mirrored: (n,) bool, True flips ``down`` first.
        shift: (n, 2) float32, right and down, in sides.
        gain: (n,) float32, so many times brighter the second is.
        overlap: (n,) float32, share of the first that was compared, 0-1.
        detail: (n,) float32, correlation of the gradients there, -1 to 1.
        colour: (n,) float32, share of what the three colours show there that one gain and one offset for all of them
            explain, up to 1.
        contrast: (n,) float32, standard deviation of the brightness there, in grey levels.
    """

    zoom: Floats
    angle: Floats
    mirrored: Masks
    shift: Floats
    gain: Floats
    overlap: Floats
    detail: Floats
    colour: Floats
    contrast: Floats

    def __len__(self) -> int:
        return len(self.zoom)

    def __getitem__(self, which: NDArray[Any]) -> Self:
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def none(cls) -> Self:
        """No alignments."""
        real = np.empty(0, np.float32)
        return cls(real, real, np.empty(0, bool), np.empty((0, 2), np.float32), real, real, real, real, real)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Join several lists."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def laid(found: Floats, flip: Floats, right: Floats, down: Floats) -> tuple[Floats, Floats]:
    """Say where points of the first images, from their middles, lie in the second: right and down.

    Args:
        found: (n, 4) cosine and sine times zoom, shift right and down.
        flip: (n,) 1 or -1.
        right: (n, ...) or of a shape that goes with it.
        down: As ``right``.
    """
    axes = (slice(None), *[None] * (right.ndim - 1))
    a, b, across, along = (found[:, number][axes] for number in range(4))
    down = down * flip[axes]
    return a * right - b * down + across, b * right + a * down + along


def explained(left: Floats, value: Floats, weight: Floats, known: Masks, seen: Masks) -> Floats:
    """Say how much of what the second images show is explained: (n,) float32, up to 1.

    Where one of the two was cut off at white, the other may only not be darker than that: a white field counts as
    explained by a white field.

    Args:
        left: (n, m) what is left of ``value``.
        value: (n, m) brightness of the second.
        weight: (n, m).
        known: (n, m) where the first is not white.
        seen: (n, m) where the second is not white.
    """
    left = np.where(seen, left, np.maximum(left, 0))
    left = np.where(known, left, np.minimum(left, 0))
    total = np.maximum(weight.sum(1), 1e-3)
    mean = (weight * value).sum(1) / total
    power = (weight * (value - mean[:, None]) ** 2).sum(1) / total
    return np.asarray(1 - (weight * left**2).sum(1) / total / np.maximum(power, 1e-3), np.float32)


def compared(one: Floats, two: Floats, found: Floats, flip: Floats) -> Alignments:
    """Compare aligned images (n, s, s, 3) where both show something of their own; see ``Alignments``."""
    side = one.shape[1]
    from_middle = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    down, right = (axis[None] for axis in np.meshgrid(from_middle, from_middle, indexing="ij"))
    there, below = laid(found, flip, right, down)
    inside = (np.abs(there) <= side / 2 - 1) & (np.abs(below) <= side / 2 - 1)
    middle = inside & (np.maximum(there**2 + below**2, right**2 + down**2) < (MIDDLE * side) ** 2)
    seen = interpolated(two, below + (side - 1) / 2, there + (side - 1) / 2)
    inside &= ~_filled(one, seen, inside, middle)
    gain, one, seen = _same_brightness(one, seen, inside)
    weight = (inside / np.maximum(inside.sum((1, 2), keepdims=True), 1)).astype(np.float32)
    means = [np.einsum("nij,nijc->n", weight, some)[:, None, None, None] / 3 for some in (one, seen)]
    energy = [
        np.einsum("nij,nijc->n", weight, (some - mean) ** 2) for some, mean in zip((one, seen), means, strict=True)
    ]
    left = np.einsum("nij,nijc->n", weight, (one - means[0] - seen + means[1]) ** 2)
    grey, other = one @ np.array(LUMA, np.float32), seen @ np.array(LUMA, np.float32)
    mean = (weight * grey).sum((1, 2), keepdims=True)
    return Alignments(
        np.hypot(found[:, 0], found[:, 1]),
        np.arctan2(found[:, 1], found[:, 0]),
        flip < 0,
        (found[:, 2:] / SIDE).astype(np.float32),
        gain.astype(np.float32),
        inside.mean((1, 2)).astype(np.float32),
        _gradient_correlation(grey, other, inside),
        (1 - left / np.maximum(np.minimum(*energy), 1e-3)).astype(np.float32),
        np.sqrt((weight * (grey - mean) ** 2).sum((1, 2))).astype(np.float32),
    )


def _filled(one: Floats, two: Floats, inside: Masks, middle: Masks) -> Masks:
    """Find the part of the overlap that was most likely filled after a turn or a shift: (n, s, s) bool.

    It is the quarter of all blocks that disagrees most, of those away from the middle, which no such border reaches.
    """
    count, side, _ = inside.shape
    _, one, two = _same_brightness(one, two, middle)
    left = ((one - two) @ np.array(LUMA, np.float32) * inside) ** 2
    blocks = (count, side // _BLOCK, _BLOCK, side // _BLOCK, _BLOCK)
    energy = left.reshape(blocks).sum((2, 4))
    energy[middle.reshape(blocks).mean((2, 4)) > 0.5] = 0
    most = int((side // _BLOCK) ** 2 * _FILLED)
    cut = np.partition(energy.reshape(count, (side // _BLOCK) ** 2), -most, axis=1)[:, -most]
    worst: Masks = (energy >= cut[:, None, None]) & (energy > 0)
    return np.asarray(worst.repeat(_BLOCK, 1).repeat(_BLOCK, 2), bool)


def _same_brightness(one: Floats, two: Floats, where: Masks) -> tuple[Floats, Floats, Floats]:
    """Bring the darker image of each pair to the brightness of the other, cut off at 255 as the other was.

    By a gain alone or by a gain and an offset, whichever leaves less: where all but a few dark pixels were cut off,
    the two cannot be distinguished, and the offset would be noise.

    Returns:
        (n,) the gain from the first to the second, and both images.
    """
    weight = (where[..., None] & (one <= WHITE) & (two <= WHITE)).astype(np.float32)
    axes = (1, 2, 3)
    total = np.maximum(weight.sum(axes, keepdims=True), 1)
    mean_one, mean_two = ((weight * some).sum(axes, keepdims=True) / total for some in (one, two))
    tries = []
    for from_one, from_two in ((mean_one, mean_two), (np.zeros_like(mean_one), np.zeros_like(mean_two))):
        energy_one = (weight * (one - from_one) ** 2).sum(axes, keepdims=True)
        energy_two = (weight * (two - from_two) ** 2).sum(axes, keepdims=True)
        gain = np.clip(np.sqrt(np.maximum(energy_two, 1e-3) / np.maximum(energy_one, 1e-3)), *GAINS)
        up = np.clip((one - from_one) * gain + from_two, 0, 255)
        down = np.clip((two - from_two) / gain + from_one, 0, 255)
        first, second = np.where(gain >= 1, up, one), np.where(gain >= 1, two, down)
        tries.append((gain, first, second, (where[..., None] * (first - second) ** 2).sum(axes)))
    better = (tries[1][3] < tries[0][3])[:, None, None, None]
    gain, first, second = (np.where(better, tries[1][k], tries[0][k]) for k in range(3))
    return gain[:, 0, 0, 0], first, second


def _gradient_correlation(one: Floats, two: Floats, inside: Masks) -> Floats:
    """Correlate the gradients of two grey images inside their overlap, an even slope apart: (n,)."""
    inner = np.zeros_like(inside)
    core = inside[:, 1:-1, 1:-1]
    inner[:, 1:-1, 1:-1] = (
        core & inside[:, :-2, 1:-1] & inside[:, 2:, 1:-1] & inside[:, 1:-1, :-2] & inside[:, 1:-1, 2:]
    )
    weight = inner / np.maximum(inner.sum((1, 2), keepdims=True), 1)
    product, power_one, power_two = (np.zeros(len(one)) for _ in range(3))
    for axis in (1, 2):
        slopes = [np.gradient(some, axis=axis) for some in (one, two)]
        slopes = [some - (weight * some).sum((1, 2), keepdims=True) for some in slopes]
        product += (weight * slopes[0] * slopes[1]).sum((1, 2))
        power_one += (weight * slopes[0] ** 2).sum((1, 2))
        power_two += (weight * slopes[1] ** 2).sum((1, 2))
    return np.asarray(product / np.sqrt(np.maximum(power_one * power_two, 1e-9)), np.float32)
