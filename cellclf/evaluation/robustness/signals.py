"""Corruptions of the signal: resolution, compression, light, contrast, colour. Each gives new images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from cellclf.augmentation.rng import ImageRng
from cellclf.utils.colour import LUMA

if TYPE_CHECKING:
    from cellclf.data.sources import Images


def pixelate(images: Images, share: float, _: ImageRng) -> Images:
    """Reduce the image to a fraction of its side by averaging, and enlarge each pixel again.

    Args:
        images: (N, H, W, 3) uint8.
        share: Fraction of the side, 0-1.
    """
    from PIL import Image

    height, width = images.shape[1:3]
    small = max(1, int(width * share)), max(1, int(height * share))
    box = Image.Resampling.BOX
    return np.stack(
        [np.asarray(Image.fromarray(image).resize(small, box).resize((width, height), box)) for image in images]
    )


def compress(images: Images, quality: int, _: ImageRng) -> Images:
    """Save as JPEG and read again.

    Args:
        images: (N, H, W, 3) uint8.
        quality: 1-100, as libjpeg counts it; colour at half the resolution, as is usual.
    """
    from PIL import Image

    found = np.empty_like(images)
    for k, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=quality)
        found[k] = np.asarray(Image.open(file))
    return found


def brighten(images: Images, factor: float, _: ImageRng) -> Images:
    """Multiply every level by the factor: a blend with black.

    Args:
        images: (N, H, W, 3) uint8.
        factor: 1 changes nothing.
    """
    found: Images = _levels(np.float32(factor) * np.arange(256, dtype=np.float32))[images]
    return found


def contrast(images: Images, factor: float, _: ImageRng) -> Images:
    """Multiply the distance of every level to the image's mean grey by the factor.

    Args:
        images: (N, H, W, 3) uint8.
        factor: 1 changes nothing.
    """
    # whole numbers over 2^16, as Pillow computes it and the paper with it
    luma = images @ np.array([round(weight * 2**16) for weight in LUMA])
    luma = (luma + 2**15) >> 16
    mean = np.floor(luma.mean((1, 2)) + 0.5).astype(np.float32)[:, None]
    # a table for each image: 256 products in place of one for each pixel
    tables = _levels(mean + np.float32(factor) * (np.arange(256, dtype=np.float32) - mean))
    found: Images = tables[np.arange(len(images))[:, None, None, None], images]
    return found


def saturate(images: Images, more: float, _: ImageRng) -> Images:
    """Add to the saturation S of HSV; hue and value do not change.

    A grey pixel has no hue; as in the paper, it counts as red (hue 0), so that grey turns reddish.

    Args:
        images: (N, H, W, 3) uint8.
        more: What is added to S, which runs from 0 to 1.
    """
    pixels = images.astype(np.float32)
    value = pixels.max(-1, keepdims=True)
    spread = value - pixels.min(-1, keepdims=True)
    before = np.divide(spread, value, out=np.zeros_like(value), where=value > 0)
    after = np.minimum(before + np.float32(more), 1)
    # at constant hue and value, the distance of each channel to the largest is proportional to S: no need to go to HSV
    coloured = spread > 0
    gain = np.divide(after, before, out=np.zeros_like(before), where=coloured)
    red = np.array([0, 1, 1], np.float32) * value * after
    found: Images = np.rint(value - np.where(coloured, (value - pixels) * gain, red)).clip(0, 255).astype(np.uint8)
    return found


def _levels(table: np.ndarray) -> Images:
    """Cut to 0-255 and drop the fraction, as Pillow's blending does."""
    return table.clip(0, 255).astype(np.uint8)
