"""The files that the fences of the documentation speak of, small: sets, folders, tables and a trained run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

import cellclf as cc

SIDE = 48
TINY = ["trainer.backbone.params.filters=[16,16,16]", "trainer.batch_size=16", "trainer.head.units=[]"]
STAGE = 'trainer.stages=[{epochs=1,learning_rate=2e-3,unfreeze="all",train_batch_norm=true}]'


def write_folder(cells: cc.ImageSet, root: Path, *, classes: bool = True) -> None:
    """Write a set as images, with a folder for each class."""
    for label, id_, image in zip(cells.labels, cells.ids, cells.images, strict=True):
        place = root / cells.class_names[label] if classes else root
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{id_.replace(':', '-')}.png")


def write_bench(root: Path) -> Path:
    """Write everything into a folder that is there.

    training_set.npz, test_set.npz: arrays. cells/, other_cells/, next_months_slides/: a folder for each class.
    new_cells/: images without labels. cells.csv: path, label, group. labelled.csv: answers.
    runs/a and runs/b: finished runs.
    """
    cells = cc.make_cells(
        72, size=SIDE, seed=6, slides=9, duplicates=2, conflicts=1, near_duplicates=2, foreign=1, foreign_copies=2
    )
    test, other = (cc.make_cells(40, size=SIDE, seed=2, severity=shift) for shift in (0.0, 0.6))
    cells.save(root / "training_set.npz")
    cc.Decisions.from_labels(dict.fromkeys(other.ids[:3], "neutrophil")).save(root / "labelled.csv")
    test.save(root / "test_set.npz")
    write_folder(cells, root / "cells")
    write_folder(other, root / "other_cells")
    write_folder(test, root / "next_months_slides")
    write_folder(test[:12], root / "new_cells", classes=False)
    with (root / "cells.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(path.relative_to(root), path.parent.name) for path in sorted((root / "cells").rglob("*.png"))]
        slides = np.arange(len(rows)) % 9
        csv.writer(file).writerows(
            [("path", "label", "group"), *((*row, f"slide {slide}") for row, slide in zip(rows, slides, strict=True))]
        )
    for name, seed in (("a", 7), ("b", 8)):
        pipe = cc.Pipeline.from_recipe("demo", [f"seed={seed}", *TINY, STAGE])
        pipe.run(cells, out=root / "runs" / name, tests={"hospital_b": other}, source={"src": "training_set.npz"})
    return root
