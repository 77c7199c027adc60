"""Smooth random pictures: as unlike each other as photographs, quick to make, and not for human eyes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = NDArray[np.uint8]


def smooth(count: int, seed: int = 0, side: int = 48, grain: int = 7) -> Pictures:
    """Make (count, side, side, 3) pictures with ``grain`` random values along each side."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (count, grain, grain, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.BICUBIC)) for one in coarse])


def jpeg(picture: Pictures, quality: int = 60) -> Pictures:
    """Encode and decode a picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brighter(picture: Pictures, factor: float) -> Pictures:
    """Multiply a picture's values."""
    return np.clip(picture * factor, 0, 255).round().astype(np.uint8)


def pasted(cell: Pictures, behind: Pictures, *, soft: bool = True, down: int = 0, right: int = 0) -> Pictures:
    """Put the middle of one picture onto another one, moved by some pixels."""
    side = len(cell)
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    away = np.hypot(row - down, column - right) / side
    weight = np.clip((0.37 - away) / 0.1, 0, 1) if soft else (away < 0.32).astype(float)
    moved = np.roll(cell, (down, right), (0, 1))
    return (moved * weight[..., None] + behind * (1 - weight[..., None])).round().astype(np.uint8)
