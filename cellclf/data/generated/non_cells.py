"""Non-cell images, as they slip into a data set by mistake."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KINDS = ("photo", "text", "blank", "noise")


def draw_non_cell(kind: str, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a non-cell image.

    Args:
        kind: "photo" (a landscape), "text" (a scanned page), "blank" (one flat colour) or "noise".
        side: Height and width in pixels.
        rng: Makes every random choice.

    Returns:
        (side, side, 3) uint8.

    Examples:
        >>> draw_non_cell("blank", 32, np.random.default_rng(0)).shape
        (32, 32, 3)
    """
    if kind == "photo":
        return _photo(side, rng)
    if kind == "text":
        return _text(side, rng)
    if kind == "blank":
        return np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (side, side, 3)).copy()
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def _photo(side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A landscape: sky, sun, ranges of hills, a house."""
    y, x = np.mgrid[:side, :side] / side
    top, low = rng.uniform((40, 90, 150), (120, 170, 240)), rng.uniform((180, 170, 150), (250, 225, 220))
    image = top + (low - top) * y[..., None]
    u, v, r = rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.1)
    image[np.hypot(x - u, y - v) < r] = (255, 240, 190)
    for k in range(4):
        waves = rng.uniform(1, 3 + 3 * k, 4), rng.uniform(0, 7, 4), rng.uniform(0.01, 0.05, 4)
        ridge = 0.42 + 0.13 * k + sum(a * np.sin(w * 6.3 * x[0] + p) for w, p, a in zip(*waves, strict=True))
        hill = rng.uniform((20, 60, 30), (110, 130, 80)) * (1.25 - 0.2 * k)
        grain = rng.normal(0, 4 + 5 * k, (side, side, 1))
        image = np.where((y > ridge)[..., None], hill + grain, image)
    left, base, wide = rng.uniform(0.1, 0.6), rng.uniform(0.75, 0.9), rng.uniform(0.15, 0.3)
    wall = (x > left) & (x < left + wide) & (y < base) & (y > base - 0.7 * wide)
    image[wall] = rng.uniform((150, 130, 110), (240, 230, 220))
    roof = (np.abs(x - left - wide / 2) < y - base + 1.3 * wide) & (y < base - 0.7 * wide) & (y > base - 1.3 * wide)
    image[roof] = rng.uniform((120, 30, 20), (190, 80, 50))
    image[wall & (np.abs(x - left - wide / 2) < 0.12 * wide) & (y > base - 0.4 * wide)] = (60, 40, 30)
    whole: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return whole


def _text(side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Some lines of a report, rotated a little."""
    from PIL import Image, ImageDraw

    ground = tuple(int(v) for v in rng.integers(215, 256, 3))
    page = Image.new("RGB", (96, 96), ground)
    pen = ImageDraw.Draw(page)
    words = ["slide", "sample", "count", "stain", "blood", "field", "lot", "date", "x100", "ok"]
    for line in range(8):
        text = " ".join(str(w) for w in rng.choice(words, 3)) + f" {rng.integers(1000)}"
        pen.text((3, 3 + 11 * line), text, fill=(20, 20, 30))
    page = page.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BILINEAR, fillcolor=ground)
    return np.array(page.resize((side, side), Image.Resampling.BILINEAR))
