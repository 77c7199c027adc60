"""The eight classes, each drawn by what distinguishes it under the microscope.

Source: Bain, Blood Cells: A Practical Guide, 5th ed. 2015, for the morphology; proportions as in Acevedo et al. 2020,
"A dataset of microscopic peripheral blood cell images for development of automatic recognition systems".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from cellclf.data.generated.canvas import Canvas, Colour, Field, cut, join

NUCLEUS: Colour = (60.0, 19.0, 124.0)
CHROMATIN: Colour = (138.0, 84.0, 158.0)


def _body(canvas: Canvas, x: float, y: float, radius: float, wave: float = 1.0, ruffle: float = 0.0) -> Field:
    rng = canvas.rng
    stretch = 1 + abs(rng.normal(0, 0.05))
    outline = canvas.ellipse(x, y, radius * stretch, radius / stretch, rng.uniform(0, np.pi))
    outline = outline + canvas.noise("wave") * np.float32(wave)
    return outline + canvas.noise("clump") * np.float32(ruffle) if ruffle else outline


def _cytoplasm(canvas: Canvas, body: Field, colour: Colour, other: Colour, grain: str, rim: float = 0.3) -> None:
    mix = canvas.noise(grain) * np.float32(0.3) + canvas.noise("coarse") * np.float32(0.15)
    mix = np.clip(mix + np.float32(0.5), 0, 1)
    canvas.paint(canvas.cover(body), colour, other, mix)
    if rim:
        line = np.clip(1 - np.abs(body + np.float32(0.7)) / np.float32(1.1), 0, 1)
        canvas.paint(line * np.float32(rim), (110.0, 70.0, 150.0))


def _dots(
    canvas: Canvas, inside: Field, colour: Colour, density: float, grain: str = "fine", force: float = 0.9
) -> None:
    """Sprinkle granules over a covered place; ``density`` sets how many, -2 few to 1 packed."""
    dots = np.clip((canvas.noise(grain) + np.float32(density)) * np.float32(1.6), 0, 1)
    canvas.paint(dots * inside * np.float32(force), colour)


def _nucleus(
    canvas: Canvas,
    shape: Field,
    *,
    dark: Colour = NUCLEUS,
    light: Colour = CHROMATIN,
    open_: float = 0.0,
    contrast: float = 0.5,
    grain: str = "grain",
) -> None:
    """Fill a nucleus with chromatin: dark clumps in a net of lighter gaps (wider with ``open_``), a dark membrane."""
    net = np.abs(canvas.noise(grain)) * np.float32(-1.5) + canvas.noise("clump") * np.float32(0.5)
    net += canvas.noise("coarse") * np.float32(0.3)
    mix = np.clip((net + np.float32(0.85)) * np.float32(contrast) + np.float32(0.15 + open_), 0, 1)
    mix *= np.clip(-shape * np.float32(0.5), 0, 1)
    canvas.paint(canvas.cover(shape), canvas.tint(dark, 4), canvas.tint(light, 5), mix)


def _chain(canvas: Canvas, points: Field, a: float, b: float, thread: float) -> Field:
    """Connect lobes by strands: one ellipse at each point, turned towards the next."""
    rng = canvas.rng
    shape: Field | None = None
    for k, (x, y) in enumerate(points):
        before, after = points[max(0, k - 1)], points[min(len(points) - 1, k + 1)]
        way = float(np.arctan2(after[1] - before[1], after[0] - before[0])) + rng.normal(0, 0.45)
        grow = rng.uniform(0.82, 1.2)
        lobe = canvas.ellipse(x, y, a * grow, b * rng.uniform(0.85, 1.15), way)
        shape = lobe if shape is None else join(shape, lobe, rng.uniform(0.4, 1.4))
    assert shape is not None
    for (x0, y0), (x1, y1) in pairwise(points):
        shape = join(shape, canvas.strand(x0, y0, x1, y1, thread * rng.uniform(0.7, 1.6)), 1.0)
    return shape


def _on_arc(rng: np.random.Generator, x: float, y: float, radius: float, count: int, reach: float) -> Field:
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(-reach, reach, count) + rng.normal(0, 0.12, count)
    radii = radius * rng.uniform(0.75, 1.25, count)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1).astype(np.float32)


def basophil(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Coarse blue-black granules all over, which hide the nucleus."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, 1.0, rng.uniform(0.3, 1.0))
    _cytoplasm(canvas, body, canvas.tint((156, 96, 150), 10), canvas.tint((208, 172, 190), 8), "grain", 0.25)
    points = _on_arc(rng, x, y, 0.36 * radius, int(rng.integers(2, 4)), rng.uniform(0.9, 1.6))
    nucleus = join(_chain(canvas, points, 0.52 * radius, 0.42 * radius, 3.0), body + np.float32(0.5 * radius), 4.0)
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.9), body + 1)
    hidden = rng.uniform(0.2, 1)
    pale = (148 - 20 * hidden, 92 - 20 * hidden, 152 - 8 * hidden)
    _nucleus(canvas, nucleus, dark=(64, 22, 124), light=pale, open_=0.2, contrast=0.7)
    inside = canvas.cover(body - np.float32(0.8))
    packed = rng.normal(0.5, 0.4)
    _dots(canvas, inside, canvas.tint((84, 30, 128), 6), packed - 0.2, "fine", 0.6)
    _dots(canvas, inside, canvas.tint((54, 17, 117), 4), packed - rng.uniform(0.4, 0.8), "grain", 0.9)
    _dots(canvas, inside, canvas.tint((52, 16, 114), 4), packed - rng.uniform(0.5, 1.2), "clump", 0.9)


def eosinophil(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Two lobes, rarely three, in cytoplasm full of orange-red granules of one size."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, 0.8, 0.15)
    pale = canvas.tint((176, 148, 180), 6)
    _cytoplasm(canvas, body, pale, canvas.tint((212, 178, 186), 5), "grain", 0.25)
    packed = np.clip((canvas.noise("coarse") + np.float32(rng.uniform(1.2, 2.8))) * np.float32(0.6), 0, 1)
    full = canvas.cover(body + np.float32(0.8), 2.0) * packed
    warm = rng.uniform(0, 1)
    red: Colour = (150 + 26 * warm, 74 + 14 * warm, 124 - 14 * warm)
    pink: Colour = (198 + 16 * warm, 128 + 12 * warm, 148 - 8 * warm)
    granules = canvas.noise("fine") * np.float32(0.26) + canvas.noise("grain") * np.float32(0.18)
    canvas.paint(full, canvas.tint(red, 6), canvas.tint(pink, 6), np.clip(granules + np.float32(0.5), 0, 1))
    _dots(canvas, full, canvas.tint((134, 54, 116), 8), -1.3, "grain", 0.7)
    count = int(rng.choice([2, 3, 4], p=[0.7, 0.25, 0.05]))
    points = _on_arc(rng, x, y, rng.uniform(0.42, 0.54) * radius, count, (0.2 + 0.44 * count) * rng.uniform(0.75, 1.25))
    big = 0.465 - 0.04 * count
    nucleus = _chain(canvas, points, (big + 0.06) * radius, (big - 0.05) * radius, 1.2)
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.4), body + 1)
    _nucleus(canvas, nucleus, dark=(62, 19, 131), light=(140, 84, 156), contrast=0.6, open_=rng.uniform(-0.1, 0.15))


def erythroblast(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A small, round, very dark nucleus in smooth cytoplasm between blue and the red cells' pink-grey."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, rng.uniform(0.6, 1.9), rng.uniform(0, 0.3))
    ripe = rng.beta(1.6, 1.6)
    colour: Colour = (104 + 86 * ripe, 84 + 80 * ripe, 150 + 24 * ripe)
    colour = canvas.tint(colour, 6)
    _cytoplasm(canvas, body, colour, (colour[0] + 22, colour[1] + 22, colour[2] + 11), "coarse", 0.15)
    size = radius * rng.uniform(0.5, 0.78)
    drift = max(0.0, radius - size - 2) * rng.uniform(0.1, 0.75)
    turn = rng.uniform(0, 2 * np.pi)
    u, v = x + drift * np.cos(turn), y + drift * np.sin(turn)
    if rng.random() < 0.1:
        nucleus = _chain(
            canvas, _on_arc(rng, u, v, 0.5 * size, int(rng.integers(3, 5)), 2.4), 0.6 * size, 0.5 * size, 2
        )
    else:
        nucleus = canvas.ellipse(u, v, size * rng.uniform(1, 1.14), size, rng.uniform(0, np.pi))
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.35), body + np.float32(0.6))
    _nucleus(
        canvas,
        nucleus,
        dark=(52, 20, 112),
        light=(116, 66, 138),
        contrast=rng.uniform(0.1, 0.6),
        grain="clump",
        open_=rng.uniform(-0.15, 0.08),
    )


def immature_granulocyte(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A big oval or dented nucleus with open chromatin, to one side of granular cytoplasm."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, rng.uniform(0.6, 1.7), 0.15)
    blue = rng.beta(1.2, 1.6)
    base: Colour = (186 - 52 * blue, 150 - 52 * blue, 178 - 14 * blue)
    _cytoplasm(canvas, body, canvas.tint(base, 6), (base[0] + 30, base[1] + 34, base[2] + 12), "grain", 0.3)
    size = radius * rng.uniform(0.7, 0.88)
    turn = rng.uniform(0, 2 * np.pi)
    drift = (radius - size) * rng.uniform(0.3, 0.85)
    u, v = x - drift * np.cos(turn), y - drift * np.sin(turn)
    nucleus = canvas.ellipse(u, v, size * rng.uniform(0.8, 0.95), size * rng.uniform(0.95, 1.1), turn)
    if rng.random() < 0.45:
        far = size * rng.uniform(1.05, 1.6)
        notch = canvas.ellipse(u + far * np.cos(turn), v + far * np.sin(turn), 0.75 * size, 0.6 * size, turn)
        nucleus = cut(nucleus, notch, 3.0)
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.8), body + np.float32(1.2))
    _nucleus(
        canvas,
        nucleus,
        dark=(68, 24, 130),
        light=(156, 104, 168),
        contrast=rng.uniform(0.5, 0.9),
        open_=rng.uniform(-0.02, 0.2),
    )
    amount = rng.normal(-1.0, 0.8)
    inside = canvas.cover(body + np.float32(1.2))
    if amount < 0:
        inside = inside * (1 - canvas.cover(nucleus) * np.float32(0.75))
    _dots(canvas, inside, canvas.tint((112, 40, 142), 8), min(0.3, amount), "fine", 0.8)


def lymphocyte(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A dense round nucleus that leaves a thin sky-blue rim, often with small blebs."""
    rng = canvas.rng
    ruffled = rng.random() < 0.5
    body = _body(canvas, x, y, radius, 1.1, rng.uniform(0.4, 0.9) if ruffled else rng.uniform(0.0, 0.3))
    if ruffled:
        for _ in range(int(rng.integers(0, 6))):
            turn, far = rng.uniform(0, 2 * np.pi), radius + rng.uniform(0, 3)
            bleb = canvas.ellipse(x + far * np.cos(turn), y + far * np.sin(turn), rng.uniform(1, 3), 1.6, turn)
            body = join(body, bleb, 1.5)
    blue = canvas.tint((112, 88, 154), 10)
    _cytoplasm(canvas, body, blue, (blue[0] + 44, blue[1] + 44, blue[2] + 24), "grain", 0.3)
    wide = rng.random() < 0.22
    size = radius * (rng.uniform(0.7, 0.8) if wide else rng.uniform(0.82, 0.96))
    turn = rng.uniform(0, 2 * np.pi)
    drift = (radius - size) * rng.uniform(0.2, 0.9)
    u, v = x + drift * np.cos(turn), y + drift * np.sin(turn)
    nucleus = canvas.ellipse(u, v, size * rng.uniform(0.94, 1.05), size, turn)
    if rng.random() < 0.25:
        notch = canvas.ellipse(u - 1.25 * size * np.cos(turn), v - 1.25 * size * np.sin(turn), 0.45 * size, 0.4 * size)
        nucleus = cut(nucleus, notch, 2.5)
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.6), body + np.float32(0.7))
    _nucleus(
        canvas,
        nucleus,
        dark=(62, 21, 122),
        light=(124, 64, 154),
        contrast=rng.uniform(0.25, 0.6),
        open_=rng.uniform(-0.05, 0.15),
    )


