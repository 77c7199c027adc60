from __future__ import annotations

import copy
import json

import keras
import pytest
from click.testing import CliRunner

import cellclf as cc
from cellclf.backends import current
from cellclf.cli import main
from cellclf.pipeline import Rerun
from cellclf.training.trainer import with_all_settings

MADE = {"n": 64, "size": 40, "seed": 3, "balance": "even"}
RECIPE = {
    "seed": 1,
    "split": {"val": 0.25},
    "trainer": {
        "batch_size": 16,
        "optimizer": "adamw",
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.1},
        "stages": [
            {"epochs": 2, "learning_rate": 3e-3, "unfreeze": "all", "train_batch_norm": True, "patience": "none"}
        ],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a finished run that knows how its cells were made."""
    out = tmp_path_factory.mktemp("runs") / "a"
    pipe = cc.Pipeline.from_recipe(RECIPE)
    pipe.run(cc.make_cells(**MADE), out=out, show=False, command="cellclf run", source={"made": MADE})
    return out


def test_the_manifest_holds_what_made_the_run(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"] == "cellclf run" and manifest["source"] == {"made": MADE}
    assert manifest["recipe"]["trainer"] == manifest["trainer"]
    backend = keras.config.backend()
    chosen = {"precision": "float32", "backend": backend, "jit_compile": backend == "jax", "cache": [False]}
    chosen["pipeline"] = "device" if current().gpus() else "host"
    assert manifest["chosen"] == chosen
    assert manifest["split"]["train"] == 48 and len(manifest["split"]["sha256"]) == 64
    assert manifest["start_sha256"] != manifest["end_sha256"]
    assert {"keras", "numpy", "python", "cellclf"} <= set(manifest["versions"])
    assert manifest["machine"]["gpus"] == [] or all(manifest["machine"]["gpus"])


def test_repeated_from_its_folder_it_is_the_same(folder, tmp_path):
    found = cc.rerun(folder, out=tmp_path / "b", show=False)
    assert found.matches and found.largest < 1e-4
    assert str(found).startswith("the same")
    assert not [line for line in found.differences if "images" in line or "start" in line or "versions" in line]
    assert (tmp_path / "b" / "report.html").exists()


def test_no_patience_is_repeated_as_none(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["trainer"]["stages"][0]["patience"] is None
    assert cc.Pipeline.from_recipe(folder).trainer.stages[0].patience is None
    read = with_all_settings(manifest["trainer"])
    assert read == manifest["trainer"] and cc.Trainer.from_dict(read).stages[0].patience is None
    # version 0.1.0 left None out, although the default is 15
    older = {key: value for key, value in manifest["trainer"]["stages"][0].items() if value is not None}
    assert with_all_settings(manifest["trainer"] | {"stages": [older]}) == manifest["trainer"]


def row(epoch, loss=0.5, stage=1, best=False, **more):
    return {"stage": stage, "epoch": epoch, "loss": loss, "val_loss": loss, "seconds": epoch, "best": best, **more}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([row(1), row(2)], [row(1), row(2)], True),
        ([row(1)], [row(1) | {"seconds": 99}], True),
        ([row(1, 0.5)], [row(1, 0.5004)], True),
        ([row(1, 900.0)], [row(1, 900.4)], True),
        ([row(1, val_accuracy=0.5)], [row(1, val_accuracy=0.6)], True),  # one image of ten, by rounding
        ([row(k) for k in range(16)], [row(k) for k in range(20)], False),
        ([row(1), row(2)], [row(1)], False),
        ([row(1), row(2)], [row(1), row(1, stage=2)], False),
        ([row(1, best=True), row(2)], [row(1), row(2, best=True)], False),
        ([row(1, 0.5), row(2, 0.4)], [row(1, 0.6), row(2, 0.4)], False),
        ([row(1, 0.5)], [row(1, float("nan"))], False),
        ([row(1, shifted_loss=0.5)], [row(1)], False),
    ],
)
def test_a_run_that_ends_otherwise_is_not_the_same(folder, first, second, same):
    run = cc.load_run(folder)
    one, other = (replaced(run, history) for history in (first, second))
    found = Rerun(first=one, second=other, differences=(), exact=False, largest=0.0, images=True)
    assert found.matches is same
    assert str(found).startswith("the same within rounding" if same else "NOT the same: the same end, but other epochs")


def replaced(run, history):
    other = copy.copy(run)
    other.history = history
    return other


def test_what_was_chosen_is_done_again(folder, tmp_path, monkeypatch):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    backend = keras.config.backend()
    chosen = {"precision": "float32", "backend": backend, "jit_compile": backend == "tensorflow", "cache": [False]}
    chosen["pipeline"] = "device"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"chosen": chosen}))
    again = cc.rerun(tmp_path, show=False)
    assert again.second.manifest["chosen"] == chosen, "as on another machine"
    assert again.second.manifest["trainer"] == manifest["trainer"]


def test_other_images_are_reported_with_exit_code_3(folder, tmp_path):
    cells = cc.make_cells(**MADE)
    images = cells.images.copy()
    images[:, 0, 0] = 0
    changed = cc.ImageSet(images, cells.labels, class_names=cells.class_names, ids=cells.ids, groups=cells.groups)
    changed.save(tmp_path / "changed.npz")
    done = CliRunner().invoke(main, ["rerun", str(folder), "--src", str(tmp_path / "changed.npz")])
    assert done.exit_code == 3
    assert done.stdout.startswith("NOT the same: other images\n  other train images\n  other val images\n")


def test_a_run_that_does_not_know_its_images_asks_for_them(folder, tmp_path):
    for name in ("model.keras", "recipe.toml", "history.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"source": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(cc.RunFolderError, match=r"does not name the source of its images; .*--src"):
        cc.rerun(tmp_path)


def test_a_training_alone_is_repeated_on_its_two_sets(tmp_path):
    parts = cc.Split(val=0.25, seed=1).apply(cc.make_cells(**MADE))
    pipe = cc.Pipeline.from_recipe(RECIPE)
    pipe.trainer.fit(parts.train, parts.val, out=tmp_path / "a", show=False)
    with pytest.raises(cc.RunFolderError, match="trained on two sets"):
        cc.rerun(tmp_path / "a", cells=parts.train)
    assert cc.rerun(tmp_path / "a", cells=(parts.train, parts.val), show=False).matches
