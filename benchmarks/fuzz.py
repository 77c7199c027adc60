"""Settings that no one would choose: what `check` accepts must train. Results: docs/benchmarks.md.

    python benchmarks/fuzz.py settings --count 200 --seed 1

Each setting of every class is given values that its declaration allows (its limits, and numbers between them, some of
NumPy) and values that people hand in by mistake. Whatever `check` accepts is then run for one epoch on 24 generated
cells of 24 px. A refusal must be one line; what was accepted must end as a run, or as a TrainingError that gives advice
(a learning rate of a million does not learn). Anything else is a bug: the exit code is 1, and the line repeats it.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
import traceback
import warnings
from typing import Annotated, Any, get_args, get_origin

import numpy as np
from annotated_types import Interval, Len

import cellclf as cc
from cellclf.augmentation import Expand, Flip, Mix
from cellclf.augmentation.steps.base import STEPS
from cellclf.errors import CellclfError, TrainingError
from cellclf.training import Cache, Compute
from cellclf.utils.annotations import annotations_of, is_literal, item_of, parts_of

SLIPS = [
    None,
    "text",
    "",
    math.nan,
    math.inf,
    -1,
    0,
    1,
    3,
    0.5,
    10**40,
    2**31,
    True,
    b"x",
    [],
    [1, "a"],
    {"a": 1},
    object,
]
"""What people hand in by mistake; some of it is right somewhere."""

LARGEST = {
    **{("Stage", name): 2 for name in ("epochs", "warmup", "patience", "reduce_patience")},
    ("Stage", "unfreeze"): 3,
    ("Trainer", "batch_size"): 64,
    ("Trainer", "accumulate"): 4,
    ("Trainer", "image_size"): 48,
    ("Head", "units"): 64,
    ("Backbone", "filters"): 16,
    ("Backbone", "kernel"): 7,
    ("Cache", "views"): 4,
    ("Expand", "copies"): 3,
    ("Expand", "per_class"): 9,
    ("Compute", "devices"): 1,
}
"""Limits of this benchmark where the library's own are those of memory and patience: an epoch has to end here."""


def main() -> None:
    """Read the command line, and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    settings = kinds.add_parser("settings", help="odd settings: refused in a line, or they train")
    settings.add_argument("--count", type=int, default=200, help="settings to try")
    settings.add_argument("--seed", type=int, default=1)
    settings.add_argument("--show", action="store_true", help="print every setting and its outcome")
    options = parser.parse_args()
    sys.exit(fuzz_settings(options.count, options.seed, options.show))


def fuzz_settings(count: int, seed: int, show: bool) -> int:
    """Try settings; give the exit code."""
    rng = random.Random(seed)
    cells = cc.make_cells(24, size=24, seed=1, balance="even")
    parts = cc.Split(val=0.34, seed=1).apply(cells)
    found = {"refused": 0, "trained": 0, "stopped with advice": 0, "died": 0}
    started = time.perf_counter()
    for number in range(count):
        trainer, expand, changes = drawn(rng)
        outcome, why = run(trainer, expand, parts.train, parts.val)
        found[outcome] += 1
        if show or outcome == "died":
            print(f"{number:>5} {outcome}: {'; '.join(changes)}{f' -> {why}' if why else ''}"[:900], flush=True)
    taken = time.perf_counter() - started
    print(f"seed {seed}: {count} settings in {taken:.0f} s: " + ", ".join(f"{n} {what}" for what, n in found.items()))
    return 1 if found["died"] else 0


def run(trainer: cc.Trainer, expand: Expand | None, train: cc.ImageSet, val: cc.ImageSet) -> tuple[str, str]:
    """Check a job, and train for an epoch if it is accepted; give the outcome and its reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if expand is not None:
                expand.check(train)
            trainer.check(train, val)
        except CellclfError as error:
            text = str(error)
            return ("refused", text) if len(text) < 1000 and text.isprintable() else ("died", f"not a line: {text!r}")
        except Exception:
            return "died", f"in the check: {last_line()}"
        try:
            trainer.fit(train if expand is None else expand.apply(train), val, show=False)
            return "trained", ""
        except TrainingError as error:
            return "stopped with advice", str(error)
        except Exception:
            return "died", last_line()


