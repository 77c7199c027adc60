"""Plant copies of every kind among real cells, and score the pairs that a tool finds; for dedup.py."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellclf import ImageSet
from cellclf.cleaning.dedup.hashes import turned_image

Images = NDArray[np.uint8]
WHOLE = ("identical", "JPEG 60", "brightness", "flip/turn + JPEG 60 + brightness")
CENTRE = ("other background, disc", "other background, soft")
BLEND = "shared background, blended"


def jpeg(image: Images, quality: int = 60) -> Images:
    """Encode and decode an image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brighter(image: Images, factor: float) -> Images:
    """Multiply an image's values."""
    return np.clip(image * factor, 0, 255).round().astype(np.uint8)


def pasted(cell: Images, behind: Images, soft: bool) -> Images:
    """Put a cell onto another image."""
    row, column = np.mgrid[: len(cell), : len(cell)] / len(cell) - 0.5
    away = np.hypot(row, column)
    weight = np.clip((0.37 - away) / 0.1, 0, 1) if soft else (away < 0.32).astype(float)
    return (cell * weight[..., None] + behind * (1 - weight[..., None])).round().astype(np.uint8)


def non_cell_images(data: Path, rng: np.random.Generator) -> list[Images]:
    """Give five non-cell images: two photographs, blobs, stripes, writing."""
    from PIL import ImageDraw

    photos = [np.asarray(Image.open(p).convert("RGB")) for p in sorted((data / "contaminants").glob("*.png"))]
    blobs = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)).resize(
        (96, 96), Image.Resampling.BICUBIC
    )
    wave = 128 + 100 * np.sin(np.add.outer(np.arange(96) * 0.9, np.arange(96) * 0.5))
    page = Image.new("RGB", (96, 96), "white")
    for line in range(9):
        ImageDraw.Draw(page).text((2, 10 * line), "Lorem ipsum dolor"[line:] + str(line * 7919), fill="black")
    return [*photos, np.asarray(blobs), np.repeat(wave[..., None], 3, 2).astype(np.uint8), np.asarray(page)]


def plant(
    cells: ImageSet, data: Path, seed: int = 11
) -> tuple[Images, NDArray[np.int64], NDArray[np.str_], NDArray[np.int64]]:
    """Make all images, and of each plant its source, kind and what lies behind it (-1: nothing of the set)."""
    rng = np.random.default_rng(seed)
    real = cells.images
    plants: list[Images] = []
    source, kinds, behind = [], [], []

    def add(kind: str, made: Images, of: int, back: int = -1) -> None:
        plants.append(made)
        source.append(of)
        kinds.append(kind)
        behind.append(back)

    chosen = iter(rng.permutation(len(real)))
    backs = rng.permutation(len(real))
    for k in range(250):
        add(WHOLE[0], real[(i := int(next(chosen)))], i)
        add(WHOLE[1], jpeg(real[(i := int(next(chosen)))]), i)
        add(WHOLE[2], brighter(real[(i := int(next(chosen)))], (0.9, 1.1)[k % 2]), i)
    for k in range(350):
        i = int(next(chosen))
        add(WHOLE[3], jpeg(brighter(turned_image(real[i], 1 + k % 7), (0.9, 1.1)[k % 2])), i)
    for k in range(400):
        i, back = int(next(chosen)), int(backs[k])
        add(CENTRE[k % 2], pasted(real[i], real[back], bool(k % 2)), i, back)
    for number, photo in enumerate(non_cell_images(data, rng)):
        for k in range(60):
            i, weight = int(next(chosen)), (0.5, 0.6, 0.75)[k % 3]
            add(BLEND, (weight * photo + (1 - weight) * real[i]).round().astype(np.uint8), -1 - number)
    return np.concatenate([real, np.stack(plants)]), np.array(source), np.array(kinds), np.array(behind)


class Truth:
    """Which pairs of images are copies of each other."""

    def __init__(self, images: Images, source: NDArray[np.int64], kinds: NDArray[np.str_]) -> None:
        count = len(images) - len(source)
        self.real, self.kinds, self.source = count, kinds, source
        content: dict[bytes, int] = {}
        self.cell = np.array([content.setdefault(one.tobytes(), k) for k, one in enumerate(images[:count])])
        self.natural = int((self.cell != np.arange(count)).sum())
        self.cell = np.concatenate([self.cell, np.where(source >= 0, self.cell[source], -1 - np.arange(len(source)))])

    def right(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which pairs show one cell."""
        return self.cell[pairs[:, 0]] == self.cell[pairs[:, 1]]

    def counts(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which pairs are scored: not two blends of one non-cell image, which are neither copies nor cells."""
        blend = np.concatenate([np.zeros(self.real, bool), self.kinds == BLEND])
        return ~(blend[pairs[:, 0]] & blend[pairs[:, 1]])

    def score(self, pairs: NDArray[np.int64]) -> dict[str, Any]:
        """Give recall for each kind of plant, precision of all pairs, and the real cells wrongly removed."""
        found = {frozenset(pair) for pair in pairs.tolist()}
        pairs = pairs[self.counts(pairs)]
        right = self.right(pairs)
        recall = {}
        for kind in (*WHOLE, *CENTRE):
            some = np.flatnonzero(self.kinds == kind)
            hit = [frozenset((self.real + k, int(self.source[k]))) in found for k in some]
            recall[kind] = float(np.mean(hit))
        kept = np.ones(len(self.cell), bool)
        for a, b in sorted(map(sorted, pairs.tolist())):
            if kept[a]:
                kept[b] = False
        alive = set(self.cell[kept].tolist())
        wrong = sum(1 for k in range(self.real) if not kept[k] and int(self.cell[k]) not in alive)
        return {"recall": recall, "precision": float(right.mean()) if len(pairs) else 1.0, "wrongly_removed": wrong}


def neighbours(real: Images, classes: NDArray[np.int64], truth: Truth, count: int = 400) -> list[frozenset[int]]:
    """Give the pairs of different cells of one class that look most alike to a plain cosine of small images."""
    small = real.reshape(len(real), 16, 6, 16, 6, 3).mean((2, 4, 5)).reshape(len(real), -1)
    small -= small.mean(1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    found = []
    for number in np.unique(classes):
        places = np.flatnonzero(classes == number)
        similarity = small[places] @ small[places].T
        similarity[truth.cell[places][:, None] == truth.cell[places]] = -1
        for row in np.argsort(-similarity.max(1))[: count // 8 * 2]:
            found.append(frozenset((int(places[row]), int(places[similarity[row].argmax()]))))
    return list(set(found))
