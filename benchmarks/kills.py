"""A whole job that is killed at random moments and started again ends as the one that was not, bit for bit.

    python benchmarks/kills.py --kills 100 --seed 1

A small job with every feature on (duplicates, outliers, a split by slides, augmentation, an altered validation set,
three stages, cached features, EMA, accumulation, class weights, image_size, calibration, two test sets, the report) is
done once without a stop. Then it is started in another folder and killed (SIGKILL) after a random time, started again,
killed again, until it ends; then in the next folder, until there were as many kills as asked for. Every finished folder
must hold the same files with the same content: all weights, the calibration, every epoch but its seconds, the split,
the recipe, the scores. Results: docs/benchmarks.md.

Every start is a fork of one process that has imported everything and computed nothing, so that no kill is spent on
imports; and a job is killed after a share of the processor time of the whole job, so that the moments are spread in the
same way on a machine that others use.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import logging
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import cellclf as cc
from cellclf.cli.output import import_keras
from cellclf.training import epoch_steps

IMPORTED = ("h5py", "joblib", "matplotlib.figure", "scipy.ndimage", "sklearn.ensemble", "sklearn.linear_model")
"""What a job imports later on."""
KEPT = ("start_sha256", "end_sha256", "data", "split", "class_names", "status")
"""Of the manifest; the rest holds times and places."""

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
cache = { views = 2 }
compute = { deterministic = true }
backbone = { name = "residual", weights = "none", params = { filters = [16, 16, 16] } }
head = { units = [16], dropout = 0.2 }
augmenter = { preset = "challenge" }
val_augmenter = { preset = "challenge" }

[[trainer.stages]]
epochs = 3
learning_rate = 3e-3

[[trainer.stages]]
epochs = 3
learning_rate = 1e-3
unfreeze = 1
reduce_patience = 1

[[trainer.stages]]
epochs = 3
learning_rate = 1e-3
unfreeze = "all"
train_batch_norm = true
schedule = "cosine"
warmup = 1
monitor = "mean_macro_f1"
"""


def job(place: Path, name: str) -> None:
    """Do the job, or what is left of it; its log begins anew with every start."""
    log = logging.getLogger("cellclf")
    log.addHandler(logging.FileHandler(place / "log", mode="w", encoding="utf-8"))
    log.setLevel(logging.INFO)
    epoch_steps.SAVE_EVERY = 0.0  # as an epoch of hours would: a checkpoint after every batch
    made = dict(n=140, size=32, seed=1, slides=12, duplicates=4, near_duplicates=4, foreign=3, balance="even")
    cells = cc.make_cells(**made)
    tests = {"same": cc.make_cells(40, size=32, seed=2), "shifted": cc.make_cells(40, size=32, seed=3, severity=0.6)}
    pipe = cc.Pipeline.from_recipe(place / "recipe.toml")
    log.info("cleaning")
    pipe.run(cells, out=place / name, tests=tests, source={"made": made}, show=False)


def start(place: Path, name: str, patience: float = math.inf) -> tuple[float, bool]:
    """Start the job, and kill it when it has used so much processor time; give what it used, and whether it ended."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job(place, name)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    clock, stopped = os.sysconf("SC_CLK_TCK"), False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        if not stopped and (int(fields[11]) + int(fields[12])) / clock >= patience:
            os.kill(child, signal.SIGKILL)
            stopped = True
        time.sleep(0.02)
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise SystemExit(f"the job does not end any more: {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status) == 0


def moment(place: Path, name: str) -> str:
    """Name what a job was at when it was killed."""
    manifest, log = place / name / "manifest.json", place / "log"
    if manifest.exists() and json.loads(manifest.read_text("utf-8"))["status"] == "finished":
        return "report"
    found = "start"
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        if line == "cleaning":
            found = line
        elif match := re.match(r"stage (\d)/3 epoch +(\d)/3", line):
            found = "calibration" if match.groups() == ("3", "3") else f"stage {match[1]}"
        elif match := re.match(r"stage (\d): |resuming after .* of stage (\d)", line):
            found = f"stage {match[1] or match[2]}"
    return found


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
        "manifest": {key: manifest[key] for key in KEPT},
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
    chance, moments, wrong, runs = random.Random(options.seed), Counter[str](), 0, 0
    import_keras()
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        place = Path(folder)
        (place / "recipe.toml").write_text(RECIPE)
        whole, _ = start(place, "whole")
        spent = whole
        print(f"without a stop: {whole:.0f} s of processor time", flush=True)
        while moments.total() < options.kills:
            runs, at = runs + 1, []
            while True:
                # at most eight kills a run: one that has only its report to write would take very many
                more = moments.total() < options.kills and len(at) < 8
                used, ended = start(place, "killed", chance.uniform(0, whole) if more else math.inf)
                spent += used
                if ended:
                    break
                at.append(moment(place, "killed"))
                moments[at[-1]] += 1
            found = differences(place / "whole", place / "killed")
            wrong += bool(found)
            said = f"differs in {', '.join(found)}" if found else "equal bit for bit"
            print(f"run {runs}: killed {len(at)} times ({', '.join(at)}), {said}", flush=True)
            shutil.rmtree(place / "killed")
    print(f"killed at: {', '.join(f'{name} {count}' for name, count in sorted(moments.items()))}")
    print(f"{moments.total()} kills, {runs} runs, {wrong} differ from the one without a stop; {spent:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
