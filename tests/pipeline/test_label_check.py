from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import DataError, OptionError
from cellclf.pipeline.label_check import check_labels

RECIPE = {
    "seed": 3,
    "dedup": {},
    "split": {"val": 0.25},
    "trainer": {
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "optimizer": "adamw",
        "batch_size": 16,
        "head": {"units": [], "dropout": 0.0},
        "stages": [{"epochs": 5, "learning_rate": 5e-3, "unfreeze": "all", "train_batch_norm": True}],
    },
}


def colours(n: int = 90) -> tuple[cc.ImageSet, np.ndarray]:
    """Three colours under noise, six labels flipped."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = rng.normal(60 + 60 * labels[:, None, None, None], 25, (n, 24, 24, 3)).clip(0, 255).astype(np.uint8)
    flipped = rng.permutation(n)[:6]
    labels[flipped] = (labels[flipped] + 1) % 3
    return cc.ImageSet(images, labels, class_names=["dark", "grey", "light"]), flipped


def test_flipped_labels_are_found_and_the_folder_goes_on(tmp_path):
    cells, flipped = colours()
    found = check_labels(cells, recipe=RECIPE, folds=2, out=tmp_path / "a", show=False)
    assert len({*found.problems.order[:12].tolist()} & {*flipped.tolist()}) >= 5
    assert (found.probabilities.sum(1) > 0.99).all() and {*found.folds.tolist()} == {1, 2}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.keras")}
    assert len(before) == 2
    again = check_labels(cells, recipe=RECIPE, folds=2, out=tmp_path / "a", show=False)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.keras")}
    np.testing.assert_array_equal(again.problems.order, found.problems.order)
    with (tmp_path / "a" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == cells.ids[found.problems.order].tolist()
    assert {row["doubtful"] for row in rows[: found.removed]} == {"True"}
    stored = json.loads((tmp_path / "a" / "labels.json").read_text("utf-8"))
    assert [one["id"] for one in stored["problems"]] == [row["id"] for row in rows[: found.removed]]
    page = (tmp_path / "a" / "labels.html").read_text("utf-8")
    assert "looks like" in page and f"{found.removed} doubtful labels of 90" in page
    assert len(found.apply(cells)) == 90 - found.removed and len(found.plot(4).axes) == min(4, found.removed)


def test_what_cannot_be_checked_is_refused():
    cells, _ = colours(9)
    with pytest.raises(OptionError, match="folds=1; expected a whole number of 2 or more"):
        check_labels(cells, recipe=RECIPE, folds=1)
    with pytest.raises(DataError, match="no labels"):
        check_labels(cells.replace(labels=None), recipe=RECIPE)
