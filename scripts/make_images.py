"""Draw the images of the documentation, all from generated cells.

usage: python scripts/make_images.py [--run FOLDER] [--chromium PROGRAM]

Writes docs/images/*.png. report.png is the first screen of a report page and needs a headless Chromium and a run:
FOLDER is that of `cellclf demo`, which is done first if there is none.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import cellclf as cc

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SEED = 7


def save(figure: object, name: str, *, dpi: int = 72) -> None:
    """Write a figure with few colours, so that the page stays light."""
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    shrink(path)


def shrink(path: Path) -> None:
    """Keep 256 colours."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256)
    small.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def photograph(page: Path, target: Path, *, chromium: str, width: int = 1100, height: int = 1000) -> None:
    """Take an image of the first screen of a page."""
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}"]
        flags += [f"--window-size={width},{height}", f"--screenshot={target}", page.resolve().as_uri()]
        subprocess.run([chromium, *flags], check=True, capture_output=True, timeout=120)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)

    cells = cc.make_cells(160, size=96, seed=SEED)
    save(cells.plot(per_class=6, seed=SEED), "classes")

    messy = cc.make_cells(200, size=96, seed=SEED, duplicates=1, near_duplicates=3, conflicts=1, foreign_copies=2)
    save(cc.Dedup().find(messy).plot(limit=36), "groups")

    save(cc.Augmenter.preset("laboratory", seed=SEED).plot(cells[:60], images=6, n_augmentations=9), "laboratory")

    if options.chromium is None:
        sys.exit("report.png is not drawn: there is no chromium; name one with --chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or Path(folder) / "run"
        if not (run / "report.html").is_file():
            subprocess.run([sys.executable, "-m", "cellclf", "demo", "--out", str(run)], check=True)
        photograph(run / "report.html", IMAGES / "report.png", chromium=options.chromium)
    shrink(IMAGES / "report.png")


if __name__ == "__main__":
    main()
