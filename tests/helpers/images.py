"""Images and files of images, small and drawn at once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(*shape, dtype=np.uint8, high=256):
    """Draw whole numbers from 0 to below ``high``, the same ones for the same shape."""
    return np.random.default_rng(0).integers(0, high, shape, dtype)


def png(figure, **options) -> bytes:
    """Draw a matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    return buffer.getvalue()


def image(path: Path, value=0, side=(8, 8), mode="RGB") -> Path:
    """Write an image of one colour; the folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, side[::-1], value if mode != "RGB" else (value, value, value)).save(path)
    return path
