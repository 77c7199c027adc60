"""Smooth random images: as unlike each other as photographs, quick to make, and not for human eyes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]


def smooth(count: int, seed: int = 0, side: int = 48, grain: int = 7) -> Images:
    """Make (count, side, side, 3) images with ``grain`` random values along each side."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (count, grain, grain, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.BICUBIC)) for one in coarse])


def jpeg(image: Images, quality: int = 60) -> Images:
    """Encode and decode an image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brighter(image: Images, factor: float) -> Images:
    """Multiply an image's values."""
    return np.clip(image * factor, 0, 255).round().astype(np.uint8)


def pasted(cell: Images, behind: Images, *, soft: bool = True, down: int = 0, right: int = 0) -> Images:
    """Put the middle of one image onto another one, moved by some pixels."""
    side = len(cell)
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    away = np.hypot(row - down, column - right) / side
    weight = np.clip((0.37 - away) / 0.1, 0, 1) if soft else (away < 0.32).astype(float)
    moved = np.roll(cell, (down, right), (0, 1))
    return (moved * weight[..., None] + behind * (1 - weight[..., None])).round().astype(np.uint8)
