"""What OutlierFilter finds and what it costs, on real cells with non-cell images planted among them.

usage: CELLCLF_DATA=FOLDER python benchmarks/outliers.py [--seeds 3] [--method forest] [--sheets FOLDER] [--only-rare]

FOLDER holds data/acevedo96, data/bccd_crops and data/contaminants. Photographs are random cut-outs of the two
contaminants and of the images that come with scikit-learn and matplotlib (and with scikit-image, where it is
installed). For each situation the filter is fitted on cells and planted images together, as a user would; printed
are the fraction of real cells lost, the fraction found of each planted kind (with their number), and the seconds.
"Unseen" rows fit on one set and search another. Labelled rows draw few cells of some classes: no class may lose more
than .5 % of its cells. --sheets writes images of what was flagged.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cellclf import ImageSet, OutlierFilter, load

SIDE = 96
WORDS = (
    "slide",
    "12",
    "patient",
    "sample",
    "Giemsa",
    "100x",
    "objective",
    "scale bar",
    "blood",
    "smear",
    "label",
    "note",
)


def photographs(root: Path) -> list[Image.Image]:
    """Open every available photograph."""
    import matplotlib
    import sklearn

    files = sorted((root / "data" / "contaminants").glob("*.png"))
    files += sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
    files.append(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    found = importlib.util.find_spec("skimage")
    if found is not None and found.submodule_search_locations:
        names = (
            "chelsea.png",
            "coffee.png",
            "rocket.jpg",
            "motorcycle_left.png",
            "brick.png",
            "camera.png",
            "coins.png",
        )
        names += ("grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png", "retina.jpg", "logo.png", "color.png")
        folder = Path(found.submodule_search_locations[0]) / "data"
        files += [folder / name for name in names if (folder / name).exists()]
    return [Image.open(file).convert("RGB") for file in files]


def photo(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Cut a square out of a photograph."""
    image = photos[rng.integers(len(photos))]
    side = int(min(image.size) * rng.uniform(0.45, 1))
    left, top = (int(rng.integers(length - side + 1)) for length in image.size)
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(cut)[:, :: rng.choice([-1, 1])]


