"""Measure the search for augmented copies on real and on generated cells; a part of dedup.py, and a script of its own.

usage: dedup_augmented.py [--copies N] [--sheet FILE.png] [--skip-time]

Every change alone at its limit, all of them drawn together, and all of them at a limit at once, one after the other
with an interpolation each, borders filled by a constant, by the edge, or mirrored. The thresholds were chosen on the
even images; what is printed is of the odd ones, and of the whole set for pairs that nobody planted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cellclf import ImageSet, load, make_cells
from cellclf.cleaning.dedup.augmented import AugmentedPairs, augmented_pairs

Pixels = NDArray[np.uint8]
FILLS = ("reflect", "constant", "nearest")


def warped(
    image: Pixels,
    turn: float = 0,
    shift: tuple[float, float] = (0, 0),
    zoom: float = 1,
    fill: str = "reflect",
    colour: tuple[float, ...] = (235, 220, 215),
    order: int = 1,
) -> Pixels:
    """Turn by degrees, zoom about the middle, and shift by shares of the side (down, right)."""
    height, width = image.shape[:2]
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = middle - matrix @ (middle + np.array(shift) * [height, width])
    planes = [
        ndimage.affine_transform(
            image[..., k].astype(np.float32), matrix, offset, order=order, mode=fill, cval=colour[k]
        )
        for k in range(3)
    ]
    return np.stack(planes, -1).clip(0, 255).round().astype(np.uint8)


def cropped(image: Pixels, area: float, down: float, right: float, how: int = Image.Resampling.BILINEAR) -> Pixels:
    """Cut out a share of the area and enlarge it to the old size; ``down`` and ``right`` say where, 0-1."""
    height, width = image.shape[:2]
    side = np.sqrt(area)
    top, left = height * (1 - side) * down, width * (1 - side) * right
    box = (left, top, left + width * side, top + height * side)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling(how), box=box))


def brightened(image: Pixels, factor: float) -> Pixels:
    """Multiply the values."""
    return (image * np.float32(factor)).clip(0, 255).round().astype(np.uint8)


def encoded(image: Pixels, quality: int) -> Pixels:
    """Encode as JPEG and decode."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def flipped(image: Pixels, number: int) -> Pixels:
    """Give one of the 8 flips and quarter turns."""
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if number & 4 else image, number & 3))


def together(image: Pixels, rng: np.random.Generator, at_limit: bool = False) -> Pixels:
    """Do everything, each drawn within its limits or at one of them."""

    def drawn(low: float, high: float) -> float:
        return float(rng.choice([low, high]) if at_limit else rng.uniform(low, high))

    def fill() -> dict[str, Any]:
        return {"fill": rng.choice(FILLS), "colour": colour, "order": order}

    order = int(rng.choice([1, 3]))
    colours = [tuple(image.reshape(-1, 3).mean(0)), (0, 0, 0), (255, 255, 255), (235, 220, 215)]
    colour = colours[rng.integers(4)]
    image = flipped(image, int(rng.integers(8)))
    image = warped(image, turn=drawn(-20, 20), **fill())
    image = warped(image, shift=(drawn(-0.06, 0.06), drawn(-0.06, 0.06)), **fill())
    image = warped(image, zoom=drawn(0.85, 1.18), **fill())
    how = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
    image = cropped(image, 0.8 if at_limit else drawn(0.8, 1), rng.uniform(), rng.uniform(), how)
    image = brightened(image, drawn(0.7, 1.4))
    return encoded(image, 50 if at_limit else int(rng.integers(50, 96)))


Change = Callable[[Pixels, np.random.Generator], Pixels]
ALONE: dict[str, Change] = {
    "flip or quarter turn": lambda image, rng: flipped(image, int(rng.integers(1, 8))),
    "turn 20 degrees": lambda image, rng: warped(image, turn=20 * rng.choice([-1, 1]), fill=rng.choice(FILLS)),
    "shift 6 %": lambda image, rng: warped(image, shift=tuple(rng.choice([-0.06, 0.06], 2)), fill=rng.choice(FILLS)),
    "zoom .85": lambda image, rng: warped(image, zoom=0.85, fill=rng.choice(FILLS)),
    "zoom 1.18": lambda image, rng: warped(image, zoom=1.18),
    "crop to 80 %": lambda image, rng: cropped(image, 0.8, rng.uniform(), rng.uniform()),
    "brightness .7": lambda image, rng: brightened(image, 0.7),
    "brightness 1.4": lambda image, rng: brightened(image, 1.4),
    "JPEG 50": lambda image, rng: encoded(image, 50),
}
TOGETHER: dict[str, Change] = {
    "all drawn together": together,
    "all at a limit together": lambda image, rng: together(image, rng, at_limit=True),
}


