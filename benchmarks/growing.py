"""Stages that grow against one size: processor time until the same macro F1 on the inner altered copy.

usage: CELLCLF_DATA=FOLDER python benchmarks/growing.py [--images 2000] [--seed 7] [--out runs/growing]

Both train MobileNet 0.75 with ImageNet weights on the same stratified images of the source, with the augmentation of
`challenge`, and are scored after each epoch, at 96 pixels, on the same validation images and their altered copy.
"fixed" trains 10 epochs at 96 pixels; "growing" 6 at 64 and 4 at 96, with augmentation that grows, too. Nothing but
validation images is looked at. Processor time counts, all threads together, so that other programs change little.
Both resume after a stop; the time of an epoch is that of its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import cellclf as cc
from cellclf.data.split import Parts
from cellclf.utils.atomic import write_json

WEIGHTS = "weights/mobilenet_v1_0.75_imagenet_notop.weights.h5"
COMMON = {"unfreeze": "all", "train_batch_norm": True, "monitor": "mean_macro_f1", "learning_rate": 8e-4}
PLANS: dict[str, list[dict[str, Any]]] = {
    "fixed": [{"epochs": 10, "schedule": "cosine", "warmup": 1}],
    "growing": [
        {"epochs": 6, "warmup": 1, "image_size": 64, "strength": (0.4, 0.8)},
        {"epochs": 4, "schedule": "cosine", "strength": (0.8, 1.0)},
    ],
}


def main() -> None:
    """Train both, and print when each reached what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("runs/growing"))
    arguments = parser.parse_args()
    shared = Path(os.environ["CELLCLF_DATA"])
    cells = cc.load(shared / "data" / "acevedo96" / "train")
    cells = cells.subset(np.sort(np.random.default_rng(arguments.seed).permutation(len(cells))[: arguments.images]))
    parts = cc.Split(val=0.2, seed=arguments.seed).apply(cells)
    curves = {name: curve(name, parts, shared, arguments) for name in PLANS}
    for name, rows in curves.items():
        for row in rows:
            print(
                f"{name:<8} stage {row['stage']} epoch {row['epoch']:>2}  {row['processor']:7.1f} s of processor time  "
                f"shifted macro F1 {row['shifted_macro_f1']:.3f}  val macro F1 {row['val_macro_f1']:.3f}"
            )
    best = max(row["shifted_macro_f1"] for row in curves["fixed"])
    for share in (0.95, 0.98, 1.0):
        level = share * best
        when = {name: reached(rows, level) for name, rows in curves.items()}
        if all(when.values()):
            print(
                f"shifted macro F1 {level:.3f}: fixed {when['fixed']:.0f} s, growing {when['growing']:.0f} s of ",
                end="",
            )
            print(f"processor time, a factor of {when['fixed'] / when['growing']:.2f}")
        else:
            print(f"shifted macro F1 {level:.3f}: {', '.join(f'{n} {t:.0f} s' for n, t in when.items() if t)} only")


def curve(name: str, parts: Parts, shared: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one plan; give its scores by processor time."""
    folder = arguments.out / f"{name}-{arguments.images}-seed{arguments.seed}"
    record = folder.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(record.read_text()) if record.exists() else []
    before, began = (rows[-1]["processor"] if rows else 0.0), time.process_time()

    def after_epoch(row: dict[str, Any]) -> None:
        rows.append({**row, "processor": before + time.process_time() - began})
        write_json(record, rows)

    trainer = cc.Trainer(
        backbone=cc.Backbone("mobilenet", weights=str(shared / WEIGHTS), params={"alpha": 0.75}),
        head=cc.Head(units=(), dropout=0.2),
        augmenter=cc.Augmenter.from_dict({"preset": ["challenge", "stain"], "seed": arguments.seed}),
        val_augmenter=cc.Augmenter.preset("challenge", seed=arguments.seed + 1),
        stages=[cc.Stage(**{**COMMON, **stage}) for stage in PLANS[name]],
        optimizer="adamw",
        weight_decay=0.02,
        class_weight="balanced",
        label_smoothing=0.05,
        ema=0.998,
        seed=arguments.seed,
    )
    trainer.fit(parts.train, parts.val, out=folder, show=True, callbacks=[after_epoch])
    return rows


def reached(rows: list[dict[str, Any]], level: float) -> float | None:
    """Give the processor time until a score was reached."""
    return next((row["processor"] for row in rows if row["shifted_macro_f1"] >= level), None)


if __name__ == "__main__":
    main()
