"""Small cells that a small network learns in seconds, shared by all tests that train."""

from __future__ import annotations

import numpy as np
import pytest

import cellclf as cc

SMALL = cc.Backbone("residual", weights=None, params={"filters": [16, 16, 16]})


@pytest.fixture(scope="session")
def parts():
    """Three colours with noise, 32x32, cut into train and val."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = rng.normal(60 + 60 * labels[:, None, None, None], 30, (96, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    return cc.Split(val=0.25, seed=1).apply(cc.ImageSet(images, labels, class_names=["dark", "grey", "light"]))


@pytest.fixture(scope="session")
def small_trainer():
    """Give a function that makes a trainer of a tiny network."""

    def make(**changes):
        settings = {
            "backbone": SMALL,
            "head": cc.Head(units=(8,), dropout=0.2),
            "stages": (
                cc.Stage(epochs=4, learning_rate=3e-3, unfreeze="all", train_batch_norm=True),
                cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1, reduce_patience=1),
            ),
            "optimizer": "adamw",
            "batch_size": 16,
            "seed": 3,
        }
        return cc.Trainer(**{**settings, **changes})

    return make
