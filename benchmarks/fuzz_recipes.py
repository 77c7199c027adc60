"""Recipes with good values, bad ones and slips, and what is right for each. A part of fuzz_files.py."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_outcome import Random, unreadable

import cellclf as cc
from cellclf.errors import CellclfError


def number(low: float, high: float) -> Callable[[Random], Any]:
    """Give numbers between two limits, neither of which is among them."""
    return lambda rng: float(rng.uniform(low + 1e-6, high - 1e-6))


def whole(low: int, high: int) -> Callable[[Random], Any]:
    """Give whole numbers."""
    return lambda rng: int(rng.integers(low, high + 1))


def one_of(*values: Any) -> Callable[[Random], Any]:
    """Give one of some values."""
    return lambda rng: values[int(rng.integers(len(values)))]


SETTINGS: dict[str, tuple[Callable[[Random], Any], list[Any]]] = {
    "seed": (whole(0, 2**31), [-1, 1.5, "seven", [1]]),
    "split.val": (number(0.1, 0.4), [1.5, -0.1, "a fifth", [0.2], float("nan")]),
    "split.test": (number(0.05, 0.3), [1.0, -1, "none of it", float("inf")]),
    "dedup.max_copies": (whole(2, 50), [0, -3, 2.5, "many"]),
    "dedup.augmented": (one_of("auto", "cluster", "remove", "off"), ["yes", 3, ["auto"]]),
    "outliers.threshold": (number(0.5, 2), [float("nan"), "high", [1.0]]),
    "trainer.batch_size": (whole(1, 512), [0, -8, 2.5, "many", [32]]),
    "trainer.optimizer": (one_of("adam", "adamw", "sgd", "lion", "rmsprop"), ["adamm", 3, ["adam"]]),
    "trainer.weight_decay": (number(0, 0.1), [-0.1, "small", float("nan"), float("inf")]),
    "trainer.label_smoothing": (number(0, 0.5), [1.5, -0.1, "a little", float("nan")]),
    "trainer.class_weight": (one_of("balanced"), ["even", 3.5]),
    "trainer.ema": (number(0.5, 0.999), [1.5, -0.1, "slow"]),
    "trainer.backbone": (one_of("residual", "sequential", "inception"), ["residuel", 7, ["residual"]]),
    "trainer.head.dropout": (number(0, 0.9), [1.5, -0.5, "half"]),
    "trainer.head.units": (one_of([], [16], [32, 16]), [[-1], [2.5], "wide", [[16]]]),
    "trainer.stages.epochs": (whole(1, 100), [0, -1, 2.5, "some", [3]]),
    "trainer.stages.learning_rate": (number(0, 0.01), [0, -1e-3, "low", float("nan")]),
    "trainer.stages.patience": (whole(1, 30), [-1, 2.5, "a while"]),
    "trainer.stages.monitor": (one_of("val_loss", "val_macro_f1"), ["val_losss", 3]),
}
"""Good values of settings, and values that must be refused."""

SLIPS = {"batch_size": "batchsize", "val": "vall", "optimizer": "optimiser", "epochs": "epoch", "dropout": "drop_out"}


def toml_value(value: Any) -> str:
    """Write a value as TOML; JSON is that, but for numbers that JSON lacks."""
    if isinstance(value, float):
        return repr(value)
    return "[" + ", ".join(map(toml_value, value)) + "]" if isinstance(value, list) else json.dumps(value)


def fuzz_recipes(rng: Random, folder: Path) -> str | None:
    """Write one recipe, right or wrong, and read it as a file with settings on the command line."""
    chosen = {name: SETTINGS[name][0](rng) for name in SETTINGS if rng.random() < 0.4}
    chosen.setdefault("trainer.backbone", "residual")
    blamed, what = "", str(rng.choice(["right", "right", "value", "slip", "table", "syntax", "bytes"]))
    if what == "value":
        blamed = str(rng.choice(list(SETTINGS)))
        chosen[blamed] = one_of(*SETTINGS[blamed][1])(rng)
    if what == "table":
        blamed = str(rng.choice(["split", "trainer", "dedup"]))
        chosen = {name: value for name, value in chosen.items() if not name.startswith(f"{blamed}.")}
        chosen[blamed] = one_of(7, "some text", 1.5)(rng)
    if any("stages" in name for name in chosen):  # of a stage, two settings have no default
        for name in ("trainer.stages.epochs", "trainer.stages.learning_rate"):
            chosen.setdefault(name, SETTINGS[name][0](rng))
    # what stands in no list of tables can be given on the command line as well
    later = [name for name in chosen if "stages" not in name and rng.random() < 0.3 and what != "table"]
    texts = [f"{name}={toml_value(chosen[name])}" for name in later]
    text = recipe_of({name: value for name, value in chosen.items() if name not in later})
    if what == "slip":
        blamed = one_of(*SLIPS.items())(rng)
        good, bad = blamed
        where = {"val": "split", "epochs": "trainer.stages", "dropout": "trainer.head"}.get(good, "trainer")
        chosen = {f"{where}.{good}": SETTINGS[f"{where}.{good}"][0](rng), "trainer.backbone": "residual"}
        if good == "epochs":
            chosen["trainer.stages.learning_rate"] = 1e-3
        text, texts, blamed = recipe_of(chosen).replace(f"{good} =", f"{bad} ="), [], bad
    content = text.encode()
    if what == "syntax":
        content = (
            text.encode() + str(rng.choice(["\n[", "\nkey", '\nname = "open', "\n[a]\n[a]\n", "\nx = 1 2"])).encode()
        )
    if what == "bytes":
        content = b"\xff\xfe" + content if rng.random() < 0.5 else content + b'\nname = "\xe9"\n'
    path = folder / "recipe.toml"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            pipe = cc.Pipeline.from_recipe(path, texts)
            pipe.check(MADE)
    except CellclfError as error:
        said = str(error)
        if what == "right":
            return f"{texts} {text}: refused: {said}"
        return unreadable(said) or (
            None if blamed.rpartition(".")[2] in said else f"{what} {blamed}: it is not named: {said}"
        )
    except Exception as error:
        return f"{what} {blamed}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    if what != "right":
        return f"{what} {blamed}={chosen.get(blamed)!r}: accepted"
    found = pipe.to_dict()
    for name, value in chosen.items():
        if name == "seed":  # of all parts that name none
            name = "split.seed"
        here = at(found, name)
        if here != value and not (isinstance(here, dict) and here.get("name") == value):
            return f"{name} is {here!r}, expected {value!r}"
    return None if cc.Pipeline.from_recipe(found) == pipe else "its own recipe makes another pipeline"


MADE = cc.make_cells(60, size=64, seed=3, balance="even")


def recipe_of(chosen: dict[str, Any]) -> str:
    """Write settings as TOML."""
    tables: dict[str, list[str]] = {}
    for name, value in chosen.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {toml_value(value)}")
    lines = tables.pop("", [])
    for table, rows in sorted(tables.items()):
        lines += [f"[[{table}]]" if table.endswith("stages") else f"[{table}]", *rows]
    return "\n".join(lines) + "\n"


def at(table: Any, name: str) -> Any:
    """Give a setting of a recipe; of stages, the first one's."""
    for key in name.split("."):
        table = table[0].get(key) if isinstance(table, list) else table.get(key)
    return table
