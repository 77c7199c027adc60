from __future__ import annotations

import numpy as np
import pytest

import cellclf as cc
from cellclf.pipeline.compare import compare, compare_runs, recipe_for

RECIPE = {
    "seed": 1,
    "split": {"val": 0.25},
    "trainer": {
        "optimizer": "adamw",
        "batch_size": 16,
        "backbone": {"name": "mobilenet", "weights": "imagenet", "params": {"alpha": 0.25}},
        "head": {"units": [], "dropout": 0.2},
        "stages": [{"epochs": 1, "learning_rate": 1e-3, "unfreeze": 1}],
    },
}


def test_the_recipes_own_backbone_keeps_its_head_stages_and_parameters():
    table = recipe_for(RECIPE, {"name": "mobilenet", "weights": "none"})
    assert table["trainer"]["head"] == {"units": [], "dropout": 0.2}
    assert table["trainer"]["backbone"] == {"name": "mobilenet", "weights": "none", "params": {"alpha": 0.25}}
    table = recipe_for(RECIPE, {"name": "mobilenet"})
    assert table["trainer"]["stages"] == RECIPE["trainer"]["stages"]


def test_a_network_without_published_weights_learns_whole_and_has_its_own_head():
    table = recipe_for(RECIPE, {"name": "sequential"})
    assert "head" not in table["trainer"]
    assert table["trainer"]["stages"] == [
        {"epochs": 1, "learning_rate": 1e-3, "unfreeze": "all", "train_batch_norm": True}
    ]
    assert "train_batch_norm" not in RECIPE["trainer"]["stages"][0]


def test_a_pretrained_network_keeps_the_recipes_stages():
    table = recipe_for(RECIPE, {"name": "resnet50"})
    assert table["trainer"]["stages"] == RECIPE["trainer"]["stages"]
    assert table["trainer"]["backbone"] == {"name": "resnet50"}


def test_networks_stand_side_by_side_and_a_second_call_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 2
    images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (48, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    cells = cc.ImageSet(images, labels, class_names=["dark", "light"])
    small, wide = {"filters": [16, 16, 16]}, {"filters": [16, 16, 32]}
    networks = [{"name": "residual", "params": small}, {"name": "residual", "params": wide}]
    found = compare(cells, networks, recipe=RECIPE, out=tmp_path, tests={"again": cells}, show=False)
    assert sorted(row["name"] for row in found.to_dict()["candidates"]) == ["residual", "residual+"]
    assert [len(one["tests"]) for one in (found.to_dict(),)] == [2] and found.verdict().startswith("Chosen: ")
    assert all(one.size and one.val.n == 12 and one.report.n == 48 for one in found.candidates)
    assert found.best.val.macro_f1 == pytest.approx(found.best.kept("val_macro_f1"))
    runs = [tmp_path / "residual", cc.load_run(tmp_path / "residual+")]
    side = compare_runs(runs, lambda size: cells if size == (32, 32) else None, name="all")
    assert {one.name: float(one.val.macro_f1) for one in side.candidates} == {
        one.name: float(one.report.macro_f1) for one in found.candidates
    }
    assert "Scores are on all" in side.note and "macro F1 max" not in side.columns()
    turned = cc.Run(runs[1].model, ("light", "dark"), manifest=runs[1].manifest)
    mirrored = {one.name: one.val.predicted for one in compare_runs([tmp_path / "residual+", turned], cells).candidates}
    np.testing.assert_array_equal(mirrored["run 2"], 1 - mirrored["residual+"])
    with pytest.raises(cc.DataError, match="the runs differ in classes"):
        compare_runs([runs[0], cc.Run(runs[1].model, ("a", "b"))], cells)
    with pytest.raises(cc.OptionError, match="no run to compare"):
        compare_runs([], cells)
    stamp = (tmp_path / "residual" / "model.keras").stat().st_mtime_ns
    again = compare(cells, networks, recipe=RECIPE, out=tmp_path, tests={"again": cells}, show=False)
    assert (tmp_path / "residual" / "model.keras").stat().st_mtime_ns == stamp
    assert again.table().splitlines()[0] == found.table().splitlines()[0]


def test_every_backbone_is_checked_before_the_first_is_trained(tmp_path):
    cells = cc.make_cells(24, size=48, balance="even")
    with pytest.raises(cc.UnknownNameError, match="did you mean 'sequential'"):
        compare(cells, [{"name": "residual"}, {"name": "sequental"}], recipe=RECIPE, out=tmp_path / "x", show=False)
    assert not (tmp_path / "x").exists()
    with pytest.raises(cc.OptionError, match="no backbone to compare"):
        compare(cells, [], recipe=RECIPE, out=tmp_path / "x")