def text(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Print words, dark on light or light on dark."""
    grounds, inks = ((215, 256), (0, 90)) if rng.random() < 0.7 else ((0, 40), (190, 256))
    ground, ink = (tuple(int(v) for v in rng.integers(*levels, 3)) for levels in (grounds, inks))
    page = Image.new("RGB", (SIDE, SIDE), ground)
    size, y = int(rng.integers(9, 22)), int(rng.integers(-4, 8))
    while y < SIDE:
        line = " ".join(rng.choice(WORDS, 6))
        ImageDraw.Draw(page).text((int(rng.integers(-6, 6)), y), line, fill=ink, font=ImageFont.load_default(size))
        y += int(size * rng.uniform(1.1, 1.6))
    return np.asarray(page)


def blank(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Paint one colour (white, black, grey, any, or the smear's own ground), perhaps grainy or shaded."""
    ground = np.percentile(cells[rng.integers(len(cells))].reshape(-1, 3), 90, axis=0)
    colours = (np.full(3, 255.0), np.zeros(3), np.full(3, rng.uniform(60, 230)), rng.uniform(0, 255, 3), ground)
    image = np.tile(colours[rng.integers(5)], (SIDE, SIDE, 1))
    if rng.random() < 0.6:
        image += rng.normal(0, rng.uniform(0.5, 3), image.shape)
    if rng.random() < 0.4:
        image += np.linspace(-1, 1, SIDE)[:, None, None] * rng.uniform(0, 15)
    return np.clip(image.round(), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Draw noise: uniform, grey normal, coloured normal, salt and pepper."""
    shape = (SIDE, SIDE, 3)
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, shape, np.uint8)
    if kind == 3:
        return np.digitize(rng.random((*shape[:2], 1)), (0.2, 0.8)).repeat(3, 2).astype(np.uint8) * 127
    centre, width, planes = rng.uniform(60, 200, 3), rng.uniform(20, 60), 1 if kind == 1 else 3
    grains = centre[:planes] + rng.normal(0, width, (*shape[:2], planes))
    return np.broadcast_to(np.clip(grains, 0, 255), shape).astype(np.uint8)


def blurred(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Blur a cell beyond use (standard deviation 5-10 pixels)."""
    cell = Image.fromarray(cells[rng.integers(len(cells))])
    return np.asarray(cell.filter(ImageFilter.GaussianBlur(rng.uniform(5, 10))))


def stain(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Change a cell's stain: no colour, another hue, red and green changed."""
    cell = cells[rng.integers(len(cells))]
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(Image.fromarray(cell).convert("L"))[..., None].repeat(3, 2)
    if kind == 2:
        return cell[..., [1, 0, 2]]
    turned = np.array(Image.fromarray(cell).convert("HSV"))
    turned[..., 0] += np.uint8(rng.integers(64, 192))
    return np.asarray(Image.frombytes("HSV", (SIDE, SIDE), turned.tobytes()).convert("RGB"))


def nearer(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Magnify the inside of a cell four times."""
    side = int(rng.integers(18, 28))
    top, left = rng.integers(24, SIDE - 24 - side + 1, 2)
    cut = cells[rng.integers(len(cells))][top : top + side, left : left + side]
    return np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def farther(rng: np.random.Generator, cells: np.ndarray, photos: list[Image.Image]) -> np.ndarray:
    """Show a field of 9 to 25 cells."""
    count = int(rng.integers(3, 6))
    rows = [np.concatenate(cells[np.sort(rng.choice(len(cells), count, False))], axis=1) for _ in range(count)]
    return np.asarray(Image.fromarray(np.concatenate(rows)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


Maker = Callable[[np.random.Generator, np.ndarray, list[Image.Image]], np.ndarray]
KINDS: dict[str, Maker] = {
    "photo": photo,
    "text": text,
    "blank": blank,
    "noise": noise,
    "blurred": blurred,
    "stain": stain,
    "nearer": nearer,
    "farther": farther,
}


RARE: dict[str, dict[str, int]] = {
    "200 + 12": {"neutrophil": 200, "platelet": 12},
    "600 + 40": {"neutrophil": 600, "platelet": 40},
    "600 + 40, other classes": {"platelet": 600, "basophil": 40},
    "long tail": dict(
        zip(
            ("neutrophil", "eosinophil", "immature_granulocyte", "platelet", "erythroblast", "monocyte", "basophil"),
            (1000, 500, 250, 120, 60, 30, 25),
            strict=True,
        )
    )
    | {"lymphocyte": 12},
    **{f"{name} alone": {name: 500} for name in ("lymphocyte", "eosinophil", "basophil", "monocyte", "platelet")},
}
"""Classes of labelled real cells, and how many images of each."""


def rare_classes(
    cells: ImageSet, photos: list[Image.Image], method: str, seeds: int, shares: tuple[float, ...] = (0, 0.05)
) -> None:
    """Print what each class of labelled cells loses, and what is found of the non-cell images among them."""
    assert cells.labels is not None
    head = f"labelled cells, {seeds} draws"
    print(f"\n{head:40} {'planted':>7}  lost of each class; found of what was planted")
    images = cells.images
    for name, counts in RARE.items():
        for share in shares:
            lost, total = dict.fromkeys(counts, 0), dict.fromkeys(counts, 0)
            found = planted = 0
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                rows = [
                    rng.permutation(np.flatnonzero(cells.labels == cells.class_names.index(one)))[:n]
                    for one, n in counts.items()
                ]
                drawn = np.concatenate(rows)
                each = int(np.ceil(share * len(drawn) / len(KINDS))) if share else 0
                other = [make(rng, images, photos) for make in KINDS.values() for _ in range(each)]
                labels = np.concatenate([cells.labels[drawn], rng.choice(cells.labels[drawn], len(other))])
                both = np.concatenate([images[drawn], np.stack(other)]) if other else images[drawn]
                result = OutlierFilter(method=method, seed=seed).find(
                    ImageSet(both, labels, class_names=cells.class_names)
                )
                for one, places in zip(
                    counts, np.split(np.arange(len(drawn)), np.cumsum([*map(len, rows)])[:-1]), strict=True
                ):
                    lost[one] += int((~result.keep[places]).sum())
                    total[one] += len(places)
                found += int((~result.keep[len(drawn) :]).sum())
                planted += len(other)
            text = ", ".join(f"{one} {lost[one]} of {total[one]}" for one in counts)
            print(f"{name:40} {share:7.0%}  {text}" + (f"; {found} of {planted}" if planted else ""), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="forest")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--only-rare", action="store_true", help="labelled cells with rare classes only")
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/")
    data = Path(root) / "data"
    labelled = load(data / "acevedo96" / "train")
    train = labelled.images
    val, other = (load(data / name).images for name in ("acevedo96/val", "bccd_crops"))
    photos = photographs(Path(root))
    print(
        f"{len(train)} + {len(val)} cells, {len(other)} of an external laboratory, {len(photos)} photographs; ", end=""
    )
    print(f"method {options.method}, seeds 0-{options.seeds - 1}, default threshold")
    print(f"{'situation':34} {'n':>6} {'lost':>6} {'share':>7} {'s':>5}  found of each planted kind (how many)")

    def trial(
        name: str, cells: np.ndarray, share: float, kinds: tuple[str, ...], fit: np.ndarray | None = None
    ) -> None:
        lost, found, planted, seconds, total = 0, dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0), 0.0, 0
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            drawn = np.sort(rng.permutation(len(cells))[: 100 if name.endswith("100 cells") else len(cells)])
            each = int(np.ceil(share * len(drawn) / len(kinds))) if share else 0
            parts = [np.stack([KINDS[kind](rng, cells, photos) for _ in range(each)]) for kind in kinds if each]
            mixed = ImageSet(np.concatenate([cells[drawn], *parts]))
            start = time.perf_counter()
            outliers = OutlierFilter(method=options.method, seed=seed)
            result = (outliers if fit is None else outliers.fit(ImageSet(fit))).find(mixed)
            seconds += time.perf_counter() - start
            flagged = ~result.keep
            lost += int(flagged[: len(drawn)].sum())
            total += len(drawn)
            for k, kind in enumerate(kinds if each else ()):
                place = slice(len(drawn) + k * each, len(drawn) + (k + 1) * each)
                found[kind] += int(flagged[place].sum())
                planted[kind] += each
            if options.sheets and seed == 0:
                options.sheets.mkdir(parents=True, exist_ok=True)
                result.plot(96).savefig(options.sheets / f"{re.sub('[^a-z0-9]+', '_', name)}.png")
        shares = " ".join(
            f"{kind} {found[kind] / planted[kind]:.3f} ({planted[kind]})" for kind in kinds if planted[kind]
        )
        print(f"{name:34} {total:6} {lost:6} {lost / total:7.2%} {seconds / options.seeds:5.1f}  {shares}", flush=True)

    every = tuple(KINDS)
    rare_classes(
        ImageSet(train, labelled.labels, class_names=labelled.class_names), photos, options.method, options.seeds
    )
    if options.only_rare:
        return
    trial("no non-cell image", train, 0, every)
    trial("1 % non-cell", train, 0.01, every)
    trial("5 % non-cell", train, 0.05, every)
    for kind in ("photo", "text", "blank", "noise", "blurred"):
        trial(f"5 % {kind} only", train, 0.05, (kind,))
    trial("unseen: val, 5 % non-cell", val, 0.05, every, train)
    trial("none in 100 cells", train, 0, every)
    trial("8 % in 100 cells", train, 0.08, every)
    trial("external laboratory, none", other, 0, every)
    trial("external laboratory, 5 %", other, 0.05, every)
    trial("unseen: external laboratory", other, 0, every, train)


if __name__ == "__main__":
    main()
