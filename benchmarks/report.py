"""The report, measured: recipe `report` with a network that has real weights, on sets that nothing was chosen on.

usage: CELLCLF_DATA=FOLDER python benchmarks/report.py [--images 2000] [--out runs/report] [--seed 7]
       CELLCLF_DATA=FOLDER python benchmarks/report.py --table [--out runs/report]

Xception by default, one of the report's four networks; nothing of the recipe but the network is changed. --images takes
a stratified part of the cleaned set, 0 all of it, of which every epoch of the last block takes minutes on two cores;
--budget ends that stage early. The table says after how many epochs. The same command resumes after a stop. --table
prints what is finished beside the report's own figures.

FOLDER holds data/acevedo96, data/bccd_crops, data/make_challenge.py, data/make_shifted.py and weights/.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from challenge import CLASSES, made, shown, stratified

import cellclf as cc
from cellclf.pipeline import Outcome
from cellclf.pipeline.recipe import read_recipe
from cellclf.utils.atomic import write_json

WEIGHTS = "weights/xception_imagenet_notop.weights.h5"
REPORTED = {"train": "98.28 %", "val": "98.18 %", "hidden test": "51.00 %"}
"""Accuracy that the report states for its best network."""
SETS = {
    "train": "training, without its copies",
    "val": "validation",
    "clean": "other images of the source",
    "shifted": "the same, altered",
    "other laboratory": "another laboratory, its four larger classes",
}


def main() -> None:
    """Train and score, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="xception")
    parser.add_argument("--weights", type=Path, help=f"Default: {WEIGHTS} of the data folder.")
    parser.add_argument("--images", type=int, default=2000, help="Of the cleaned set, both parts together; 0 is all.")
    parser.add_argument("--out", type=Path, default=Path("runs/report"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--budget", type=float, help="End the last stage after so many minutes of processor time.")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="Change the recipe, for trying.")
    parser.add_argument("--table", action="store_true", help="Print what is finished.")
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.out)
        return
    shared = Path(os.environ["CELLCLF_DATA"])
    weights = arguments.weights or shared / WEIGHTS
    name = f"{arguments.backbone}-{arguments.images or 'all'}-seed{arguments.seed}"
    folder = arguments.out / (name + "".join(f"-{change}" for change in arguments.changes))
    outcome = train(shared, folder, arguments, str(weights))
    score(outcome, shared, folder)
    table(arguments.out)


def train(shared: Path, folder: Path, arguments: argparse.Namespace, weights: str) -> Outcome:
    """Do the recipe's whole job, or resume it, or read it; the processor time is added up over all calls."""
    cells = cc.load(made(shared, folder.parent, "make_challenge.py"), class_names=CLASSES)
    if arguments.images:
        cells = stratified(cc.Dedup().find(cells).apply(cells), arguments.images, arguments.seed)
    recipe = read_recipe("report")
    recipe["seed"], recipe["trainer"]["backbone"] = arguments.seed, {"name": arguments.backbone, "weights": weights}
    pipe = cc.Pipeline.from_recipe(recipe, arguments.changes)
    return pipe.run(cells, out=folder, show=True, callbacks=[processor_clock(folder, arguments.budget)])


def processor_clock(folder: Path, budget: float | None) -> Any:
    """Make a callback that counts processor time over all calls, and ends the stage when it is used up."""
    import keras

    path = folder / "processor.json"
    before = json.loads(path.read_text())["seconds"] if path.exists() else 0.0
    started = time.process_time()

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds = before + time.process_time() - started
            write_json(path, {"seconds": seconds})
            if budget is not None and seconds > 60 * budget:
                self.model.stop_training = True

    return Clock()


def score(outcome: Outcome, shared: Path, folder: Path) -> None:
    """Score a run on every set, and write the scores beside it; those that are there are not computed again."""
    target = folder / "scores.json"
    found: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    for name in ("train", "val"):
        found[name] = outcome.reports[name].to_dict()
    clean = shared / "data" / "acevedo96" / "val"
    places = {
        "clean": clean,
        "shifted": made(shared, folder.parent, "make_shifted.py", str(clean), "11"),
        "other laboratory": shared / "data" / "bccd_crops",
    }
    for name, place in places.items():
        if name not in found:
            min_count = 20 if name == "other laboratory" else 1
            found[name] = outcome.run.evaluate(cc.load(place), min_count=min_count).to_dict()
            write_json(target, found)
    write_json(target, found)


def table(out: Path) -> None:
    """Print the finished runs as Markdown, with 95 % intervals, and how their stages went."""
    for scores in sorted(out.glob("*-seed*/scores.json")):
        found = json.loads(scores.read_text())
        print(f"\n{scores.parent.name}\n\n| set | n | accuracy | recall (macro) | F1 (macro) | the report's accuracy |")
        print("|---|---|---|---|---|---|")
        for key, name in SETS.items():
            if key not in found:
                continue
            one = found[key]
            numbers = [shown(one[score]) for score in ("accuracy", "balanced_accuracy", "macro_f1")]
            reported = REPORTED.get({"shifted": "hidden test"}.get(key, key), "")
            print(f"| {name} | {one['n']:,} | {' | '.join(numbers)} | {reported} |")
        print(*stages(scores.parent), sep="\n")


def stages(folder: Path) -> list[str]:
    """Give a line for each stage: its epochs, its highest validation accuracy, and that of the epoch that was kept."""
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [""]
    for stage in sorted({int(row["stage"]) for row in rows}):
        own = [row for row in rows if int(row["stage"]) == stage]
        best = max(float(row["val_accuracy"]) for row in own)
        kept = [row for row in own if row["best"] == "True"] or own
        lines.append(
            f"stage {stage}: {len(own)} epochs; validation accuracy: highest of all epochs {best:.4f}, "
            f"kept epoch {kept[-1]['epoch']} {float(kept[-1]['val_accuracy']):.4f}"
        )
    manifest, clock = json.loads((folder / "manifest.json").read_text()), folder / "processor.json"
    lines.append(f"training: {manifest['seconds'] / 60:.0f} minutes by the clock")
    if clock.exists():
        lines[-1] += f", {json.loads(clock.read_text())['seconds'] / 60:.0f} of processor time up to the last epoch"
    return lines


if __name__ == "__main__":
    main()
