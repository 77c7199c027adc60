"""From the report's recipe to `challenge`, step by step, on sets that were neither trained nor chosen on.

usage: CELLCLF_DATA=FOLDER python benchmarks/challenge.py ROW [ROW ...] [--out runs/challenge] [--seed 7]
       CELLCLF_DATA=FOLDER python benchmarks/challenge.py --table [--out runs/challenge]

A ROW is one training; the same command resumes after a stop. "report", "challenge" and "challenge:quick" are recipes,
trained on the whole cleaned challenge set from its file to the report page; the numbered rows take 4,000 stratified
images and 12 epochs, each adding one thing to another row. Then every set is scored, by the recipes also averaged over
the eight flips and turns: other images of the source, their shifted copy (`make_shifted.py`, seed 11), MedMNIST-C on
512 of them, another laboratory (balanced accuracy over its classes of 20 images and more). Nothing is chosen on these
sets. --table prints what is finished.

FOLDER holds data/acevedo96, data/bccd_crops, data/make_challenge.py, data/make_shifted.py and weights/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import cellclf as cc
from cellclf.utils.atomic import replacing, write_json

CLASSES = ["basophil", "eosinophil", "erythroblast", "immature_granulocyte", "lymphocyte", "monocyte", "neutrophil"]
CLASSES.append("platelet")
RECIPES = ("report", "challenge", "challenge:quick")
WEIGHTS = "weights/mobilenet_v1_0.75_imagenet_notop.weights.h5"

REPORT = [{"step": "rotate", "degrees": 180.0}, {"step": "flip"}, {"step": "zoom", "low": 0.9, "high": 1.1}]
REPORT += [{"step": "brightness", "low": 0.8, "high": 1.2}, {"step": "noise", "low": 0.0, "high": 8.0}]
POLICY = [{"step": "rand_augment", "rate": 0.8, "count": 4, "magnitude": 0.6, "deviation": 0.2}]
MASKS = [{"step": "cutout", "rate": 0.3, "fill": [0, 128, 255]}, {"step": "gridmask", "rate": 0.1}]
HEAD_FIRST = [
    {"epochs": 6, "learning_rate": 1e-4, "monitor": "val_loss"},
    {"epochs": 6, "learning_rate": 1e-5, "unfreeze": 1, "monitor": "val_loss"},
]
DEEP = {"epochs": 12, "learning_rate": 5e-4, "unfreeze": "all", "train_batch_norm": True}
DEEP |= {"schedule": "cosine", "warmup": 1, "monitor": "mean_macro_f1"}
LION = {"optimizer": "lion", "class_weight": "balanced", "head": {"units": [512, 256], "dropout": 0.5, "l2": 1e-4}}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.02, "label_smoothing": 0.05, "head": {"units": [], "dropout": 0.2}}
ADAMW |= {"val_augmenter": {"preset": "challenge"}, "stages": [DEEP]}
BOTH = {"augmenter": {"preset": ["challenge", "stain"]}}
AVERAGE = {"ema": 0.998, "class_weight": "balanced"}

STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "1-report": ("as in the report", LION | {"stages": HEAD_FIRST, "augmenter": {"steps": REPORT}}),
    "2-policy": (
        "+ RandAugment",
        LION | {"stages": HEAD_FIRST, "augmenter": {"steps": REPORT + POLICY}},
    ),
    "3-masks": (
        "+ Cutout, GridMask",
        LION | {"stages": HEAD_FIRST, "augmenter": {"steps": REPORT + POLICY + MASKS}},
    ),
    "4-deep": ("+ all layers, AdamW, cosine", ADAMW | {"augmenter": {"steps": REPORT + POLICY + MASKS}}),
    "4-bare": ("row 4 without Cutout, GridMask", ADAMW | {"augmenter": {"steps": REPORT + POLICY}}),
    "5-mix": (
        "row 4 + MixUp, CutMix",
        ADAMW | {"augmenter": {"steps": REPORT + POLICY + MASKS}, "mix": {"kind": "both", "alpha": 0.4, "rate": 0.5}},
    ),
    "6-presets": ("row 4 with the presets challenge and stain", ADAMW | BOTH),
    "7-ema": ("row 6 + EMA of weights, balanced classes", ADAMW | BOTH | AVERAGE),
    "8-still": (
        "row 7 with BatchNorm frozen",
        ADAMW | BOTH | AVERAGE | {"stages": [DEEP | {"train_batch_norm": False}]},
    ),
    "8-size": ("row 7 at 128 px", ADAMW | BOTH | AVERAGE | {"image_size": 128}),
}


def main() -> None:
    """Train, score and print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join([*STEPS, *RECIPES]))
    parser.add_argument("--out", type=Path, default=Path("runs/challenge"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--set", dest="changes", action="append", default=[], help="Change the recipe, for trying.")
    parser.add_argument("--no-scores", action="store_true", help="Train only: score no set.")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.rows} - {*STEPS, *RECIPES}):
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join([*STEPS, *RECIPES])}")
    shared = Path(os.environ["CELLCLF_DATA"])
    for row in arguments.rows:
        folder = (
            arguments.out / f"{row.replace(':', '-')}-seed{arguments.seed}{''.join('-' + c for c in arguments.changes)}"
        )
        run = train(row, shared, folder, arguments.seed, arguments.changes)
        if not arguments.no_scores:
            score(run, shared, folder, arguments.out)
    if arguments.table:
        table(arguments.out)


