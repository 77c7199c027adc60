"""Every object with settings, as the tests of settings need them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

import cellclf as cc
from cellclf.augmentation import AugMix, Expand, Flip, Mix, SomeOf
from cellclf.augmentation.steps.base import STEPS
from cellclf.backbones.custom import SPECS
from cellclf.training import Cache, Compute

NET = cc.Backbone("residual", weights=None, params={"filters": [4, 4, 4]})
STAGE = cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all", train_batch_norm=True)
CELLS = cc.make_cells(24, size=24, seed=1, balance="even")

ODD = [
    None,
    "text",
    "",
    math.nan,
    -math.inf,
    -1,
    0,
    10**40,
    2**31,
    True,
    np.int64(3),
    np.float32(0.5),
    np.float64("nan"),
    np.zeros((2, 2)),
    [1, "a", None],
    [[]],
    {"a": 1},
    {1: []},
    object(),
    len,
    b"bytes",
    "\x1b[2J\x07 two\nlines \ud800",
    "x" * 5000,
    Path("missing") / "there.h5",
    cc.Stage,
    np.float64,
    STAGE,
]
"""What people and searches hand in where something else is expected."""


def trainer(**changes: Any) -> cc.Trainer:
    return cc.Trainer(
        **{"backbone": NET, "head": cc.Head(units=(4,)), "stages": [STAGE], "batch_size": 8, "optimizer": "adamw"}
        | changes
    )


def steps() -> list[Any]:
    """Give one step of each kind."""
    needed = {"some_of": {"steps": [Flip()]}, "aug_mix": {"steps": [Flip()]}, "all_of": {"steps": [Flip()]}}
    return [kind(**needed.get(name, {})) for name, kind in STEPS.items()]


def configured() -> dict[str, Any]:
    """Give one object of every class that has settings: name -> object."""
    every: list[Any] = [
        *steps(),
        cc.Augmenter([Flip(), AugMix(steps=[SomeOf(steps=[Flip()])])], seed=3),
        Mix(),
        Expand(copies=1),
        cc.Backbone("residual", weights=None),
        cc.Head(),
        STAGE,
        Cache(),
        Compute(),
        trainer(),
        cc.Split(),
        cc.Dedup(),
        cc.OutlierFilter(),
        cc.Downsample(),
        cc.Pipeline(trainer=trainer()),
    ]
    return {type(one).__name__: one for one in every}


def check(thing: Any) -> None:
    """Check an object, however its class does."""
    match thing:
        case cc.Trainer():
            thing.check_options()
        case cc.Pipeline() | Expand():
            thing.check(CELLS)
        case cc.Backbone():
            thing.check((32, 32, 3))
        case _:
            thing.check()


def specs() -> list[cc.BackboneSpec]:
    return [dataclasses.replace(spec) for spec in SPECS]
