"""The slide around the cell: red cells, stray platelets, stain, light, focus and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.data.generated.canvas import PAPER, UNITS, Canvas
from cellclf.data.generated.leukocytes import PAINTERS, RADII

_EXTERNAL_STAIN = np.array([[0.46, -0.02, -0.06], [0.02, 0.44, 0.1], [-0.16, 0.0, 0.72]])
"""How an external laboratory's stain and camera change the optical densities of red, green and blue."""
_EXTERNAL_PAPER = np.array([190.0, 199.0, 199.0])
_EXTERNAL_ZOOM = 1.15


@dataclass(frozen=True)
class Slide:
    """What all images from one slide have in common."""

    paper: NDArray[np.float64]
    stain: NDArray[np.float64]
    zoom: float
    blur: float
    noise: float
    red_cells: float
    pallor: float


def draw_slide(rng: np.random.Generator, severity: float) -> Slide:
    """Draw how one slide is stained, lit and focused.

    Args:
        rng: Makes every random choice.
        severity: 0 is the own laboratory, 1 an external one.
    """
    density = rng.normal(1, 0.045)
    hue = rng.normal(0, 0.02, 3)
    paper = np.asarray(PAPER) + rng.normal(0, 1.5) + rng.normal(0, 1.5, 3)
    cold = rng.random() < 0.04
    if cold:
        paper = np.array([226.0, 220.0, 230.0]) + rng.normal(0, 4, 3)
    own = np.diag(density + hue)
    external = _EXTERNAL_STAIN * density + np.diag(2 * hue)
    external_paper = _EXTERNAL_PAPER + rng.normal(0, 8) + rng.normal(0, 4, 3)
    blur = 0.4 + abs(rng.normal(0, 0.12)) + 0.6 * (rng.random() < 0.05)
    return Slide(
        paper=np.minimum((1 - severity) * paper + severity * external_paper, 255),
        stain=(1 - severity) * own + severity * external,
        zoom=1 + severity * (_EXTERNAL_ZOOM - 1),
        blur=blur + severity * 0.9,
        noise=rng.uniform(0.7, 1.5) + 2 * severity,
        red_cells=float(np.clip(rng.normal(9, 2), 4, 13)),
        pallor=float(rng.beta(2.5, 2)),
    )