def train(row: str, shared: Path, folder: Path, seed: int, changes: list[str]) -> cc.Run:
    """Train one row, or resume it, or read it."""
    source = made(shared, folder.parent, "make_challenge.py")
    cells = cc.load(source, class_names=CLASSES)
    backbone = {"name": "mobilenet", "weights": str(shared / WEIGHTS), "params": {"alpha": 0.75}}
    if row in STEPS:
        cells = stratified(cc.Dedup().find(cells).apply(cells), 5000, seed)
        recipe: dict[str, Any] = {"seed": seed, "dedup": {}, "outliers": {}, "split": {"val": 0.2}}
        recipe["trainer"] = {"batch_size": 64, **STEPS[row][1], "backbone": backbone}
    else:
        from cellclf.pipeline.recipe import read_recipe

        recipe = read_recipe(row)
        recipe["trainer"]["backbone"], recipe["seed"] = backbone, seed
    pipe = cc.Pipeline.from_recipe(recipe, changes)
    started, busy, fresh = time.perf_counter(), time.process_time(), not folder.exists()
    run = pipe.run(cells, out=folder, show=True).run
    if fresh:  # of what was resumed, the time of the parts is not known
        minutes = {"clock": (time.perf_counter() - started) / 60, "processor": (time.process_time() - busy) / 60}
        write_json(folder / "minutes.json", minutes)
        print(f"{folder.name}: " + ", ".join(f"{value:.1f} minutes by the {name}" for name, value in minutes.items()))
    return run


def stratified(cells: cc.ImageSet, count: int, seed: int) -> cc.ImageSet:
    """Take a stratified sample."""
    from sklearn.model_selection import train_test_split

    rows, _ = train_test_split(np.arange(len(cells)), train_size=count, stratify=cells.labels, random_state=seed)
    return cells.subset(np.sort(rows))


def made(shared: Path, folder: Path, script: str, *arguments: str) -> Path:
    """Run one of the data folder's scripts, which writes its set beside the runs, once."""
    target = folder / script.replace("make_", "").replace(".py", ".npz")
    if not target.exists():
        with replacing(target) as new:
            paths = [arguments[0], str(new), *arguments[1:]] if arguments else [str(new)]
            subprocess.run([sys.executable, str(shared / "data" / script), *paths], check=True)
    return target


def score(run: cc.Run, shared: Path, folder: Path, out: Path) -> None:
    """Score a run on every set, and write the scores beside it; those that are there are not computed again."""
    target = folder / "scores.json"
    found: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    clean = cc.load(shared / "data" / "acevedo96" / "val")
    shifted = cc.load(made(shared, out, "make_shifted.py", str(shared / "data" / "acevedo96" / "val"), "11"))
    sets = {"clean": clean, "shifted": shifted, "other laboratory": cc.load(shared / "data" / "bccd_crops")}
    for name, cells in sets.items():
        for tta in (1,) if row_of(folder) in STEPS else (1, 8):
            if (key := f"{name}, views {tta}") not in found:
                min_count = 20 if name == "other laboratory" else 1
                report = run.evaluate(cells, tta=tta, min_count=min_count)
                found[key] = report.to_dict()
                print(f"{folder.name}: {key}: accuracy {report.accuracy}, balanced {report.balanced_accuracy}")
                keep(target, found)
    if "corrupted" not in found:
        robust = run.robustness(stratified(clean, 512, 0))
        print(robust)
        found["corrupted"] = robust.to_dict()
        keep(target, found)


def row_of(folder: Path) -> str:
    """Give the name of the row that a folder holds."""
    return folder.name.partition("-seed")[0]


def keep(target: Path, found: dict[str, Any]) -> None:
    """Write the scores so far."""
    write_json(target, found)


def table(out: Path) -> None:
    """Print the finished rows as Markdown: percent, with 95 % intervals where one number stands alone."""
    names = {row: text for row, (text, _) in STEPS.items()}
    names = {"report": "", **names} | {name.replace(":", "-"): f"recipe `{name}`" for name in RECIPES}
    seen, every = set(), set()
    for scores in out.glob("*-seed*/scores.json"):
        for one in json.loads(scores.read_text())["corrupted"]["corruptions"]:
            (seen if one["seen"] else every).add(one["name"])
    unseen = sorted(every - seen)
    print(f"| row | clean | shifted | MedMNIST-C, all / {' and '.join(unseen)} | other laboratory | minutes |")
    print("|---|---|---|---|---|---|")
    for row, text in names.items():
        for scores in sorted(out.glob(f"{row}-seed*/scores.json")):
            found = json.loads(scores.read_text())
            minutes = json.loads((scores.parent / "manifest.json").read_text())["seconds"] / 60
            robust = found["corrupted"]
            unseen_mean = np.mean([one["mean"]["value"] for one in robust["corruptions"] if one["name"] in unseen])
            for tta in (1,) if row in STEPS else (1, 8):
                cells = [
                    text if tta == 1 else "the same, 8 views",
                    shown(found[f"clean, views {tta}"]["accuracy"]),
                    shown(found[f"shifted, views {tta}"]["accuracy"]),
                    f"{shown(robust['mean'])} / {unseen_mean:.3f}" if tta == 1 else "",
                    shown(found[f"other laboratory, views {tta}"]["balanced_accuracy"]),
                    f"{minutes:.0f}" if tta == 1 else "",
                ]
                print(f"| {' | '.join(cells)} |")


def shown(found: dict[str, float] | None) -> str:
    """Write an estimate with its interval."""
    return "-" if found is None else f"{found['value']:.3f} ({found['low']:.3f}-{found['high']:.3f})"


if __name__ == "__main__":
    main()