def measure_recall(images: NDArray[np.uint8], copies: int, seed: int = 3) -> dict[str, Any]:
    """Look for copies of some images among all: recall of each change, and pairs other than the planted ones."""
    rng = np.random.default_rng(seed)
    source = np.sort(rng.permutation(len(images))[:copies])
    rows: dict[str, Any] = {}
    for name, change in {**ALONE, **TOGETHER}.items():
        some = source if name in TOGETHER else source[:: max(1, copies // 200)]
        made = np.stack([change(images[k], rng) for k in some])
        found = augmented_pairs(ImageSet(images), ImageSet(made))
        right = found.first == some[found.second]
        rows[name] = {
            "recall": len(np.unique(found.second[right])) / len(some),
            "other pairs": np.stack([found.first, some[found.second]], 1)[~right].tolist(),
        }
        print(f"  augmented copies, {name:24} {rows[name]}", flush=True)
    return rows


def measure_time(images: NDArray[np.uint8], count: int = 13_759) -> dict[str, float]:
    """Time the search in as many images as the challenge has, and in half of them."""
    seconds = {}
    rng = np.random.default_rng(0)
    more = np.stack([together(images[k], rng) for k in rng.permutation(len(images))[: max(0, count - len(images))]])
    cells = rng.permutation(np.concatenate([images, more]))[:count]
    for some in (cells[: count // 2], cells):
        start, busy = time.perf_counter(), time.process_time()
        augmented_pairs(ImageSet(some))
        seconds[f"{len(some):,} images"] = time.perf_counter() - start
        seconds[f"{len(some):,} images, processor"] = time.process_time() - busy
    return seconds


def measure_growth(images: NDArray[np.uint8], counts: tuple[int, ...] = (3000, 6000, 12_000)) -> dict[str, float]:
    """Measure the processor time of the search in ever more images that are all different, in one task."""
    cells = images[np.random.default_rng(0).permutation(len(images))]
    seconds = {}
    for count in counts:
        busy = time.process_time()
        augmented_pairs(ImageSet(cells[:count]), n_jobs=1)
        seconds[f"{min(count, len(cells)):,} images"] = time.process_time() - busy
    return seconds


def sheet(images: NDArray[np.uint8], pairs: AugmentedPairs, path: Path) -> None:
    """Draw all pairs, the least alike last, to be looked at."""
    wide, side = 6, images.shape[1]
    page = Image.new("RGB", (wide * (2 * side + 8), (side + 28) * -(-len(pairs) // wide)), "white")
    draw, changes = ImageDraw.Draw(page), pairs.changes()
    for place, k in enumerate(np.argsort(-pairs.similarity)):
        top, left = (side + 28) * (place // wide), (2 * side + 8) * (place % wide)
        for right, number in ((0, pairs.first[k]), (side + 1, pairs.second[k])):
            page.paste(Image.fromarray(images[number]), (left + right, top + 26))
        draw.text((left, top), f"{pairs.first[k]} - {pairs.second[k]}  {pairs.similarity[k]:.3f}", "black")
        draw.text((left, top + 12), changes[k][: side // 3], "black")
    page.save(path)


def measure_augmented(
    images: NDArray[np.uint8], copies: int = 1000, page: Path | None = None, clock: bool = True
) -> dict[str, Any]:
    """Measure recall on the odd images and on generated cells, and list every pair that the whole set holds."""
    print("augmented copies of real cells, the half that nothing was chosen on:", flush=True)
    result: dict[str, Any] = {"real": measure_recall(images[1::2], copies)}
    print("augmented copies of generated cells:", flush=True)
    result["generated"] = measure_recall(make_cells(2000, size=96, seed=5).images, copies)
    found = augmented_pairs(ImageSet(images))
    rows = zip(found.first.tolist(), found.second.tolist(), found.similarity.tolist(), found.changes(), strict=True)
    result["pairs of the whole set"] = list(rows)
    print(f"{len(found)} pairs among {len(images):,} real cells:", *result["pairs of the whole set"], sep="\n  ")
    if page is not None:
        sheet(images, found, page)
    if clock:
        result["processor seconds, different images"] = measure_growth(images)
        print("processor seconds, different images:", result["processor seconds, different images"], flush=True)
        result["seconds"] = measure_time(images)
        print(f"seconds: {result['seconds']}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    return result


def main() -> None:
    """Run this part alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1000, help="copies that are planted of each kind")
    parser.add_argument("--sheet", type=Path, help="draw the pairs of the whole set here")
    parser.add_argument("--skip-time", action="store_true")
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/acevedo96")
    images = load(Path(root) / "data" / "acevedo96" / "train").images
    measure_augmented(images, options.copies, options.sheet, not options.skip_time)


if __name__ == "__main__":
    main()
