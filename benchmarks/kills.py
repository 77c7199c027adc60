"""A whole job that is killed at random moments and started again ends as the one that was not, bit for bit.

    python benchmarks/kills.py --kills 100 --seed 1

A small job with every feature on (duplicates, outliers, a split by slides, augmentation, an altered validation set,
three stages, cached features, EMA, accumulation, class weights, image_size, calibration, two test sets, the report) is
done once without a stop. Then it is started in another folder and killed (SIGKILL) after a random time, started again,
killed again, until it ends; then in the next folder, until there were as many kills as asked for. Every finished folder
must hold the same files with the same content: all weights, the calibration, every epoch but its seconds, the split,
the recipe, the scores. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

KEPT = ("start_sha256", "end_sha256", "data", "split", "class_names", "status")
"""Of the manifest; the rest holds times and places."""

JOB = """
import sys
import cellclf as cc
from cellclf.cli.output import import_keras
from cellclf.training import epoch_steps

epoch_steps.SAVE_EVERY = 0.0  # as an epoch of hours would: a checkpoint after every batch
import_keras()
made = dict(n=140, size=32, seed=1, slides=12, duplicates=4, near_duplicates=4, foreign=3, balance="even")
cells = cc.make_cells(**made)
tests = {"same": cc.make_cells(40, size=32, seed=2), "shifted": cc.make_cells(40, size=32, seed=3, severity=0.6)}
pipe = cc.Pipeline.from_recipe(sys.argv[1])
print("begins", flush=True)
pipe.run(cells, out=sys.argv[2], tests=tests, source={"made": made})
"""

RECIPE = """
seed = 5

[dedup]

[outliers]

[split]
val = 0.25
test = 0.15

[downsample]

[trainer]
optimizer = "adamw"
weight_decay = 0.01
batch_size = 16
accumulate = 2
class_weight = "balanced"
label_smoothing = 0.05
focal = 1.0
ema = 0.9
image_size = 36
cached_views = 2
deterministic = true
backbone = { name = "residual", weights = "none", params = { filters = [16, 16, 16] } }
head = { units = [16], dropout = 0.2 }
augmenter = { preset = "challenge" }
val_augmenter = { preset = "challenge" }

[[trainer.stages]]
epochs = 4
learning_rate = 3e-3

[[trainer.stages]]
epochs = 4
learning_rate = 1e-3
unfreeze = 1
reduce_patience = 1

[[trainer.stages]]
epochs = 4
learning_rate = 1e-3
unfreeze = "all"
train_batch_norm = true
schedule = "cosine"
warmup = 1
monitor = "mean_macro_f1"
"""


def start(place: Path, name: str) -> subprocess.Popen[str]:
    """Start the job, and wait until everything is imported."""
    words = [sys.executable, str(place / "job.py"), str(place / "recipe.toml"), str(place / name)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    job = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout is not None
    if job.stdout.readline().strip() != "begins":
        raise SystemExit(job.communicate()[1])
    return job


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Give every array of a network or a calibration."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    import h5py

    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file, "r") as weights:
        weights.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {}))
    return found


def contents(folder: Path) -> dict[str, Any]:
    """Give what a folder must have in common with every other one of the same job."""
    with (folder / "history.csv").open(newline="") as file:
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    report, manifest = (json.loads((folder / name).read_text("utf-8")) for name in ("report.json", "manifest.json"))
    return {
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "history": history,
        "report": {key: report[key] for key in ("scores", "copies", "removed", "domain_shifts")},
        "manifest": {
            key: manifest[key] for key in ("start_sha256", "end_sha256", "data", "split", "class_names", "status")
        },
        **{name: (folder / name).read_bytes() for name in ("split.csv", "recipe.toml")},
    }


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs between two finished folders."""
    first, second = contents(one), contents(other)
    found = [name for name, value in first.items() if value != second[name]]
    for name in ("model.keras", "confidence.npz", "features.npz"):
        old, new = arrays(one / name), arrays(other / name)
        same = old.keys() == new.keys() and all(np.array_equal(old[key], new[key]) for key in old)
        found += [] if same else [name]
    return found


def main() -> None:
    """Read the command line, kill, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, wrong, kills, runs = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        place = Path(folder)
        (place / "job.py").write_text(JOB)
        (place / "recipe.toml").write_text(RECIPE)
        began = time.monotonic()
        job = start(place, "whole")
        began, errors = time.monotonic(), job.communicate()[1]
        if job.returncode:
            raise SystemExit(errors)
        whole = time.monotonic() - began
        print(f"without a stop: {whole:.0f} s", flush=True)
        while kills < options.kills:
            runs, of_this = runs + 1, 0
            while True:
                job = start(place, "killed")
                # at most eight kills a run, else a slow machine would never end it
                patience = chance.uniform(0, whole) if kills < options.kills and of_this < 8 else None
                try:
                    errors = job.communicate(timeout=patience)[1]
                    break
                except subprocess.TimeoutExpired:
                    job.send_signal(signal.SIGKILL)
                    job.communicate()
                    kills, of_this = kills + 1, of_this + 1
            if job.returncode:
                raise SystemExit(f"after {of_this} kills the job does not end any more:\n{errors}")
            found = differences(place / "whole", place / "killed")
            wrong += bool(found)
            said = f"differs in {', '.join(found)}" if found else "equal bit for bit"
            print(f"run {runs}: killed {of_this} times, {said}", flush=True)
            shutil.rmtree(place / "killed")
    print(f"{kills} kills, {runs} runs, {wrong} differ from the one without a stop")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