def draw_image(name: str, side: int, slide: Slide, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one cell of a class in the middle of its slide.

    Args:
        name: The class.
        side: Height and width in pixels.
        slide: Where the cell lies.
        rng: Makes every random choice of this image.

    Returns:
        (side, side, 3) uint8.
    """
    finer = 2 if side < 64 else 1
    canvas = Canvas(side * finer, slide.zoom, rng)
    mean, deviation = RADII[name]
    radius = mean + deviation * float(np.clip(rng.normal(), -2.2, 2.2))
    x, y = rng.normal(0, 1.4, 2)
    placed = _red_cells(canvas, slide, x, y, radius)
    _strays(canvas, placed, x, y, radius)
    PAINTERS[name](canvas, x, y, radius)
    return _expose(canvas, slide, finer)


def _red_cells(canvas: Canvas, slide: Slide, x: float, y: float, radius: float) -> list[tuple[float, float, float]]:
    """Draw red cells around the cell: many touch, some overlap, none covers it."""
    rng = canvas.rng
    placed: list[tuple[float, float, float]] = []
    count = rng.poisson(slide.red_cells)
    size = rng.normal(19, 1.2)
    tries = rng.uniform(-66, 66, (3 * count + 6, 2))
    for u, v in tries:
        if len(placed) == count:
            break
        r = size * rng.normal(1, 0.06)
        if np.hypot(u - x, v - y) < radius + r * rng.uniform(0.88, 1.1):
            continue
        if any(np.hypot(u - a, v - b) < (r + c) * rng.uniform(0.72, 1.0) for a, b, c in placed):
            continue
        _red_cell(canvas, u, v, r, slide.pallor)
        placed.append((u, v, r))
    return placed


def _red_cell(canvas: Canvas, u: float, v: float, r: float, pallor: float) -> None:
    rng, grid = canvas.rng, canvas.grid
    stretch, angle, tilt = 1 + abs(rng.normal(0, 0.07)), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    deep = np.clip(pallor + rng.normal(0, 0.25), 0, 1) * 0.85
    wide, strong = rng.uniform(0.5, 0.85), rng.normal(1, 0.12)
    near = 1.25 * r * grid.pixels
    side = canvas.light.shape[1]
    column, row = (np.array([u, v]) * grid.pixels + side / 2).astype(int)
    top, bottom = max(0, int(row - near)), min(side, int(row + near) + 1)
    left, right = max(0, int(column - near)), min(side, int(column + near) + 1)
    wobble = canvas.noise("wave")
    if top >= bottom or left >= right:
        return
    window = np.s_[top:bottom, left:right]
    dx, dy = grid.x[window] - np.float32(u), grid.y[window] - np.float32(v)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    p, q = (c * dx + s * dy) * np.float32(1 / (r * stretch)), (c * dy - s * dx) * np.float32(stretch / r)
    far = np.sqrt(p * p + q * q) + wobble[window] * np.float32(0.03)
    density = canvas.cover((far - 1) * np.float32(r), 1.8)
    dip = np.clip((1 - far * np.float32(1 / wide)) * np.float32(1.7), 0, 1)
    dip = dip * dip * (3 - 2 * dip)
    ridge = np.clip(1 - np.abs(far - np.float32(0.93)) * 9, 0, 1)
    slope = (dx * np.float32(np.cos(tilt)) + dy * np.float32(np.sin(tilt))) * np.float32(0.16 / r)
    density = density * (1 - np.float32(deep) * dip + np.float32(0.12) * ridge + slope) * np.float32(strong)
    for channel, absorbed in enumerate((0.215, 0.285, 0.2)):
        canvas.light[channel][window] *= 1 - density * np.float32(absorbed)


def _strays(canvas: Canvas, placed: list[tuple[float, float, float]], x: float, y: float, radius: float) -> None:
    """Add what else lies on slides: a platelet, specks of stain, the edge of another white cell."""
    rng = canvas.rng
    if rng.random() < 0.16:
        u, v = rng.uniform(-46, 46, 2)
        if np.hypot(u - x, v - y) > radius + 8:
            PAINTERS["platelet"](canvas, u, v, rng.uniform(4, 8))
    if rng.random() < 0.05:
        angle = rng.uniform(0, 2 * np.pi)
        other = rng.choice(["neutrophil", "lymphocyte", "erythroblast"])
        size = RADII[other][0]
        far = max(radius + size + 1, UNITS / 2 + size * 0.55)
        PAINTERS[other](canvas, x + far * np.cos(angle), y + far * np.sin(angle), size)
    for _ in range(rng.poisson(0.3)):
        u, v = rng.uniform(-48, 48, 2)
        size = rng.uniform(0.4, 1.3)
        canvas.paint(canvas.cover(canvas.ellipse(u, v, size, size)), (92, 34, 122))


def _expose(canvas: Canvas, slide: Slide, finer: int) -> NDArray[np.uint8]:
    """Stain, light, focus and record the image."""
    from scipy.ndimage import gaussian_filter1d

    rng, light = canvas.rng, canvas.light
    side = light.shape[1]
    paper = np.asarray(PAPER, np.float32)[:, None]
    dense = -np.log(np.maximum(light.reshape(3, -1), 2) / paper)
    stain = slide.stain * rng.normal(1, 0.02)
    light = np.exp(-(stain.astype(np.float32) @ dense)).reshape(3, side, side)
    light *= (slide.paper * rng.normal(1, 0.003)).astype(np.float32)[:, None, None]
    slope = rng.normal(0, 0.012, 2).astype(np.float32) / np.float32(UNITS / 2)
    light *= 1 + slope[0] * canvas.grid.x + slope[1] * canvas.grid.y
    if finer > 1:
        light = light.reshape(3, side // finer, finer, side // finer, finer).mean((2, 4))
    blur = (slide.blur + abs(rng.normal(0, 0.12))) * light.shape[1] / UNITS
    if blur > 0.25:
        for axis in (1, 2):
            light = gaussian_filter1d(light, blur, axis, mode="nearest", truncate=3)
    light += rng.standard_normal(light.shape, np.float32) * np.float32(slide.noise)
    image: NDArray[np.uint8] = np.clip(light.transpose(1, 2, 0) + 0.5, 0, 255).astype(np.uint8)
    return image