def monocyte(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """The largest: a kidney-shaped or folded nucleus with lacy chromatin, grey-blue cytoplasm, vacuoles."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, rng.uniform(0.7, 2.6), rng.uniform(0, 0.3))
    blue = rng.uniform(0, 1)
    base: Colour = (176 - 40 * blue, 148 - 42 * blue, 178 - 16 * blue)
    base = canvas.tint(base, 6)
    _cytoplasm(canvas, body, base, (base[0] + 34, base[1] + 36, base[2] + 14), "fine", 0.35)
    turn = rng.uniform(0, 2 * np.pi)
    drift = rng.uniform(0, 0.16) * radius
    u, v = x + drift * np.cos(turn), y + drift * np.sin(turn)
    if rng.random() < 0.6:
        bend = rng.uniform(0.32, 0.44) * radius
        nucleus = canvas.arc(
            u - 0.2 * bend * np.cos(turn),
            v - 0.2 * bend * np.sin(turn),
            bend,
            radius * rng.uniform(0.32, 0.42),
            turn,
            rng.uniform(1.1, 2.2),
        )
    else:
        size = radius * rng.uniform(0.72, 0.86)
        nucleus = canvas.ellipse(u, v, size, size * rng.uniform(0.75, 0.95), turn)
        for side in rng.uniform(0, 2 * np.pi, int(rng.integers(1, 3))):
            far = 1.2 * size
            notch = canvas.ellipse(u + far * np.cos(side), v + far * np.sin(side), 0.6 * size, 0.25 * size, side)
            nucleus = cut(nucleus, notch, 2.5)
    nucleus = nucleus + canvas.noise("coarse") * np.float32(0.6) + canvas.noise("wave") * np.float32(0.8)
    nucleus = np.maximum(nucleus, body + np.float32(1.5))
    _dots(canvas, canvas.cover(body + 2), canvas.tint((140, 84, 160), 6), rng.uniform(-2.2, -1.2), "fine", 0.6)
    _nucleus(
        canvas,
        nucleus,
        dark=(72, 20, 134),
        light=(142, 88, 158),
        contrast=rng.uniform(0.5, 0.8),
        open_=rng.uniform(0.0, 0.22),
    )
    if rng.random() < 0.45:
        room = canvas.cover(body + np.float32(1.5))
        for _ in range(int(rng.integers(1, 9))):
            angle, far = turn + np.pi + rng.normal(0, 1.1), radius * rng.uniform(0.3, 0.9)
            size = rng.uniform(0.9, 2.6)
            hole = canvas.cover(canvas.ellipse(x + far * np.cos(angle), y + far * np.sin(angle), size, size), 1.6)
            canvas.paint(hole * room * np.float32(0.85), (240, 222, 220))


def neutrophil(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Three to five dark lobes on thin strands, or a band, in pale pink cytoplasm with dust-like granules."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, 0.9, 0.12)
    rose = rng.uniform(0, 1)
    base = canvas.tint((178 + 26 * rose, 130 + 34 * rose, 164 + 8 * rose), 5)
    _cytoplasm(canvas, body, base, (base[0] + 34, base[1] + 44, base[2] + 18), "fine", 0.2)
    _dots(
        canvas,
        canvas.cover(body + 1),
        canvas.tint((150, 84, 148), 10),
        rng.uniform(-2.1, -0.7),
        "fine",
        rng.uniform(0.35, 0.8),
    )
    if rng.random() < 0.28:
        bend = rng.uniform(0.36, 0.5) * radius
        turn = rng.uniform(0, 2 * np.pi)
        reach = rng.uniform(1.2, 2.4)
        nucleus = canvas.arc(x, y, bend, radius * rng.uniform(0.2, 0.29), turn, reach)
        for end in (-reach, reach):
            lobe = radius * rng.uniform(0.2, 0.34)
            nucleus = join(
                nucleus, canvas.ellipse(x + bend * np.cos(turn + end), y + bend * np.sin(turn + end), lobe, lobe), 2.0
            )
    else:
        count = int(rng.choice([2, 3, 4, 5], p=[0.12, 0.4, 0.36, 0.12]))
        points = _on_arc(rng, x, y, rng.uniform(0.43, 0.56) * radius, count, 0.5 * count * rng.uniform(0.85, 1.15))
        big = (0.46, 0.37, 0.32, 0.275)[count - 2]
        nucleus = _chain(canvas, points, big * radius, 0.74 * big * radius, rng.uniform(0.6, 1.8))
    nucleus = np.maximum(nucleus + canvas.noise("coarse") * np.float32(0.5), body + np.float32(1))
    _nucleus(canvas, nucleus, contrast=rng.uniform(0.45, 0.85), open_=rng.uniform(-0.3, -0.05))


def platelet(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A fragment without a nucleus: purple granules in a pale, frayed rim."""
    rng = canvas.rng
    body = _body(canvas, x, y, radius, 1.0, rng.uniform(0.3, 1.1))
    pale = canvas.tint((150, 112, 164), 9)
    canvas.paint(
        canvas.cover(body, 2.5) * np.float32(rng.uniform(0.7, 1)),
        pale,
        (pale[0] + 30, pale[1] + 36, pale[2] + 10),
        np.clip(canvas.noise("grain") * 0.3 + 0.4, 0, 1),
    )
    inside = canvas.cover(body + np.float32(radius * rng.uniform(0.05, 0.3)), 4.0)
    dense = rng.uniform(0.0, 1.2)
    _dots(canvas, inside, canvas.tint((120, 60, 152), 7), dense, "grain", 0.8)
    _dots(canvas, inside, canvas.tint((90, 30, 142), 7), dense - 0.9, "clump", 0.85)
    _dots(canvas, inside, canvas.tint((86, 28, 138), 7), dense - 1.2, "fine", 0.8)


RADII = {
    "basophil": (29.5, 2.8),
    "eosinophil": (33.5, 2.8),
    "erythroblast": (23.5, 4.6),
    "immature_granulocyte": (34.5, 5.0),
    "lymphocyte": (24.5, 2.8),
    "monocyte": (36.5, 3.4),
    "neutrophil": (34.0, 2.8),
    "platelet": (12.0, 2.6),
}
"""Mean and deviation of the radius of each class, in units."""

PAINTERS: dict[str, Callable[[Canvas, float, float, float], None]] = {
    "basophil": basophil,
    "eosinophil": eosinophil,
    "erythroblast": erythroblast,
    "immature_granulocyte": immature_granulocyte,
    "lymphocyte": lymphocyte,
    "monocyte": monocyte,
    "neutrophil": neutrophil,
    "platelet": platelet,
}