def last_line() -> str:
    """Give the end of the traceback in a line."""
    return " ".join(traceback.format_exc().split())[-300:]


def drawn(rng: random.Random) -> tuple[cc.Trainer, Expand | None, list[str]]:
    """Make a small job that trains, and change one to three of its settings."""
    parts: dict[str, Any] = {
        "Backbone": cc.Backbone("residual", weights=None, params={"filters": [4, 4, 4]}),
        "Head": cc.Head(units=(4,)),
        "Stage": cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", train_batch_norm=True),
        "Trainer": cc.Trainer(backbone="residual", optimizer="adamw", batch_size=8),
        "Cache": Cache(),
        "Compute": Compute(),
        "Mix": Mix(),
        "Expand": Expand(copies=1),
        "Augmenter": cc.Augmenter([Flip()]),
        "Step": STEPS[rng.choice([name for name in STEPS if name not in ("all_of", "some_of", "aug_mix")])](),
    }
    changes, touched = [], set()
    for _ in range(rng.choice([1, 1, 2, 3])):
        kind = rng.choice(sorted(parts))
        touched.add(kind)
        name, value, params = value_for(rng, kind, parts[kind])
        if params:
            parts[kind].set_params(params={"filters": [4, 4, 4], name: value})
        else:
            parts[kind].set_params(**{name: value})
        changes.append(f"{type(parts[kind]).__name__} {name}={str(value)[:80]!r}")
    trainer = parts["Trainer"]
    given = annotations_of(cc.Trainer)
    fixed = {change.split()[1].split("=")[0] for change in changes if change.startswith("Trainer ")}
    augmenter = parts["Augmenter"]
    if "Step" in touched:
        augmenter.set_params(steps=[parts["Step"]])
    own = {"backbone": parts["Backbone"], "head": parts["Head"], "stages": [parts["Stage"]], "cache": parts["Cache"]}
    own |= {"compute": parts["Compute"], "mix": parts["Mix"] if "Mix" in touched else None}
    own |= {"augmenter": augmenter if touched & {"Augmenter", "Step"} else None}
    trainer.set_params(**{name: value for name, value in own.items() if name in given and name not in fixed})
    return trainer, parts["Expand"] if "Expand" in touched else None, changes


def value_for(rng: random.Random, kind: str, thing: Any) -> tuple[str, Any, bool]:
    """Choose a setting of an object and a value for it; whether it is a parameter of the network."""
    declared = annotations_of(type(thing))
    params = kind == "Backbone" and rng.random() < 0.7
    if params:
        declared = {n: a for n, a in annotations_of(thing.spec.build).items() if n in thing.spec.params}
    name = rng.choice(sorted(declared))
    if rng.random() < 0.25:
        return name, rng.choice(SLIPS), params
    value = allowed(rng, declared[name], LARGEST.get((kind, name), 1e6))
    return name, value, params


def allowed(rng: random.Random, annotation: Any, largest: float) -> Any:
    """Draw a value that an annotation allows; None where it allows only objects."""
    part = rng.choice(parts_of(annotation))
    metadata = get_args(part)[1:] if get_origin(part) is Annotated else ()
    base = get_args(part)[0] if metadata else part
    limit = next((one for one in metadata if isinstance(one, Interval)), Interval(ge=0, le=100))
    if is_literal(base):
        return rng.choice(get_args(base))
    if base in (int, float):
        low = limit.ge if limit.ge is not None else limit.gt
        high = min(limit.le if limit.le is not None else limit.lt, largest)
        edge = 1 if base is int else 1e-6 * (high - low)
        low, high = (
            (low if limit.gt is None else low + edge),
            (high if limit.lt is None or high < limit.lt else high - edge),
        )
        drawn = rng.choice([low, high, low + (high - low) * rng.random(), low + (high - low) * rng.random() ** 8])
        value = round(drawn) if base is int else float(drawn)
        return value if rng.random() < 0.7 else (np.int64 if base is int else np.float64)(value)
    if (item := item_of(part)) is not None:
        length = next((one for one in metadata if isinstance(one, Len)), Len(0, 3))
        count = rng.randint(length.min_length, length.max_length or length.min_length + 2)
        return [allowed(rng, item, largest) for _ in range(count)]
    return rng.choice([True, False]) if base is bool else None


if __name__ == "__main__":
    main()
