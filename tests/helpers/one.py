"""Run one program on images without compiling: what the tests of the operations share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cellclf.augmentation.kernels import engine
from cellclf.augmentation.program import Program


def run(images: np.ndarray, *writers: Callable[[Program, np.ndarray], None]) -> np.ndarray:
    """Let each writer write its work for all images into one program; apply it."""
    program = Program(len(images))
    for writer in writers:
        writer(program, np.ones(len(images), bool))
    arrays = {f"0/{key}": value for key, value in program.arrays().items()}
    return np.asarray(engine.apply(images, arrays, [(0, 0)]))


def in_turn(images: np.ndarray, *writers: Callable[[Program, np.ndarray], None]) -> np.ndarray:
    """Apply each writer's work on its own, one after the other."""
    for writer in writers:
        images = run(images, writer)
    return images


def cell(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """Draw one smooth image with a dark cell and some texture, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    far = np.hypot(y - height * 0.45, x - width * 0.55)
    image = np.stack([220 - k * 130 / (1 + np.exp((far - height / 4) / 2)) for k in (1.0, 1.3, 0.5)], axis=-1)
    for _ in range(3):
        a, b, c = rng.uniform(-0.5, 0.5, 3)
        image += rng.uniform(5, 12) * np.sin(a * y + b * x + 6 * c)[..., None] * rng.uniform(0.5, 1, 3)
    return np.clip(image, 0, 255).astype(np.uint8)
