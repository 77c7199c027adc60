"""What tells classes apart besides the cells is named by inspect and --check, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellclf import ImageSet, load, make_cells
from cellclf.data.shortcuts import shortcuts

CELLS = make_cells(20, size=24, seed=1).images


def save(folder: Path, kind: str) -> ImageSet:
    for k, cell in enumerate(CELLS):
        image, ending = Image.fromarray(cell), "png"
        if k % 2:
            image = image.resize((32, 32)) if kind == "size" else image.convert("L") if kind == "grey" else image
            ending = "jpg" if kind == "ending" else ending
        (folder / "ab"[k % 2]).mkdir(exist_ok=True)
        image.save(folder / "ab"[k % 2] / f"{k}.{ending}")
    return load(folder)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("size", "nearly all images of a were 24x24 pixels, of b were 32x32 pixels, and nearly no others"),
        ("grey", "nearly all images of a are in colour, of b are grey, and nearly no others"),
        ("ending", "nearly all images of a are PNG files, of b are JPEG files, and nearly no others"),
    ],
)
def test_classes_that_differ_in_their_files(tmp_path: Path, kind: str, text: str) -> None:
    found = save(tmp_path, kind)
    (line,) = shortcuts(found)
    assert line.startswith(text) and f"note: {line}" in found.summary()


def test_one_class_of_several(tmp_path: Path) -> None:
    images = CELLS.copy()
    images[:5] = images[:5, ..., :1]
    cells = ImageSet(images, [0] * 5 + [1, 2, 3] * 5)
    assert shortcuts(cells)[0].startswith("nearly all images of 0 are grey, and nearly no others")
    assert not shortcuts(cells.replace(labels=[0, 1, 2, 3] * 5)) and not shortcuts(cells.replace(labels=None))
    assert not shortcuts(save(tmp_path, "")) and not shortcuts(cells.subset(np.arange(8)))
