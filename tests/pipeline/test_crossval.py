from __future__ import annotations

import csv
import json

import joblib
import numpy as np
import pytest
from click.testing import CliRunner

import cellclf as cc
from cellclf.cli import main

STAGE = {"epochs": 1, "learning_rate": 3e-3, "unfreeze": "all", "train_batch_norm": True}
RECIPE = {
    "seed": 1,
    "dedup": {},
    "split": {"val": 0.25, "test": 0.2},
    "trainer": {
        "batch_size": 8,
        "optimizer": "adamw",
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.0},
        "stages": [STAGE],
    },
}


@pytest.fixture(scope="module")
def cells():
    """Give three colours with noise from nine slides, one image there twice."""
    rng = np.random.default_rng(0)
    labels = np.arange(54) % 3
    images = rng.normal(60 + 60 * labels[:, None, None, None], 30, (54, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    images[3] = images[0]
    groups = [f"slide{k // 6}" for k in range(54)]
    return cc.ImageSet(images, labels, class_names=["dark", "grey", "light"], groups=groups)


@pytest.fixture(scope="module")
def found(cells, tmp_path_factory):
    """Cross-validate once for the module."""
    out = tmp_path_factory.mktemp("crossval") / "a"
    return cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), cells, folds=3, out=out, show=False), out


def test_each_image_is_held_out_once_with_its_slide(found, cells):
    result, _ = found
    assert len(result.ids) == len(cells) - 1, "one of the two copies went first"
    groups = dict(zip(cells.ids.tolist(), cells.groups.tolist(), strict=True))
    folds = {}
    for id_, fold in zip(result.ids.tolist(), result.folds.tolist(), strict=True):
        folds.setdefault(groups[id_], set()).add(fold)
    assert all(len(numbers) == 1 for numbers in folds.values())
    assert sorted(set(result.folds.tolist())) == [1, 2, 3]
    np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)


def test_no_fold_was_trained_or_chosen_on_what_it_held_out(found):
    result, out = found
    for number in (1, 2, 3):
        manifest = json.loads((out / f"fold-{number}" / "manifest.json").read_text())
        counts = [manifest["data"][part]["images"] for part in ("train", "val")]
        assert sum(counts) == (result.folds != number).sum()


def test_scores_are_of_the_held_out_images_and_are_written(found):
    result, out = found
    right = result.probabilities.argmax(1) == result.labels
    for number, report in enumerate(result.reports, 1):
        assert float(report.accuracy) == pytest.approx(right[result.folds == number].mean())
    assert float(result.pooled().accuracy) == pytest.approx(right.mean())
    mean, spread = result.mean("accuracy")
    assert f"accuracy {mean:.4f} (SD {spread:.4f})" in str(result)
    data = json.loads((out / "cross_validation.json").read_text())
    assert data["means"]["macro F1"]["mean"] == pytest.approx(result.mean()[0])
    with (out / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["fold"]) for row in rows] == result.folds.tolist()


def test_finished_folds_are_read_also_by_a_dask_cluster(found, cells):
    result, out = found
    distributed = pytest.importorskip("distributed")
    stamps = [path.stat().st_mtime_ns for path in sorted(out.glob("fold-*/model.keras"))]
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        again = cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), cells, folds=3, out=out, show=False)
    np.testing.assert_array_equal(again.probabilities, result.probabilities)
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("fold-*/model.keras"))] == stamps


def test_several_jobs_are_chosen_from_within_each_fold(cells, tmp_path):
    slow = {**RECIPE, "trainer": {**RECIPE["trainer"], "stages": [{**STAGE, "learning_rate": 1e-9}]}}
    jobs = {"good": cc.Pipeline.from_recipe(RECIPE), "stuck": cc.Pipeline.from_recipe(slow)}
    result = cc.cross_validate(jobs, cells, folds=2, out=tmp_path, show=False)
    assert set(result.chosen) <= {"good", "stuck"} and len(result.chosen) == 2
    for number, name in enumerate(result.chosen, 1):
        scores = {job: cc.load_run(tmp_path / f"fold-{number}" / job).history[-1]["val_macro_f1"] for job in jobs}
        assert scores[name] == max(scores.values())


@pytest.mark.slow
def test_folds_run_in_processes_of_their_own(found, cells):
    result, _ = found
    again = cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), cells, folds=3, n_jobs=2, show=False)
    np.testing.assert_allclose(again.probabilities, result.probabilities, atol=1e-4)


def test_what_cannot_be_done_is_said_before_the_first_training(cells):
    pipe = cc.Pipeline.from_recipe(RECIPE)
    with pytest.raises(cc.OptionError, match="folds=1; expected a whole number of 2 or more"):
        cc.cross_validate(pipe, cells, folds=1)
    with pytest.raises(cc.OptionError, match="no job"):
        cc.cross_validate({}, cells)
    with pytest.raises(cc.DataError, match="no labels"):
        cc.cross_validate(pipe.trainer, cells.replace(labels=None))
    wrong = cc.Pipeline.from_recipe({**RECIPE, "trainer": {**RECIPE["trainer"], "optimizer": "lino"}})
    with pytest.raises(cc.UnknownNameError, match="did you mean 'lion'"):
        cc.cross_validate({"right": pipe, "wrong": wrong}, cells)


def test_the_command_prints_the_folds(cells, tmp_path):
    cells.save(tmp_path / "cells.npz")
    recipe = tmp_path / "tiny.toml"
    import tomli_w

    recipe.write_text(tomli_w.dumps(RECIPE))
    command = ["crossval", str(tmp_path / "cells.npz"), "--recipe", str(recipe), "--folds", "2"]
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "over 2 folds: macro F1 " in done.stdout and (tmp_path / "out" / "folds.csv").exists()
